"""Names that workers want resolved, in a table of the htable module (kamailio.cfg): a ring, so that it cannot grow."""

from __future__ import annotations

import KSR

_RING = 64


def want(key: str) -> None:
    """Ask the process that resolves names for this one."""
    number = KSR.htable.sht_inc("wanted_names", "last")
    KSR.htable.sht_sets("wanted_names", str(number % _RING), key)


def wanted_since(number: int) -> tuple[list[str], int]:
    """Return the names asked for since this number, and the number to go on with. Of very many, the last ones."""
    value = KSR.htable.sht_get("wanted_names", "last")
    last = value if isinstance(value, int) else 0
    names = [KSR.htable.sht_get("wanted_names", str(n % _RING)) for n in range(max(number, last - _RING) + 1, last + 1)]
    return [name for name in names if isinstance(name, str)], last
