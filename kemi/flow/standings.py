"""Which trunks serve, told by the requests that go over them (kemi/trunks/standing.py has the rules)."""

from __future__ import annotations

import time

from kemi.outcome import Down, Up
from kemi.sip import api, standings
from kemi.trunks import standing
from kemi.trunks.selection import Candidates
from kemi.trunks.standing import UP


def serving(trunks: Candidates) -> Candidates:
    """Return the trunks that are not left out; all of them if all are."""
    if len(trunks) < 2 or not standings.are_kept():
        return trunks
    now = int(time.time())
    return tuple([one for one in trunks if not standing.is_out(standings.standing(one.uuid), now)]) or trunks


def note_failed(trunk: str, reason: str, retry_after: int) -> None:
    """Note that the trunk could not serve an attempt."""
    now = int(time.time())
    before, after = standings.change(trunk, lambda found: standing.failed(found, now, retry_after))
    if after.since and not before.since:
        api.tell(Down(trunk, reason))


def note_served(trunk: str) -> None:
    """Note that the trunk has let an attempt pass."""
    if standings.are_kept() and standings.standing(trunk) != UP:
        before, _ = standings.change(trunk, lambda _: UP)
        if before.since:
            api.tell(Up(trunk, int(time.time()) - before.since))


def note_tried(trunk: str) -> None:
    """Keep other calls from trying meanwhile if a trunk that was down serves again."""
    if standings.are_kept():
        now = int(time.time())
        standings.change(trunk, lambda found: standing.tried(found, now))
