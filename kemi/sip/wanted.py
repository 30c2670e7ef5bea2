"""Names that workers want resolved."""

from __future__ import annotations

from functools import lru_cache

from kemi.sip import place, ring
from kemi.trunks.hops import target_of

_TABLE, _SIZE = "wanted_names", 64


def want(key: str) -> None:
    """Ask the process that resolves names for this one."""
    ring.put(_TABLE, _SIZE, key)


def want_name_in(field: str) -> None:
    """Ask for the host in a Contact or a Record-Route, if that is a name: requests inside the dialog go there."""
    if key := _name_in(field) if len(field) <= place.LONGEST_KEPT else "":
        want(key)


@lru_cache(maxsize=1024)
def _name_in(field: str) -> str:
    """Return the key of a field's target, empty if its host is no name."""
    target = target_of(place.uri_of(field), "")
    return target.key if target.is_name else ""


def wanted_since(number: int) -> tuple[list[str], int]:
    """Return the names asked for since this number, and the number to go on with. Of very many, the last ones."""
    last = ring.last(_TABLE)
    return ring.between(_TABLE, _SIZE, number, last), last
