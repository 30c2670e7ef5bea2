"""What an end of a call may hold against the proxy in the middle: RFC 3261 as a list of faults.

Each end shows these rules every message that it sends and receives; `faults` then names what was wrong, in the order
seen. No socket, no clock and no product code: the rules are tested on hand-made messages (test_rules.py).

Requests from the proxy
 1. A new transaction has a branch of its own, with the magic cookie (8.1.1.7); a retransmission is the same message
    (17.1.1.2).
 2. Within one dialog CSeq rises with every request but ACK and CANCEL (12.2.1.1).
 3. The resend of a challenged request is CSeq + 1, with the same Call-ID, From, To and body (8.1.3.5, 22.1).
 4. ACK of a failure: branch, R-URI, CSeq number, From, Call-ID and Route of its INVITE, To tag of the response
    (17.1.1.3).
 5. ACK of a 2xx: CSeq number of that INVITE, a branch that no transaction has, To tag of the 2xx (13.2.2.4).
 6. CANCEL: branch, R-URI, CSeq number, From, To and Call-ID of a pending INVITE, after a provisional response (9.1).
 7. Relayed: one Via more than the sender's, Max-Forwards one less, Record-Route in an INVITE, no Route left (16.6).
 8. No header that is the proxy's own business; credentials for no realm that this end never named, and one set for
    each (22.3); one tag in From and in To (19.3).
 9. PRACK: RAck names a reliable response given here, and the INVITE by the CSeq that it had here (RFC 3262 7.2).
    A keepalive, the proxy's own OPTIONS inside a dialog, has CSeq 0, so that rule 2 holds for what its peer sends.

Responses from the proxy
10. One Via, ours; Call-ID, From and CSeq of the request (8.1.3.3, 8.2.6.2).
11. No 401 or 407, and no challenge in any response: the proxy answers the carrier's.
12. A To tag above 100 (8.2.6.2), and the same one from the early dialog to the 2xx (12.1).
13. One final response; the same one again is a retransmission (17.2.1). A provisional response may come after it:
    UDP keeps no order, and neither do the workers of a proxy.
14. A 2xx for an INVITE has Contact, and Record-Route unless the dialog was there before (12.1.1, 16.6).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tests.harness.message import MAGIC_COOKIE, MalformedError, Message, auth_params

PRIVATE = ("X-Trunk",)
CREDENTIALS = ("Authorization", "Proxy-Authorization")
CHALLENGES = ("WWW-Authenticate", "Proxy-Authenticate")
SENT_MAX_FORWARDS = 70
CHALLENGED = (401, 407)

# Methods that the proxy starts itself: one Via, its own Max-Forwards, and no Record-Route.
FROM_PROXY = ("REGISTER",)
KEEPALIVE = (0, "OPTIONS")


def is_probe(request: Message) -> bool:
    """Return True for the proxy's own OPTIONS outside any dialog: what it relays is for somebody."""
    return request.method == "OPTIONS" and not request.to_tag and "@" not in request.uri


@dataclass
class _Transaction:
    request: Message
    response: Message | None = None
    reliable: set[str] = field(default_factory=set)  # RAck values that name its provisional responses

    @property
    def status(self) -> int:
        return self.response.status if self.response else 0


class RequestRules:
    """Rules 1 to 9: the requests that this end receives, beside the responses that it gave them."""

    def __init__(self, realms: Collection[str] = ()) -> None:
        self.faults: list[str] = []
        self._realms = frozenset(realms)
        self._transactions: dict[str, _Transaction] = {}

    def received(self, request: Message) -> None:
        check = {"ACK": self._ack, "CANCEL": self._cancel}.get(request.method, self._transaction)
        self.faults += [f"{request}: {fault}" for fault in (*check(request), *_private(request), *_tags(request))]

    def answered(self, response: Message) -> None:
        """What this end sent back: rules 3 to 6 and 9 depend on it."""
        transaction = self._transactions.get(response.branch)
        if transaction and transaction.request.method == response.method:
            transaction.response = response
            if response.has("RSeq"):
                transaction.reliable.add(f"{response.first('RSeq')} {response.first('CSeq')}")

    def _transaction(self, request: Message) -> Iterator[str]:
        known = self._transactions.get(request.branch)
        if known and known.request.cseq == request.cseq and known.request.call_id == request.call_id:
            if known.request != request:
                yield "a retransmission that differs from what it repeats"
            return
        if known:
            yield f"branch reused, it was that of {known.request}"
        if not request.branch.startswith(MAGIC_COOKIE):
            yield "branch without the magic cookie"
        yield from self._sequence(request)
        yield from _relayed(request)
        yield from _credentials(request, self._realms)
        if request.method == "PRACK" and request.first("RAck") not in self._reliable(request):
            yield f"RAck {request.first('RAck')!r} names none of {self._reliable(request)}"
        self._transactions[request.branch] = _Transaction(request)

    def _sequence(self, request: Message) -> Iterator[str]:
        before = [t for t in self._transactions.values() if _same_sender(t.request, request)]
        if not before:
            return
        if request.cseq == KEEPALIVE:
            return
        last = max(reversed(before), key=lambda transaction: transaction.request.cseq[0])
        is_resend = last.status in CHALLENGED and last.request.method == request.method
        if is_resend:
            yield from _resend(request, last.request)
        elif request.cseq[0] <= last.request.cseq[0]:
            yield f"CSeq {request.cseq[0]} is not greater than {last.request.cseq[0]} of the request before it"

    def _reliable(self, request: Message) -> list[str]:
        mine = (t for t in self._transactions.values() if _same_sender(t.request, request))
        return sorted(rack for transaction in mine for rack in transaction.reliable)

    def _ack(self, ack: Message) -> Iterator[str]:
        transaction = self._transactions.get(ack.branch)
        if transaction is None and len(ack.vias) == 1:
            yield "made by the proxy, with the branch of no INVITE"
            return
        if transaction is None:
            yield from self._ack_of_2xx(ack)
            return
        yield from _hop_by_hop(ack, transaction.request)
        if transaction.status < 200:
            yield "ACK before any final response"
        elif transaction.status < 300:
            yield f"ACK of a {transaction.status} with the branch of its INVITE"
        elif transaction.response and ack.to_tag != transaction.response.to_tag:
            yield f"To tag is not that of the {transaction.status}"

    def _ack_of_2xx(self, ack: Message) -> Iterator[str]:
        invites = [
            t for t in self._transactions.values() if t.request.method == "INVITE" and _same_sender(t.request, ack)
        ]
        if not invites:
            yield "ACK of no INVITE known here"
            return
        accepted = [t for t in invites if 200 <= t.status < 300]
        if not accepted:
            yield f"ACK of a {invites[-1].status} without the branch of its INVITE"
            return
        mine = [t for t in accepted if t.request.cseq[0] == ack.cseq[0]]
        if not mine:
            yield f"CSeq {ack.cseq[0]}, but the INVITE accepted has CSeq {accepted[-1].request.cseq[0]}"
        response = (mine or accepted)[-1].response
        if response and ack.to_tag != response.to_tag:
            yield "To tag is not that of the 2xx"
        yield from _relayed(ack)

    def _cancel(self, cancel: Message) -> Iterator[str]:
        transaction = self._transactions.get(cancel.branch)
        if transaction is None or transaction.request.method != "INVITE":
            yield "CANCEL with the branch of no INVITE"
            return
        yield from _hop_by_hop(cancel, transaction.request)
        if cancel.first("To") != transaction.request.first("To"):
            yield "To is not that of the INVITE"
        if transaction.status == 0:
            yield "CANCEL before any provisional response"


class ResponseRules:
    """Rules 10 to 14: the responses that this end receives to the requests that it sent."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._requests: dict[tuple[str, str], Message] = {}
        self._final: dict[tuple[str, str], Message] = {}
        self._early: dict[tuple[str, str], str] = {}

    def sent(self, request: Message) -> None:
        self._requests[request.branch, request.method] = request

    def received(self, response: Message) -> None:
        self.faults += [f"{response}: {fault}" for fault in self._response(response)]

    def _response(self, response: Message) -> Iterator[str]:
        key = response.branch, response.method
        request = self._requests.get(key)
        if request is None:
            yield "answers no request of ours"
            return
        if len(response.vias) != 1:
            yield f"{len(response.vias)} Via, there should be one"
        for name in ("Call-ID", "From", "CSeq"):
            if response.first(name) != request.first(name):
                yield f"{name} is not that of the request, {request.first(name)}"
        yield from _challenging(response)
        yield from self._tag(key, request, response)
        yield from self._only_final(key, response)
        if response.method == "INVITE" and 200 <= response.status < 300:
            needed = ("Contact",) if request.to_tag else ("Contact", "Record-Route")
            yield from (f"no {name}" for name in needed if not response.has(name))

    def _tag(self, key: tuple[str, str], request: Message, response: Message) -> Iterator[str]:
        if response.status <= 100:
            return
        if not response.to_tag:
            yield "no To tag"
        if request.to_tag and response.to_tag != request.to_tag:
            yield "To tag is not that of the dialog"
        if response.status < 300 and self._early.setdefault(key, response.to_tag) != response.to_tag:
            yield "To tag changed since the early dialog"

    def _only_final(self, key: tuple[str, str], response: Message) -> Iterator[str]:
        final = self._final.get(key)
        if response.status >= 200:
            self._final.setdefault(key, response)
            if final and (final.status, final.to_tag) != (response.status, response.to_tag):
                yield f"second final response, after {final.status}"


def _same_sender(one: Message, other: Message) -> bool:
    return (one.call_id, one.from_tag) == (other.call_id, other.from_tag)


def _resend(request: Message, challenged: Message) -> Iterator[str]:
    if request.cseq[0] != challenged.cseq[0] + 1:
        yield f"CSeq {request.cseq[0]} of the resend is not 1 more than {challenged.cseq[0]} that was challenged"
    for name in ("From", "To"):
        if request.first(name) != challenged.first(name):
            yield f"{name} of the resend is not that of the challenged request"
    if request.body != challenged.body:
        yield "body of the resend is not that of the challenged request"


def _hop_by_hop(request: Message, invite: Message) -> Iterator[str]:
    """An ACK or CANCEL that belongs to the INVITE's own transaction."""
    if invite.method != "INVITE":
        yield f"branch of a {invite.method}"
    if request.uri != invite.uri:
        yield f"R-URI {request.uri} is not that of the INVITE, {invite.uri}"
    if request.cseq[0] != invite.cseq[0]:
        yield f"CSeq {request.cseq[0]} is not that of the INVITE, {invite.cseq[0]}"
    if request.vias != invite.vias[:1]:
        yield "Via is not the topmost of the INVITE"
    if request.all("Route") != invite.all("Route"):
        yield "Route is not that of the INVITE"
    for name in ("From", "Call-ID"):
        if request.first(name) != invite.first(name):
            yield f"{name} is not that of the INVITE"


def _relayed(request: Message) -> Iterator[str]:
    if not request.first("Max-Forwards").isdigit():
        yield "no Max-Forwards"
    own = request.method in FROM_PROXY or (request.cseq == KEEPALIVE and bool(request.to_tag)) or is_probe(request)
    if len(request.vias) != (1 if own else 2):
        yield f"{len(request.vias)} Via"
    if own:
        return
    if request.first("Max-Forwards") != str(SENT_MAX_FORWARDS - 1):
        yield f"Max-Forwards {request.first('Max-Forwards')}, {SENT_MAX_FORWARDS} was sent"
    if request.method == "INVITE" and not request.to_tag and not request.has("Record-Route"):
        yield "no Record-Route"
    if request.has("Route"):
        yield "a Route is left over"


def _private(request: Message) -> Iterator[str]:
    yield from (f"{name} reached this end" for name in PRIVATE if request.has(name))
    yield from (f"{name} in a request" for name in CHALLENGES if request.has(name))


def _tags(request: Message) -> Iterator[str]:
    yield from (f"more than one tag in {name}" for name in ("From", "To") if request.first(name).count(";tag=") > 1)


def _credentials(request: Message, realms: Collection[str]) -> Iterator[str]:
    for header in CREDENTIALS:
        named: list[str] = []
        for value in request.all(header):
            try:
                named.append(auth_params(value).get("realm", ""))
            except MalformedError as error:
                yield f"{header}: {error}"
        yield from (f"{header} for realm {realm!r}, which is not ours" for realm in named if realm not in realms)
        yield from (f"more than one {header} for realm {r!r}" for r in sorted(set(named)) if named.count(r) > 1)


def _challenging(response: Message) -> Iterator[str]:
    if response.status in CHALLENGED:
        yield "a challenge reached this end"
    yield from (f"{name} reached this end" for name in (*CHALLENGES, *PRIVATE, *CREDENTIALS) if response.has(name))
