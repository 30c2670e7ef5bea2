"""Keeps the calls of trunks with `max_calls` counted over restarts: what workers note goes into a file, and what an
earlier Kamailio has left there counts until held.py says that it is over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from kemi.health.held import Call, Held, Inherited, ended
from kemi.health.journal import Journal
from kemi.line import notice, warning
from kemi.settings import Settings
from kemi.sip import api, own, room
from kemi.trunks.hops import Hops, Target, literal
from kemi.trunks.tables import cause


class Holding:
    """Made before the processes fork, so that no call is placed before the inherited ones are counted."""

    def __init__(self, settings: Settings) -> None:
        self._journal = Journal(settings.calls_file)
        self._unread = self._fault = ""
        lines: list[str] = []
        try:
            lines = self._journal.read()
        except OSError as error:
            self._unread = cause(error)
        self._held = Held(lines)
        if self._held.faults:
            self._unread = f"{self._held.faults} of {len(lines)} lines cannot be read"
        calls, now = self._held.calls(time.time()), time.monotonic()
        self._inherited = Inherited(
            calls, patience=settings.try_seconds, uniform=random.uniform, now=now, today=time.time()
        )
        self._is_whole = not lines  # the file holds what it ought to, and little else
        self._at_start = self._inherited.counts()
        self._told: dict[str, int] = {}
        self._noted = self._last_noted = 0  # the number of the last note that was read, and of the last there was
        room.inherit(self._at_start)

    def targets(self) -> frozenset[Target]:
        """Return the names that have to be resolved."""
        return self._inherited.targets()

    def tick(self) -> None:
        """Write down what workers have noted, and what the PBXs of inherited calls have answered."""
        if self._unread:
            api.write(warning(outcome="calls-not-counted", reason=self._unread))
            self._unread = ""
        now = time.monotonic()
        lines = room.noted(self._noted, self._last_noted)  # no note is on its way any more since the last tick
        self._noted, self._last_noted = self._last_noted, room.last_noted()
        for line in lines:
            if dialog := self._held.note(line):
                self._inherited.over(dialog)
        over = [*self._inherited.too_old(now), *self._heard(now)]
        for dialog in over:
            self._inherited.over(dialog)
            self._held.note(ended(dialog))
        self._keep([*lines, *map(ended, over)])
        self._tell_counts()

    def ask(self, hops: Mapping[Target, Hops]) -> None:
        """Ask the PBXs of inherited calls whose time has come. hops: of the names known."""
        now = time.monotonic()
        for call in self._inherited.due(now):
            self._ask(call, hops, now)

    def _heard(self, now: float) -> list[str]:
        """Return the dialogs that have turned out to be over."""
        over = []
        for call in self._inherited.under_way():
            if reply := own.take_reply(call.call_id):
                if self._inherited.heard(call.dialog, reply[0], now):
                    over.append(call.dialog)
            elif self._inherited.is_late(call.dialog, now) and self._inherited.missed(call.dialog, now):
                over.append(call.dialog)
        return over

    def _ask(self, call: Call, hops: Mapping[Target, Hops], now: float) -> None:
        target = call.target
        known = hops.get(target, ()) if target.is_name else literal(target)
        self._inherited.asked(call.dialog, now)
        if known:
            own.send(call.question(known[0].uri))  # if it cannot be sent, nothing will come

    def _keep(self, lines: list[str]) -> None:
        """Add lines to the file, or write it anew if it does not hold all that it ought to."""
        if not lines and self._is_whole:
            return
        try:
            if self._is_whole and not self._journal.is_long(len(self._held.lines)):
                self._journal.append(lines)
            else:
                self._held.calls(time.time())  # forgets those that are too old
                self._journal.write(self._held.lines.values())
        except OSError as error:
            self._is_whole = False
            self._say_fault(cause(error))
        else:
            self._is_whole = True
            self._say_fault("")

    def _say_fault(self, fault: str) -> None:
        """Say once that the file cannot be written, and once that it can again."""
        if fault and not self._fault:
            api.write(warning(outcome="calls-not-kept", reason=fault))
        elif self._fault and not fault:
            api.write(notice(outcome="calls-kept"))
        self._fault = fault

    def _tell_counts(self) -> None:
        """Tell workers how many inherited calls hold a place."""
        counts = self._inherited.counts()
        for trunk in self._at_start:
            if self._told.get(trunk) != counts[trunk]:
                room.set_inherited(trunk, counts[trunk])
                self._told[trunk] = counts[trunk]
