"""The calls that hold a place of a trunk with `max_calls`, beyond a restart of this node.

1. A call is noted once it is answered, and is over with its BYE.
2. Calls that were up when Kamailio ended, in whatever way, are inherited by the next one, which counts them as its own.
3. An inherited call is over with its BYE, when its PBX does not know it any more (481 to an OPTIONS inside the dialog,
   as the dialog module's keepalive has it) or says nothing three times in a row, or after a day, because no request of
   its dialog could pass any more.

Pure: clock and dice come in.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kemi.dialog import nat
from kemi.dialog.mark import LONGEST_LIFE, PARAMETER
from kemi.dialog.own import Request
from kemi.trunks.hops import Target, target_of

FIRST_AFTER, FIRST_WITHIN = 5.0, 10.0  # seconds, between which PBXs are asked for inherited calls the first time
EVERY = 600.0  # seconds between two questions that were answered
AGAIN = 30.0  # seconds after one that was not
MOST_MISSED = 3
MOST_AT_ONCE = 20

GONE = 481
MISSED = frozenset({408, 503})

LONGEST = 4000  # characters of a line

_VERSION = 1
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IN_BRACKETS = re.compile(r"<([^<>]*)>")


class Call(NamedTuple):
    """A call, and what an OPTIONS to its PBX is made of.

    dialog: mark.dialog_id, of an inbound call with `<` behind it. since: when it was answered, in seconds of the epoch.
    pbx, carrier: the From or To of each, as the PBX knows them. contact: the PBX's. routes: of requests to it, with
    commas.
    """

    dialog: str
    trunk: str
    since: int
    call_id: str
    pbx: str
    carrier: str
    contact: str
    routes: str = ""

    @property
    def uri(self) -> str:
        """Where requests to the PBX are addressed to; empty if it has not said."""
        return nat.own(self._contact_uri)

    @property
    def _contact_uri(self) -> str:
        found = _IN_BRACKETS.search(self.contact)
        return found[1] if found else self.contact.partition(";")[0].strip()

    @property
    def target(self) -> Target:
        """Where they go: to the last proxy that stays in the path, or to the PBX itself."""
        found = _IN_BRACKETS.search(self.routes)
        return target_of(found[1] if found else self._contact_uri, "")

    def question(self, next_hop: str) -> Request:
        """Return an OPTIONS to the PBX. CSeq 0 takes no number from the carrier."""
        route = f"Route: {self.routes}\r\n" if self.routes else ""
        fields = f"To: {self.pbx}\r\nCall-ID: {self.call_id}\r\nCSeq: 0 OPTIONS\r\nMax-Forwards: 70\r\n{route}"
        return Request("OPTIONS", self.uri, next_hop, self.carrier, fields)


def routes_to_callee(recorded: str) -> str:
    """Return the Route of requests from us to a callee, by the Record-Route of its 2xx: the proxies that stand before
    us there, the nearest to us first (RFC 3261 12.1.2).
    """
    uris = _IN_BRACKETS.findall(recorded)
    ours = next((place for place, uri in enumerate(uris) if f";{PARAMETER}=" in uri), 0)
    return ", ".join([f"<{uri}>" for uri in reversed(uris[:ours])])


def begun(call: Call) -> str:
    """Return the line that notes a call."""
    return json.dumps([_VERSION, *call])


def ended(dialog: str) -> str:
    """Return the line that notes the end of a call."""
    return json.dumps([_VERSION, dialog])


def _read(line: str) -> tuple[str, Call | None]:
    """Return the dialog of a line, and its call, None if it has ended. Raises ValueError or TypeError."""
    version, *values = json.loads(line)
    dialog, *others = values
    call = Call(*values) if others else None
    texts = [value for value in values if not (call and value is call.since)]
    if version != _VERSION or (call and not isinstance(call.since, int)) or not all(map(_is_line, texts)):
        raise ValueError(line)
    return dialog, call


def _is_line(value: object) -> bool:
    return isinstance(value, str) and not _CONTROL.search(value)


class Held:
    """The calls by what was noted, oldest first. faults: lines that could not be read."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines: dict[str, str] = {}  # of calls that are up, by dialog
        self.faults = 0
        for line in lines:
            self.note(line)

    def note(self, line: str) -> str:
        """Take a line; return the dialog that it ends, empty if it ends none."""
        try:
            dialog, call = _read(line)
        except (ValueError, TypeError):
            self.faults += 1
            return ""
        if call:
            self.lines[dialog] = line
            return ""
        self.lines.pop(dialog, None)
        return dialog

    def calls(self, now: float) -> list[Call]:
        """Return the calls that may be up; those that are too old are forgotten. now: seconds of the epoch."""
        calls = [call for _, call in map(_read, self.lines.values()) if call and now < call.since + LONGEST_LIFE]
        self.lines = {one.dialog: self.lines[one.dialog] for one in calls}
        return calls


@dataclass
class _State:
    """deadline: of the question under way, 0 if there is none. until: when the call is too old. Both, and due,
    monotonic.
    """

    call: Call
    due: float
    until: float
    deadline: float = 0.0
    missed: int = 0


class Inherited:
    """The calls of before. patience: seconds to wait for a reply. uniform: a random number between two."""

    def __init__(
        self,
        calls: Iterable[Call],
        *,
        patience: float,
        uniform: Callable[[float, float], float],
        now: float,
        today: float,
    ) -> None:
        """now: monotonic. today: seconds of the epoch."""
        self._patience = patience
        self._states = {
            one.dialog: _State(one, now + uniform(FIRST_AFTER, FIRST_WITHIN), now + one.since + LONGEST_LIFE - today)
            for one in calls
        }

    def counts(self) -> Counter[str]:
        """Return how many hold a place of each trunk."""
        return Counter(state.call.trunk for state in self._states.values())

    def targets(self) -> frozenset[Target]:
        """Return where their PBXs are, if that is a name."""
        targets = (state.call.target for state in self._states.values())
        return frozenset(target for target in targets if target.is_name)

    def over(self, dialog: str) -> bool:
        """Take note that a call is over. Return True if it was one of these."""
        return self._states.pop(dialog, None) is not None

    def too_old(self, now: float) -> list[str]:
        """Return the dialogs that cannot be up any more."""
        return [dialog for dialog, state in self._states.items() if now >= state.until]

    def due(self, now: float) -> list[Call]:
        """Return the calls whose PBXs are to be asked now."""
        due = [state for state in self._states.values() if not state.deadline and state.due <= now]
        return [state.call for state in sorted(due, key=lambda state: state.due)[:MOST_AT_ONCE]]

    def asked(self, dialog: str, now: float) -> None:
        """Take note that the PBX is being asked."""
        self._states[dialog].deadline = now + self._patience

    def under_way(self) -> list[Call]:
        """Return the calls whose PBXs have been asked."""
        return [state.call for state in self._states.values() if state.deadline]

    def is_late(self, dialog: str, now: float) -> bool:
        """Return True if the reply has not come in time."""
        return now >= self._states[dialog].deadline

    def heard(self, dialog: str, status: int, now: float) -> bool:
        """Take the final reply of a PBX. Return True if the call is over."""
        if status in MISSED:
            return self.missed(dialog, now)
        state = self._states[dialog]
        state.deadline, state.missed, state.due = 0.0, 0, now + EVERY
        return status == GONE

    def missed(self, dialog: str, now: float) -> bool:
        """Take note that a PBX did not answer. Return True if the call is over."""
        state = self._states[dialog]
        state.deadline, state.missed, state.due = 0.0, state.missed + 1, now + AGAIN
        return state.missed >= MOST_MISSED
