"""What a running Kamailio takes from the machine, out of /proc: processor time and memory of its processes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MEMORY = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """Of one process, in bytes: its own alone, and what it shares with others and has touched."""

    private: int
    shared: int


def of_group(group: int) -> list[int]:
    """The processes of a process group, proc(5)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
        except ProcessLookupError:
            continue
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that these processes have had, all their threads together, to the nanosecond."""
    threads = (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def memory(pid: int) -> Memory:
    """A process's memory as it is now."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    size = {name: int(kilobytes) * 1024 for name, kilobytes in _MEMORY.findall(text)}
    return Memory(
        size["Private_Clean"] + size["Private_Dirty"] + size.get("Private_Hugetlb", 0),
        size["Shared_Clean"] + size["Shared_Dirty"],
    )


def cpu_model() -> str:
    """The processor's name; empty where the kernel does not tell."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else ""
