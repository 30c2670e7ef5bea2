"""Places without TCP, for all processes: a table of the htable module (trunkauth.inc.cfg)."""

from __future__ import annotations

import KSR

from kemi.trunks.places import Place

_TABLE = "without_tcp"


def note_without_tcp(there: Place) -> None:
    """Remember for some minutes that nobody takes TCP there."""
    KSR.htable.sht_seti(_TABLE, there.text, 1)


def is_without_tcp(there: Place) -> bool:
    """Return True if nobody has taken TCP there lately."""
    return KSR.htable.sht_get(_TABLE, there.text) == 1
