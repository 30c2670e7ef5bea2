"""How much memory there is for Kamailio: on the machine, and in the control group that it is started in (cgroups(7)), a
container's or a service's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

MACHINE = Path("/proc/meminfo")
OWN_GROUP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")  # v2


class MemoryLackError(RuntimeError):
    """There is less memory than Kamailio is to have; the text is one line for the operator."""


def check(mebibytes: int) -> None:
    """Check that there is this much memory. Raises MemoryLackError."""
    available = int(re.findall(r"^MemAvailable: *([0-9]+) kB$", MACHINE.read_text(), re.MULTILINE)[0]) >> 10
    left = min([available, *(limit >> 20 for limit in _limits())])
    if mebibytes > left:
        raise MemoryLackError(
            f"TRUNKAUTH_MEMORY: {mebibytes} MiB are more than the {left} MiB that are available; choose less"
        )


def _limits() -> Iterator[int]:
    """Yield the limits, in bytes, of our group and of those around it."""
    group = re.search(r"^0::/(.*)$", OWN_GROUP.read_text(), re.MULTILINE) if OWN_GROUP.exists() else None
    own = GROUPS / (group[1] if group else "")
    for folder in (own, *own.parents):
        limit = folder / "memory.max"
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            yield int(text)
