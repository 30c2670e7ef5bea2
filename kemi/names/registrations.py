"""When a registration that failed is tried again.

1. A registrar that was silent, or said anything but a refusal, is tried after 30 to 60 s, then each time after twice as
   long, up to 5 to 10 minutes: it may be back at any time. So is one that no REGISTER could be sent to: its name could
   not be resolved, say.
2. One that refused (401 or 407 to credentials, 403) is tried after half an hour to an hour: each try brings a lock-out
   nearer, and what helps is a change of the row, which is registered at once anyway, or one at the carrier.

The wait is somewhere in its upper half, so that trunks that failed together do not come back together. The clock is an
argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kemi.line import Line, notice, warning

FIRST, LONGEST, AFTER_REFUSAL = 60.0, 600.0, 3600.0  # seconds, at most
REFUSALS = frozenset({401, 403, 407})
SILENT = 0  # in place of a status: the REGISTER had no reply
GRACE = 30.0  # seconds until a trunk for which no REGISTER went out counts as failed
TOLD_AFTER = 3  # such tries: a row with a reg_delay has none either

_NEVER = float("inf")


@dataclass
class _Outage:
    since: float
    tries: int
    next_try: float  # _NEVER: it is being tried


class Registrations:
    """The registrations that are down, by l_uuid. random: a number from 0 to 1, another one each time.

    What they tell is a line for the log, None if there is nothing to say.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._down: dict[str, _Outage] = {}
        self._idle_since: dict[str, float] = {}

    def idle(self, uuid: str, status: int | None, now: float) -> Line | None:
        """The trunk is not registered, and no REGISTER is under way. status: how one has ended since the last look, or
        SILENT; None if none has. Told once an outage, and at each refusal.
        """
        if status is None:
            return self._unsent(uuid, now)
        wait = self._wait(uuid, AFTER_REFUSAL if status in REFUSALS else LONGEST, now)
        if status in REFUSALS:
            return _unregistered(uuid, f"the registrar refuses: {status}", wait)
        if self._down[uuid].tries > 1:
            return None
        return _unregistered(uuid, f"the registrar says {status}" if status else "the registrar is silent", wait)

    def up(self, uuid: str, now: float) -> Line | None:
        """The trunk is registered. Told if it was down before."""
        outage = self._down.get(uuid)
        self.forget(uuid)
        return notice(trunk=uuid, outcome="registered", seconds=round(now - outage.since)) if outage else None

    def forget(self, uuid: str) -> None:
        """The trunk's row has changed or gone."""
        self._down.pop(uuid, None)
        self._idle_since.pop(uuid, None)

    def due(self, now: float) -> list[str]:
        """Return the trunks to try now. Each comes once; it has to fail again before it comes again."""
        due = [uuid for uuid, outage in self._down.items() if outage.next_try <= now]
        for uuid in due:
            self._down[uuid].next_try = _NEVER
        return due

    def _unsent(self, uuid: str, now: float) -> Line | None:
        outage = self._down.get(uuid)
        is_waiting = outage is not None and outage.next_try < _NEVER
        if is_waiting or now < self._idle_since.setdefault(uuid, now) + GRACE:
            return None
        wait = self._wait(uuid, LONGEST, now)
        return _unregistered(uuid, "no REGISTER can be sent", wait) if self._down[uuid].tries == TOLD_AFTER else None

    def _wait(self, uuid: str, longest: float, now: float) -> float:
        """Return the seconds until the next try, and note it."""
        outage = self._down.setdefault(uuid, _Outage(now, 0, _NEVER))
        if longest == LONGEST:
            longest = min(FIRST * 2.0 ** min(outage.tries, 10), LONGEST)
        wait = longest * (1 + self._random()) / 2
        outage.tries, outage.next_try = outage.tries + 1, now + wait
        self._idle_since.pop(uuid, None)
        return wait


def _unregistered(uuid: str, reason: str, wait: float) -> Line:
    return warning(trunk=uuid, outcome="unregistered", reason=reason, next_seconds=round(wait))
