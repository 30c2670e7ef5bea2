"""Names that workers want resolved."""

from __future__ import annotations

from functools import lru_cache
from time import monotonic

from kemi.sip import place, ring
from kemi.trunks.hops import NAME, PORTS, target_of

AGAIN = 3600.0  # a name is kept for a day (names/learned.py)

_TABLE, _SIZE = "wanted_names", 64
_NEXT: dict[str, float] = {}  # when a name may be asked for again, by its key
_MOST_NEXT = 1024


def want(key: str) -> None:
    """Ask the process that resolves names for this one."""
    ring.put(_TABLE, _SIZE, key)


def want_name_in(field: str) -> None:
    """Ask for the host in a Contact or a Record-Route, if that is a name: requests inside the dialog go there. Every
    call brings it, so each worker asks for it once in AGAIN seconds.
    """
    key = _name_in(field) if len(field) <= place.LONGEST_KEPT else ""
    if key and (now := monotonic()) >= _NEXT.get(key, 0.0):
        if len(_NEXT) >= _MOST_NEXT:
            _NEXT.clear()
        _NEXT[key] = now + AGAIN
        want(key)


@lru_cache(maxsize=1024)
def _name_in(field: str) -> str:
    """Return the key of a field's target, empty if its host is no name, or nobody can have it (RFC 7118 5)."""
    target = target_of(place.uri_of(field), "")
    is_of_use = target.is_name and target.transport in ("", *PORTS) and NAME.fullmatch(target.host)
    return target.key if is_of_use and not target.host.endswith(".invalid") else ""


def wanted_since(number: int) -> tuple[list[str], int]:
    """Return the names asked for since this number, and the number to go on with. Of very many, the last ones."""
    last = ring.last(_TABLE)
    return ring.between(_TABLE, _SIZE, number, last), last
