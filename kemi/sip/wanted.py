"""Names that workers want resolved."""

from __future__ import annotations

from kemi.sip import ring

_TABLE, _SIZE = "wanted_names", 64


def want(key: str) -> None:
    """Ask the process that resolves names for this one."""
    ring.put(_TABLE, _SIZE, key)


def wanted_since(number: int) -> tuple[list[str], int]:
    """Return the names asked for since this number, and the number to go on with. Of very many, the last ones."""
    last = ring.last(_TABLE)
    return ring.between(_TABLE, _SIZE, number, last), last
