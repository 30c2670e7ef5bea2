"""The standings of trunks that could not serve lately, for all processes: a table of the htable module (kamailio.cfg).

While there is none, this costs no call into Kamailio: a number that all processes share since the fork says so.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable

import KSR

from kemi.auth import codec
from kemi.trunks.standing import UP, Standing

KEPT = 3600  # seconds since the last change, and since its trunk was left out
_TABLE = "standings"
_CLOCK = struct.Struct("d")
_KEPT_UNTIL = mmap.mmap(-1, _CLOCK.size)  # when the last standing is forgotten; monotonic


def are_kept() -> bool:
    """Return True if there may be a standing."""
    until: float = _CLOCK.unpack_from(_KEPT_UNTIL)[0]
    return time.monotonic() < until


def standing(trunk: str) -> Standing:
    """Return the trunk's standing."""
    try:
        return codec.standing(str(KSR.htable.sht_get(_TABLE, trunk) or ""))
    except (UnicodeDecodeError, TypeError):  # torn, as in shared.py
        return UP


def change(trunk: str, rule: Callable[[Standing], Standing]) -> tuple[Standing, Standing]:
    """Change the trunk's standing, and return it as it was and as it is. No other process changes it meanwhile."""
    KSR.htable.sht_lock(_TABLE, trunk)
    try:
        before = standing(trunk)
        after = rule(before)
        if after == UP:
            KSR.htable.sht_rm(_TABLE, trunk)
        elif after != before:
            seconds = KEPT + max(after.out_until - int(time.time()), 0)
            KSR.htable.sht_sets(_TABLE, trunk, codec.standing_text(after))
            KSR.htable.sht_setex(_TABLE, trunk, seconds)
            until: float = _CLOCK.unpack_from(_KEPT_UNTIL)[0]
            _CLOCK.pack_into(_KEPT_UNTIL, 0, max(until, time.monotonic() + seconds))
    finally:
        KSR.htable.sht_unlock(_TABLE, trunk)
    return before, after
