"""When the copy was last known to equal the database: a number that all processes share since the fork."""

from __future__ import annotations

import mmap
import struct

_TIME = struct.Struct("d")
_SYNCED = mmap.mmap(-1, _TIME.size)


def note(synced_at: float | None) -> None:
    """Note it, in seconds of the epoch; None: there is no copy."""
    _TIME.pack_into(_SYNCED, 0, synced_at or 0.0)


def age(now: float) -> float | None:
    """Return how old the copy is, None without one."""
    synced_at: float = _TIME.unpack_from(_SYNCED)[0]
    return max(now - synced_at, 0.0) if synced_at else None
