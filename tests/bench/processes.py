"""What a running Kamailio takes from the machine, out of /proc: processor time and memory of its processes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ (?=[rwxps-]{4} )", re.MULTILINE)  # proc_pid_smaps(5)
_MEMORY = re.compile(r"^(Private|Shared)_\w+:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Memory:
    """Of one process, in bytes: its own alone, and what it shares with others and has touched. What Kamailio's
    processes share is shared, whoever has touched it so far.
    """

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
    private = shared = 0
    for mapping in _MAPPING.split(Path(f"/proc/{pid}/smaps").read_text())[1:]:
        is_shared = mapping[:4].endswith("s")
        for kind, kilobytes in _MEMORY.findall(mapping):
            if kind == "Private" and not is_shared:
                private += int(kilobytes) * 1024
            else:
                shared += int(kilobytes) * 1024
    return Memory(private, shared)


def cpu_model() -> str:
    """The processor's name; empty where the kernel does not tell."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else ""
