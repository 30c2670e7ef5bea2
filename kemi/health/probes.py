"""When trunks are probed, and which of them answer: the column `probe` of the table trunk.

1. A trunk is probed by OPTIONS every `probe` seconds, a tenth more or less, so that trunks do not keep step. A row that
   is new or has changed is probed within FIRST_WITHIN seconds.
2. Whatever is answered counts, but for 408 and 503. A probe goes over the hops of its trunk as a call does: if one
   does not answer, the next one is asked. It is unanswered if none has answered.
3. No more than MOST_AT_ONCE go out in one tick, those first that have waited longest; of a trunk one at a time.

What becomes of a trunk then is in trunks/standing.py. Pure: clock and dice come in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kemi.dialog.own import Request
from kemi.trunks.hops import Hop, Hops, Target

MOST_AT_ONCE = 20
FIRST_WITHIN = 5.0  # seconds
SPREAD = 0.1  # of the interval
NO_ANSWER = frozenset({408, 503})  # a proxy on the way says so for a carrier that is not there

SILENT = "silent to OPTIONS"
NOT_SENT = "OPTIONS cannot be sent"
NO_NAME = "its name cannot be resolved"


class Probed(NamedTuple):
    """A row to probe. every: seconds. domain: r_domain; socket: the sending one; both may be empty."""

    uuid: str
    every: int
    target: Target
    domain: str = ""
    socket: str = ""


class Probe(NamedTuple):
    """An OPTIONS to send."""

    trunk: Probed
    hop: Hop

    @property
    def uri(self) -> str:
        """Its R-URI."""
        return f"sip:{self.trunk.domain}" if self.trunk.domain else self.hop.uri

    def request(self, call_id: str, tag: str) -> Request:
        """Return it. tag: of its From."""
        fields = f"To: <{self.uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
        return Request(
            "OPTIONS",
            self.uri,
            self.hop.uri,
            f"<{self.uri}>;tag={tag}",
            fields,
            self.trunk.socket,
        )


class Verdict(NamedTuple):
    """What a probe has shown. in_a_row: probes unanswered by now, 0 if this one was answered. reason: why the last hop
    did not answer. retry_after: its Retry-After, 0 for none.
    """

    trunk: Probed
    in_a_row: int = 0
    reason: str = ""
    retry_after: int = 0


@dataclass
class _State:
    """hops: of the probe under way, those not asked yet. deadline: of its OPTIONS under way, 0 if there is none."""

    trunk: Probed
    due: float
    hops: Hops = ()
    deadline: float = 0.0
    unanswered: int = 0


class Probes:
    """All trunks that are probed. patience: seconds to wait for a reply. uniform: a random number between two."""

    def __init__(self, patience: float, uniform: Callable[[float, float], float]) -> None:
        self._patience = patience
        self._uniform = uniform
        self._states: dict[str, _State] = {}

    def watch(self, trunks: Mapping[str, Probed], now: float) -> None:
        """Probe these and no others."""
        before, self._states = self._states, {}
        for uuid, trunk in trunks.items():
            state = before.get(uuid)
            if state is None or state.trunk != trunk:
                state = _State(trunk, now + self._uniform(0, min(trunk.every, FIRST_WITHIN)))
            self._states[uuid] = state

    def due(self, now: float) -> list[Probed]:
        """Return the trunks to probe now."""
        due = [state for state in self._states.values() if not state.deadline and state.due <= now]
        return [state.trunk for state in sorted(due, key=lambda state: state.due)[:MOST_AT_ONCE]]

    def start(self, uuid: str, hops: Hops, now: float) -> Probe | Verdict:
        """Begin a probe of this trunk. hops: its own, in the order to ask; none if its name cannot be resolved."""
        state = self._states[uuid]
        state.hops = hops
        state.due = now + state.trunk.every * self._uniform(1 - SPREAD, 1 + SPREAD)
        return self._next(state, now, NO_NAME, 0)

    def under_way(self) -> list[str]:
        """Return the trunks whose OPTIONS are under way."""
        return [uuid for uuid, state in self._states.items() if state.deadline]

    def is_late(self, uuid: str, now: float) -> bool:
        """Return True if the trunk's reply has not come in time."""
        return now >= self._states[uuid].deadline

    def heard(self, uuid: str, status: int, retry_after: int, now: float) -> Probe | Verdict:
        """Take the final reply to a trunk's OPTIONS."""
        if status in NO_ANSWER:
            return self.missed(uuid, f"{status} to OPTIONS", now, retry_after)
        state = self._states[uuid]
        state.deadline, state.hops, state.unanswered = 0.0, (), 0
        return Verdict(state.trunk)

    def missed(self, uuid: str, reason: str, now: float, retry_after: int = 0) -> Probe | Verdict:
        """Take note that a hop did not answer: the next one is asked, if there is one."""
        return self._next(self._states[uuid], now, reason, retry_after)

    def _next(self, state: _State, now: float, reason: str, retry_after: int) -> Probe | Verdict:
        if state.hops:
            hop, *others = state.hops
            state.hops, state.deadline = tuple(others), now + self._patience
            return Probe(state.trunk, hop)
        state.deadline, state.unanswered = 0.0, state.unanswered + 1
        return Verdict(state.trunk, state.unanswered, reason, retry_after)
