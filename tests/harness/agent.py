"""A user agent: transactions and dialogs over an endpoint (RFC 3261 sections 12, 13 and 17).

It shows the rules all that it sends and receives, ACKs what it must, absorbs retransmissions, and repeats its 2xx until
the ACK comes. What it answers to a new request is the subclass's matter.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from tests.harness import message
from tests.harness.certificates import Identity
from tests.harness.dialog import Dialog
from tests.harness.endpoint import WITHIN, Address, Endpoint
from tests.harness.message import Header, Message
from tests.harness.rules import SENT_MAX_FORWARDS, RequestRules, ResponseRules

T1, T2 = 0.5, 4.0  # RFC 3261 17.1.1.1
SDP = b"".join(
    line + b"\r\n"
    for line in (
        b"v=0",
        b"o=- 1 1 IN IP4 127.0.0.1",
        b"s=-",
        b"c=IN IP4 127.0.0.1",
        b"t=0 0",
        b"m=audio 40000 RTP/AVP 8",
    )
)
REASONS = {
    100: "Trying", 180: "Ringing", 200: "OK", 202: "Accepted", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    407: "Proxy Authentication Required", 408: "Request Timeout", 481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated", 488: "Not Acceptable Here", 500: "Server Internal Error", 503: "Service Unavailable",
    600: "Busy Everywhere", 603: "Decline",
}  # fmt: skip


@dataclass
class Exchange:
    """One client transaction: the request, what came back, the ACK that went out."""

    agent: Agent
    request: Message
    to: Address
    responses: list[Message] = field(default_factory=list)
    ack: Message | None = None
    dialog: Dialog | None = None

    @property
    def final(self) -> Message | None:
        return next((each for each in self.responses if each.status >= 200), None)

    def expect(self, status: int, within: float = WITHIN) -> Message:
        """The response with this status; fails at once when another final response came."""
        seen = self.agent.wait(f"{status} to {self.request}", lambda: self._response(status) or self.final, within)
        assert seen.status == status, f"{status} was expected, {seen} came\n{self.agent.ladder()}"
        return seen

    def cancel(self) -> Exchange:
        """CANCEL of this INVITE (9.1)."""
        headers = [("Via", self.request.vias[0])]
        copied = ("Max-Forwards", "Route", "From", "To", "Call-ID")
        headers += [(name, value) for name, value in self.request.headers if name in copied]
        headers.append(("CSeq", f"{self.request.cseq[0]} CANCEL"))
        return self.agent.start(message.request("CANCEL", self.request.uri, headers), self.to)

    def inside(self, method: str, *, headers: Iterable[Header] = (), body: bytes = b"") -> Exchange:
        """A request in the dialog that this INVITE established."""
        assert self.dialog, f"no dialog yet\n{self.agent.ladder()}"
        return self.agent.inside(self.dialog, method, headers=headers, body=body)

    def _response(self, status: int) -> Message | None:
        return next((each for each in self.responses if each.status == status), None)


@dataclass
class Served:
    """One server transaction: the request, the last response, and whether its ACK came."""

    request: Message
    peer: Address
    tag: str
    response: Message | None = None
    acked: bool = False

    @property
    def kind(self) -> str:
        """The method, with an INVITE inside a dialog set apart."""
        return (
            f"re-{self.request.method}"
            if self.request.method == "INVITE" and self.request.to_tag
            else self.request.method
        )

    @property
    def settled(self) -> bool:
        return self.response is not None and self.response.status >= 200


class Agent(Endpoint):
    """Base of the caller and the carrier."""

    def __init__(
        self,
        name: str,
        host: str = "127.0.0.1",
        transport: str = "udp",
        realms: Iterable[str] = (),
        port: int = 0,
        identity: Identity | None = None,
    ) -> None:
        self.requests = RequestRules(tuple(realms))
        self.responses = ResponseRules()
        self.exchanges: dict[tuple[str, str], Exchange] = {}
        self.served: dict[tuple[str, str], Served] = {}
        self.dialogs: dict[str, Dialog] = {}
        self.rport = ";rport"  # of its Vias (RFC 3581)
        self.contact = ""  # where its calls want their requests, if that is not this end
        super().__init__(name, host, transport, port, identity)

    @property
    def faults(self) -> list[str]:
        """All that was wrong with what this end received."""
        with self.changed:
            return [*self.local_faults, *self.requests.faults, *self.responses.faults]

    def answer(self, served: Served) -> None:
        """What to do with a new request other than ACK and CANCEL."""
        raise NotImplementedError

    def cancelled(self, served: Served) -> None:
        """The INVITE was cancelled before its final response."""
        self.respond(served, 487)

    def via(self) -> str:
        return f"SIP/2.0/{self.transport.upper()} {self.place}{self.rport};branch={message.new_branch()}"

    def start(self, request: Message, to: Address) -> Exchange:
        """Send a request in a transaction of its own; an ACK is no transaction."""
        exchange = Exchange(self, request, to)
        with self.changed:
            self.exchanges[request.branch, request.method] = exchange
            self.responses.sent(request)
            self.send(request, to)
        return exchange

    def outside(
        self,
        proxy: Address,
        method: str,
        uri: str,
        *,
        sender: str,
        to: str = "",
        headers: Iterable[Header] = (),
        body: bytes = b"",
        max_forwards: int | None = SENT_MAX_FORWARDS,
    ) -> Exchange:
        """A request outside any dialog, CSeq 1. to: the URI of To; empty: the R-URI."""
        built = [
            ("Via", self.via()),
            *([] if max_forwards is None else [("Max-Forwards", str(max_forwards))]),
            ("From", f"<{sender}>;tag={message.new_tag()}"),
            ("To", f"<{to or uri}>"),
            ("Call-ID", f"{secrets.token_hex(8)}@{self.name}.test"),
            ("CSeq", f"1 {method}"),
            ("Contact", f"<{self.contact or self.uri}>"),
            *headers,
        ]
        built = message.with_content_type(built, body)
        return self.start(message.request(method, uri, built, body), proxy)

    def inside(self, dialog: Dialog, method: str, *, headers: Iterable[Header] = (), body: bytes = b"") -> Exchange:
        """A request in a dialog, with this end's next CSeq."""
        dialog.cseq += 1
        request = dialog.request(method, self.via(), self.uri, cseq=dialog.cseq, headers=headers, body=body)
        exchange = self.start(request, dialog.next_hop)
        exchange.dialog = dialog
        return exchange

    def respond(self, served: Served, status: int, headers: Iterable[Header] = (), body: bytes = b"") -> Message:
        """Answer a request; a final answer to an INVITE is repeated until its ACK comes (13.3.1.4, 17.2.1)."""
        given = list(headers)
        if served.request.method == "INVITE" and 100 < status < 300:
            given.append(("Contact", f"<{self.contact or self.uri}>"))
        given = message.with_content_type(given, body)
        reply = message.response(served.request, status, REASONS[status], served.tag, headers=given, body=body)
        with self.changed:
            served.response = reply
            self.requests.answered(reply)
            if served.kind == "INVITE" and 100 < status < 300:
                self.dialogs.setdefault(served.request.call_id, Dialog.of_called(served.request, reply))
            self.send(reply, served.peer)
            repeats = self.transport == "udp" or status < 300
            if served.request.method == "INVITE" and status >= 200 and repeats:
                self.after(T1, partial(self._repeat, served, reply, T1))
        return reply

    def receive(self, received: Message, peer: Address) -> None:
        if received.is_response:
            self._response(received)
            return
        self.requests.received(received)
        if received.method == "ACK":
            self._acked(received)
        elif (received.branch, received.method) in self.served:
            self._absorb(self.served[received.branch, received.method])
        else:
            self._serve(received, peer)

    def _serve(self, request: Message, peer: Address) -> None:
        served = Served(request, peer, message.new_tag())
        self.served[request.branch, request.method] = served
        if request.method != "CANCEL":
            self.answer(served)
            return
        invite = self.served.get((request.branch, "INVITE"))
        if invite is None:
            self.respond(served, 481)
            return
        served.tag = invite.tag
        self.respond(served, 200)
        if not invite.settled:
            self.cancelled(invite)

    def _absorb(self, served: Served) -> None:
        if served.response:
            self.send(served.response, served.peer)

    def _acked(self, ack: Message) -> None:
        for served in self.served.values():
            mine = served.request.method == "INVITE" and served.request.call_id == ack.call_id and served.settled
            if mine and (served.request.branch == ack.branch or self._accepted(served, ack)):
                served.acked = True

    def _accepted(self, served: Served, ack: Message) -> bool:
        assert served.response
        return served.response.status < 300 and served.request.cseq[0] == ack.cseq[0]

    def _repeat(self, served: Served, reply: Message, interval: float) -> None:
        if served.acked or served.response is not reply:
            return
        self.send(reply, served.peer)
        self.after(min(2 * interval, T2), partial(self._repeat, served, reply, min(2 * interval, T2)))

    def _response(self, response: Message) -> None:
        self.responses.received(response)
        exchange = self.exchanges.get((response.branch, response.method))
        if exchange is None:
            return
        exchange.responses.append(response)
        if response.method == "INVITE":
            self._follow_invite(exchange, response)

    def _follow_invite(self, exchange: Exchange, response: Message) -> None:
        """Dialog from the first response with a To tag below 300; ACK of every final response, repeated ones too."""
        initial = not exchange.request.to_tag
        if initial and 100 < response.status < 300 and response.has("Contact"):
            dialog = Dialog.of_caller(exchange.request, response)
            if exchange.dialog is None or exchange.dialog.remote != dialog.remote:
                exchange.dialog = self.dialogs[dialog.call_id] = dialog
        if response.status >= 300:
            exchange.ack = self._ack_of_failure(exchange.request, response)
            self.send(exchange.ack, exchange.to)
        elif response.status >= 200 and exchange.dialog:
            exchange.ack = exchange.ack or exchange.dialog.request(
                "ACK", self.via(), self.uri, cseq=exchange.request.cseq[0]
            )
            self.send(exchange.ack, exchange.dialog.next_hop)

    def _ack_of_failure(self, invite: Message, response: Message) -> Message:
        headers = [("Via", invite.vias[0])]
        copied = ("Max-Forwards", "Route", "From", "Call-ID")
        headers += [(name, value) for name, value in invite.headers if name in copied]
        headers += [("To", response.first("To")), ("CSeq", f"{invite.cseq[0]} ACK")]
        return message.request("ACK", invite.uri, headers)
