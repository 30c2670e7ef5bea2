"""A strict carrier: challenges, verifies with code that is not ours, then answers as its script says.

It never forgives: everything wrong in what it receives is in `faults`, which a test asserts to be empty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tests.harness.agent import SDP, Agent, Exchange, Served
from tests.harness.certificates import Identity
from tests.harness.endpoint import WITHIN
from tests.harness.message import Header, Message
from tests.harness.rules import is_probe
from tests.harness.verifier import ACCEPTED, Challenge, Verifier

AT_ONCE, FROM_AFAR = "at once", "from afar"  # how a connection ends
RELIABLE = (("Require", "100rel"), ("RSeq", "1"))  # RFC 3262 3


@dataclass(frozen=True)
class Script:
    """What the carrier does with a call: whom it challenges, whether it rings, how it ends. No final: it rings on.

    behind: what the far end asks for, once the carrier's own challenge is answered. together: both ask in one reply, as
    a proxy that forks puts them together (RFC 3261 16.7). reliable: it rings as RFC 3262 has it, and wants a PRACK.
    hangs_up: how its TCP connection ends with each challenge of its own; empty if it does not. retry_after: seconds,
    with the final response. probed: the answer to a probe, None for silence.
    """

    challenge: Challenge | None = None
    behind: Challenge | None = None
    together: bool = False
    ring: bool = True
    reliable: bool = False
    final: int | None = 200
    silent: bool = False
    registrar: int | None = 200
    hangs_up: str = ""
    retry_after: int = 0
    probed: int | None = 200


class Carrier(Agent):
    """Listens on a free loopback port; `verdicts` says what became of the credentials of each request."""

    def __init__(
        self,
        script: Script,
        passwords: Mapping[str, str],
        *,
        host: str = "127.0.0.1",
        transport: str = "udp",
        port: int = 0,
        identity: Identity | None = None,
    ) -> None:
        self.script = script
        self.verdicts: list[tuple[str, int, str]] = []
        challenges = [challenge for challenge in (script.challenge, script.behind) if challenge]
        statuses = [challenge.status for challenge in challenges]
        self._verifiers = [Verifier(challenge, passwords, statuses) for challenge in challenges]
        self._held: list[Served] | None = None
        self._turns_down: int | None = None
        realms = [challenge.realm for challenge in challenges]
        super().__init__("carrier", host, transport, realms, port, identity)

    @property
    def faults(self) -> list[str]:
        with self.changed:
            return [*super().faults, *(fault for verifier in self._verifiers for fault in verifier.faults)]

    @property
    def proxy_uri(self) -> str:
        """What a DBA writes into auth_proxy."""
        suffix = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{self.place}{suffix}"

    def hold(self) -> None:
        """Keep the requests that come from now on: an INVITE gets its 100, nothing else is said until `release`."""
        with self.changed:
            self._held = []

    def release(self) -> None:
        """Answer what was held, a cancelled INVITE too: as an answer that crossed the CANCEL on the wire."""
        with self.changed:
            held, self._held = self._held or [], None
            for served in held:
                self._decide(served)

    def pick_up(self) -> None:
        """Accept every call that rings."""
        with self.changed:
            for served in self._ringing():
                self.respond(served, 200, self._next_nonces(served), body=SDP)

    def ring_again(self) -> None:
        """Repeat the 180 of every call that rings."""
        with self.changed:
            for served in self._ringing():
                self.respond(served, 180)

    def reject(self, status: int) -> None:
        """End every call that rings."""
        with self.changed:
            for served in self._ringing():
                self.respond(served, status)

    def _ringing(self) -> list[Served]:
        return [
            served
            for served in self.served.values()
            if served.request.method == "INVITE" and served.response and served.response.status == 180
        ]

    def forget_nonces(self) -> None:
        """As after a restart: no nonce is known any more."""
        with self.changed:
            for verifier in self._verifiers:
                verifier.forget()

    def pass_time(self, seconds: float) -> None:
        """Move the carrier's clock, by which its nonces end."""
        with self.changed:
            for verifier in self._verifiers:
                verifier.clock += seconds

    def nonce_counts(self) -> list[list[int]]:
        """Every nc that came, for each nonce that did."""
        with self.changed:
            return [counts for verifier in self._verifiers for counts in verifier.counts()]

    @contextlib.contextmanager
    def as_before(self) -> Iterator[None]:
        """Inside the block it asks a MESSAGE for credentials, and is content with good ones; nothing but the nonces
        stays of it.
        """
        before = [verifier.challenge for verifier in self._verifiers]
        for verifier in self._verifiers:
            verifier.pose(replace(verifier.challenge, requests=frozenset({"MESSAGE"}), stale=0, refuse_all=False))
        yield
        with self.changed:
            for verifier, challenge in zip(self._verifiers, before, strict=True):
                verifier.pose(challenge)
            self.trace.clear()
            self.verdicts.clear()

    def ask(self, *challenges: Challenge) -> None:
        """Challenge like this from now on; the nonces stay."""
        with self.changed:
            for verifier, challenge in zip(self._verifiers, challenges, strict=True):
                verifier.pose(challenge)

    def answer_probes(self, status: int | None) -> None:
        """Answer every probe from now on like this, or with silence."""
        with self.changed:
            self.script = replace(self.script, probed=status)

    def come_back(self) -> None:
        """Register whoever asks from now on."""
        with self.changed:
            self.script = replace(self.script, registrar=200)

    def turn_down(self, status: int) -> None:
        """End every INVITE from now on with this status, once it may pass."""
        with self.changed:
            self._turns_down = status

    def received(self, method: str) -> list[Message]:
        """Requests of this method, retransmissions left out; an ACK is repeated with every 2xx and counts once."""
        with self.changed:
            seen = [s.message for s in self.trace if not s.sent and s.message.start.startswith(f"{method} ")]
            return list(dict.fromkeys(seen))

    def answers(self, method: str) -> list[int]:
        """Statuses of the final responses to requests of this method, in order, repetitions left out."""
        with self.changed:
            sent = [seen.message for seen in self.trace if seen.sent and seen.message.is_response]
            finals = [each for each in sent if each.method == method and each.status >= 200]
            return [each.status for each in dict.fromkeys(finals)]

    def expect(self, method: str, count: int = 1, within: float = WITHIN) -> Message:
        """The count-th request of this method."""
        return self.wait(f"{method} number {count}", lambda: self.received(method)[count - 1 :], within)[0]

    def expect_acks(self, within: float = WITHIN) -> None:
        """Wait until every final response to an INVITE has its ACK."""
        self.wait("an ACK for every final response", self._all_acked, within)

    def accept_again(self, call_id: str, kind: str = "INVITE") -> None:
        """Repeat the 2xx of the last such INVITE of this call, as if its ACK had been lost, and wait for that ACK."""
        calls = [each for each in self.served.values() if each.kind == kind and each.request.call_id == call_id]
        served, response = calls[-1], calls[-1].response
        assert response
        with self.changed:
            served.acked = False
            self.send(response, served.peer)
        self.wait("the ACK once more", lambda: served.acked)

    def acknowledged_elsewhere(self, ack: Message) -> None:
        """Take an ACK that went where this carrier's Contact led."""
        with self.changed:
            self._acked(ack)

    def in_call(self, call_id: str, method: str, body: bytes = b"") -> Exchange:
        """A request from the carrier's side of this call."""
        return self.inside(self.dialogs[call_id], method, body=body)

    def answer(self, served: Served) -> None:
        if self.script.silent and served.request.method == "INVITE":
            return
        if is_probe(served.request) and self.script.probed != 200:
            if self.script.probed:
                self.respond(served, self.script.probed)
            return
        if self._held is None:
            self._decide(served)
            return
        self._held.append(served)
        if served.request.method == "INVITE":
            self.respond(served, 100)

    def cancelled(self, served: Served) -> None:
        if self._held is None:
            super().cancelled(served)

    def _decide(self, served: Served) -> None:
        if served.settled or not self._admits(served):
            return
        if served.kind == "REGISTER":
            self._register(served)
            return
        if served.request.method != "INVITE":
            self.respond(served, 200, self._next_nonces(served))
            return
        if self._turns_down is not None:
            self.respond(served, self._turns_down)
            return
        if self.script.ring:
            self.respond(served, 180, RELIABLE if self.script.reliable else ())
        if self.script.final is not None:
            accepts = self.script.final < 300
            headers = self._next_nonces(served) if accepts else []
            if self.script.retry_after:
                headers.append(("Retry-After", str(self.script.retry_after)))
            self.respond(served, self.script.final, headers, body=SDP if accepts else b"")

    def _register(self, served: Served) -> None:
        if self.script.registrar is not None:
            bound = (
                [("Contact", f"{served.request.first('Contact')};expires=60")] if self.script.registrar == 200 else []
            )
            self.respond(served, self.script.registrar, bound)

    def _admits(self, served: Served) -> bool:
        """Whether the request may pass; one that may not gets its challenge."""
        request, challenges = served.request, list[Header]()
        for verifier in self._verifiers:
            verifier.note(request)
        for verifier in self._verifiers:
            challenge = verifier.challenge
            if served.kind not in challenge.requests:
                verifier.inspect(request)
                continue
            if challenge.nonces.unasked and verifier.brings_unasked(request):
                self.respond(served, challenge.nonces.unasked)
                return False
            verdict = verifier.judge(request)
            self.verdicts.append((served.kind, request.cseq[0], verdict))
            if verdict != ACCEPTED:
                challenges += verifier.headers(request, verdict)
                if not self.script.together:
                    self._challenge(served, challenge.reply or challenge.status, challenges)
                    return False
        if challenges:
            self.respond(served, self._verifiers[0].challenge.status, challenges)
        return not challenges

    def _challenge(self, served: Served, status: int, challenges: list[Header]) -> None:
        if not self.script.hangs_up:
            self.respond(served, status, challenges)
            return
        self.cork(served.peer)
        self.respond(served, status, challenges)
        served.acked = True  # no ACK can come
        if self.script.hangs_up == FROM_AFAR:
            self.close_from_afar(served.peer)
        else:
            self.hang_up(served.peer)

    def _next_nonces(self, served: Served) -> list[Header]:
        return [header for verifier in self._verifiers for header in verifier.next_nonces(served.request)]

    def _all_acked(self) -> bool:
        invites = [each for each in self.served.values() if each.request.method == "INVITE"]
        return bool(invites) and all(each.acked for each in invites)
