"""Places without TCP, for all processes: tables of the htable module (trunkauth.inc.cfg)."""

from __future__ import annotations

import KSR

from kemi.sip import ring
from kemi.trunks.places import Place

_TABLE = "without_tcp"
_NOTED, _SIZE = "without_tcp_noted", 64


def have_knocked(there: Place) -> None:
    """Tell the process that knocks of a place without TCP."""
    ring.put(_NOTED, _SIZE, there.text)


def keep_without_tcp(there: Place) -> None:
    """Remember for some minutes that nobody takes TCP there."""
    KSR.htable.sht_seti(_TABLE, there.text, 1)


def is_without_tcp(there: Place) -> bool:
    """Return True if nobody has taken TCP there lately."""
    return KSR.htable.sht_get(_TABLE, there.text) == 1


def has_been_heard() -> bool:
    """Return True if the place of a request that has failed without a final reply has said anything, even 100."""
    return KSR.tm.t_branch_replied() > 0


# --- for the process that knocks


def noted_since(number: int) -> tuple[list[Place], int]:
    """Return the places noted since this number, and the number to go on with. Of very many, the last ones."""
    last = ring.last(_NOTED)
    return [Place.of_text(text) for text in ring.between(_NOTED, _SIZE, number, last)], last


def forget(there: Place) -> None:
    """Somebody takes TCP there again."""
    KSR.htable.sht_rm(_TABLE, there.text)
