"""Which trunks serve, told by requests that go over them and by probes (kemi/trunks/standing.py has the rules)."""

from __future__ import annotations

import time

from kemi.health.probes import Verdict
from kemi.outcome import Down, Up
from kemi.sip import api, standings
from kemi.trunks import standing
from kemi.trunks.plan import UNREACHABLE, Plan
from kemi.trunks.selection import Candidates
from kemi.trunks.standing import MOST_FAILURES, UP

are_kept = standings.are_kept


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


def unreachable(trunk: str, plan: Plan) -> Plan:
    """Return the plan after its hop could not be sent to, or had no address."""
    if plan.leaves_trunk:
        note_failed(trunk, UNREACHABLE.reason, 0)
    return plan.heard(UNREACHABLE)


def note_served(trunk: str) -> None:
    """Note that the trunk has let an attempt pass, if standings are kept."""
    if standings.standing(trunk) != UP:
        before, _ = standings.change(trunk, lambda _: UP)
        if before.since:
            api.tell(Up(trunk, int(time.time()) - before.since))


def note_tried(trunk: str) -> None:
    """Keep other calls from trying meanwhile if a trunk that was down serves again, if standings are kept."""
    now = int(time.time())
    standings.change(trunk, lambda found: standing.tried(found, now))


def note_probe(verdict: Verdict, call_id: str) -> None:
    """Note what a probe of the trunk has shown. call_id: of its last OPTIONS."""
    uuid, every = verdict.trunk.uuid, verdict.trunk.every
    now = int(time.time())
    if verdict.in_a_row >= MOST_FAILURES or verdict.retry_after:
        in_a_row, retry_after = verdict.in_a_row, verdict.retry_after
        before, after = standings.change(
            uuid, lambda found: standing.unanswered(found, now, in_a_row, every, retry_after)
        )
        if after.since and not before.since:
            api.tell(Down(uuid, verdict.reason), call_id)
    elif not verdict.in_a_row and standings.are_kept() and standings.standing(uuid).since:
        before, after = standings.change(uuid, lambda found: standing.answered(found, now))
        if before.since and not after.since:
            api.tell(Up(uuid, now - before.since), call_id)
