"""Whether all names of rows have been resolved since the start, or waited for (PATIENCE in names/names.py). Until then
a call to one of them may have to wait or be refused, and OPTIONS says so. One byte, in memory that all processes share
since the fork.
"""

from __future__ import annotations

import mmap

_ARE_TRIED = mmap.mmap(-1, 1)


def note_names_are_tried() -> None:
    """Called by the process that resolves names."""
    _ARE_TRIED[0] = 1


def names_are_tried() -> bool:
    """Return True once each name has been resolved, or waited for."""
    return _ARE_TRIED[0] != 0
