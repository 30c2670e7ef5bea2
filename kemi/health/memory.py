"""The room for new calls: when there is none, and the one byte that tells every process.

Kamailio's shared memory holds all dialogs and transactions, and an allocation that fails breaks a call somewhere in the
middle. So new calls are refused before that; the reserve is for the requests of those that are up. The byte is in
memory that all processes share since the fork: reading it is no call into Kamailio.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

from kemi.line import Line, warning

RESERVE = 1 / 8  # of the memory
LINE_EVERY = 60.0  # seconds

_IS_FULL = mmap.mmap(-1, 1)


class Memory(NamedTuple):
    """Kamailio's shared memory, in KiB."""

    total: int
    free: int


def is_full() -> bool:
    """Return True if new calls are to be refused."""
    return _IS_FULL[0] != 0


class Guard:
    """Sets the byte. There is one, in a process of its own."""

    def __init__(self) -> None:
        self._next_line = 0.0

    def judge(self, memory: Memory, now: float) -> Line | None:
        """Open or close the door for new calls, and return a line for the log, at most one a minute. now: monotonic."""
        full = memory.free < RESERVE * memory.total
        _IS_FULL[0] = full
        if not full or now < self._next_line:
            return None
        self._next_line = now + LINE_EVERY
        used, total = (memory.total - memory.free) // 1024, memory.total // 1024
        return warning(outcome="memory-full", used_mib=used, total_mib=total)
