"""One request on its way through Kamailio: the message, its transaction, its dialog, and what went out.

Only what was seen on a running Kamailio (`probe.py` asks the same questions of a live one). Nothing here checks calls
or knows KEMI's functions by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

from tests.ksr.message import Edits, Header, Message, Uri, parse_uri

if TYPE_CHECKING:
    from tests.ksr.htable import SharedTables


class MisuseError(AssertionError):
    """A call that Kamailio would carry out or pass over in silence, and that no routing script of ours may make."""


class Route(Enum):
    """The kinds of route that a handler can run in."""

    REQUEST = "request"
    BRANCH = "branch"
    FAILURE = "failure"
    REPLY = "reply"


_KEEP_SENT = 1


@dataclass(frozen=True)
class Relayed:
    """A request that left: the message as it is on the wire, less the Via of this proxy, and where it was sent."""

    message: Message
    ruri: str
    dst_uri: str | None
    socket: str | None
    connection: int = 0  # the number of the one that it has to leave by; 0: any

    @property
    def next_hop(self) -> str:
        """The URI that decides the destination."""
        return self.dst_uri or self.ruri


@dataclass(frozen=True)
class Reply:
    """A reply to the caller; passed_on: it is the carrier's own."""

    code: int
    reason: str
    passed_on: bool = False
    headers: tuple[str, ...] = field(default=(), compare=False)  # those that append_to_reply added
    cseq: str = field(default="", compare=False)


@dataclass
class World:
    """What the request meets, for a test to say. Every default is a refusal."""

    sockets: tuple[str, ...] = ("udp:192.0.2.1:5060",)  # ours; the first one received the request
    trusted: dict[int, list[IPv4Network | IPv6Network]] = field(default_factory=dict)  # address table: group -> sources
    sane: bool = False  # what sanity_check finds, besides a body that is not as long as Content-Length says
    transaction_known: int = -1  # t_check_trans: -1 new; 0 a retransmission, dealt with; 1 belongs to a transaction
    loose_route: int = -1  # 1: the top Route is ours, or leads on (then `route_leads_to`); -3: so, without a To tag
    route_leads_to: str | None = None
    dialog: dict[str, str] | None = None  # variables of the dialog that the request belongs to; None: unknown dialog
    cancelled: bool = False  # the caller has sent CANCEL
    carrier: str = "203.0.113.5"  # where replies come from
    carrier_port: int = 5060
    transport: str = "udp"  # that messages come by
    rpc_code: int = 0  # the status of the last RPC command's answer; 0: there was none
    rpc_body: str = ""  # and its text
    unreachable: set[str] = field(default_factory=set)  # next hops that cannot be sent to
    peer: str = ""  # what tls.cfg's TLS_PEER writes of the connection of a reply
    connections: set[int] = field(default_factory=set)  # numbers of those that are up
    uac_answers: bool = False  # uac_auth() answers what the real one can answer


@dataclass
class Run:
    """One run of a handler: what it changes is gone when it ends, unless it relays."""

    route: Route
    edits: Edits
    ruri: bytes
    dst_uri: str | None = None
    socket: str | None = None
    new_branch: bool = False  # the R-URI or next hop was set, so there is something to relay
    could_not_send: bool = False


@dataclass
class State:
    """The request, its transaction, and everything that was sent on its account."""

    version: str
    world: World
    tables: SharedTables
    request: Message
    source: tuple[str, int]
    run: Run
    reply: Message | None = None  # the carrier's, in a failure or reply route
    reply_edits: Edits = field(default_factory=Edits)  # of the reply route, for the caller alone
    reply_code: int = 0
    reply_reason: str = ""
    local_reply: bool = False
    has_transaction: bool = False
    replies_itself: bool = True  # if the request cannot be sent
    relayed_run: Run | None = None  # what the request route left behind when it relayed: where failure routes start
    branch_uri: bytes = b""  # R-URI of the last branch
    relayed_in_run: bool = False
    final_reply_sent: bool = False
    dialog: dict[str, str] | None = None
    early_dialog: dict[str, str] = field(default_factory=dict)  # $dlg_var set where there is no dialog yet
    avps: dict[str, list[str | int]] = field(default_factory=dict)
    script_variables: dict[str, str | int] = field(default_factory=dict)  # $var
    flags: set[int] = field(default_factory=set)
    connection: int = 0
    keepalive: str = ""  # who is asked if the call is still up
    reply_headers: list[str] = field(default_factory=list)
    armed: dict[Route, str] = field(default_factory=dict)
    reply_route: str | None = None  # of the last branch: armed when it left
    handlers: Callable[[str], None] | None = None
    relayed: list[Relayed] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    # --- where the request goes

    def uri(self) -> Uri | None:
        """The R-URI as it stands; None where it cannot be parsed."""
        return parse_uri(self.run.ruri)

    def source_uri(self) -> Uri | None:
        """Where the request came from."""
        host, port = self.source
        return parse_uri(f"sip:[{host}]:{port}".encode() if ":" in host else f"sip:{host}:{port}".encode())

    def set_uri(self, uri: bytes) -> None:
        """A new R-URI makes a new branch."""
        self.run.ruri = uri
        self.run.new_branch = True

    def set_dst_uri(self, uri: str) -> None:
        """The next hop; empty: the R-URI decides again."""
        self.run.dst_uri = uri or None
        self.run.new_branch = self.run.new_branch or bool(uri)

    def listens_on(self, sip_socket: str) -> bool:
        """Whether this is one of our sockets."""
        return sip_socket in self.world.sockets

    def is_own(self, uri: Uri | None) -> bool:
        """Whether the URI is one of our sockets. Without a port it is any of that address, 5060 or not."""
        if uri is None:
            return False
        transport = re.search(rb";transport=(\w+)", uri.rest, re.I)
        for own in self.world.sockets:
            proto, address_and_port = own.split(":", 1)
            host, port = address_and_port.rsplit(":", 1)
            same_port = uri.port.decode() in {"", port}
            same_proto = transport is None or transport[1].decode().lower() == proto
            if uri.host.decode().lower() == host and same_port and same_proto:
                return True
        return False

    def is_trusted(self, group: int, address: str = "") -> bool:
        """Whether the address, or the source, is in this group of the address table."""
        return any(ip_address(address or self.source[0]) in network for network in self.world.trusted.get(group, ()))

    # --- what goes out

    @property
    def message(self) -> Message:
        """What a script reads: in a reply route the reply, everywhere else the request as it came in."""
        return self.reply if self.run.route is Route.REPLY and self.reply is not None else self.request

    def relay(self) -> int:
        """t_relay: the request leaves with the edits of this run applied."""
        if self.relayed_in_run:
            raise MisuseError("t_relay after t_relay: Kamailio answers -1, and 6.1 then never enters the failure route")
        if self.run.could_not_send and self.replies_itself:
            raise MisuseError("t_relay after one that could not send: 6.1 answers 477 all the same, if it may reply")
        if self.final_reply_sent:
            raise MisuseError(
                "t_relay after a final reply: Kamailio starts a new branch, and the caller hears two finals"
            )
        branch_route = self.armed.pop(Route.BRANCH, None)  # for this relay alone, whatever becomes of it
        in_failure_route = self.run.route is Route.FAILURE
        if in_failure_route and not self.run.new_branch:
            return -1  # "no branches for forwarding"
        uri = self.uri()
        if uri is None:
            return -400
        self.has_transaction = True
        target = self.run.dst_uri or self.run.ruri.decode("utf-8", "replace")
        not_sent = -1 if in_failure_route else -478
        self.run.could_not_send = not in_failure_route
        if parse_uri(target.encode()) is None:
            return not_sent
        edits = self._run_branch_route(branch_route)
        if target in self.world.unreachable:
            return not_sent
        self.run.could_not_send = False
        self._send(edits)
        return 1

    def _send(self, branch_edits: Edits) -> None:
        method = self.request.start_line.split(b" ")[0]
        message = branch_edits.apply(self.request, b"%s %s SIP/2.0" % (method, self.run.ruri))
        ruri = self.run.ruri.decode("utf-8", "backslashreplace")
        self.relayed.append(Relayed(message, ruri, self.run.dst_uri, self.run.socket, self.connection))
        if _KEEP_SENT in self.flags:  # the onsend_route of kamailio.cfg, and of probe.cfg
            self.avps["sent"] = [bytes(message).decode(errors="surrogateescape")]
        self.branch_uri = self.run.ruri
        self.reply_route = self.armed.get(Route.REPLY)
        self.relayed_in_run = True
        if self.run.route is Route.REQUEST:
            self.relayed_run = self.run
            self.reply_code = 100

    def _run_branch_route(self, name: str | None) -> Edits:
        """The edits of the branch: those so far, and those of its route, which nothing that follows has."""
        branch_edits = self.run.edits.copy()
        if name is None:
            return branch_edits
        if self.handlers is None:
            raise MisuseError(f"branch route {name} is armed, and the test gave MockKSR no handlers to run it")
        run = self.run
        self.run = Run(Route.BRANCH, branch_edits, run.ruri, run.dst_uri, run.socket)
        try:
            self.handlers(name)
        finally:
            self.run = run
        return branch_edits

    def answer(self, code: int, reason: str) -> int:
        """A reply of ours to the caller, final or not."""
        if self.request.method == b"ACK":
            return -1
        if code >= 200:
            if self.final_reply_sent:
                raise MisuseError(f"second final reply: {code} {reason} after {self.replies[-1]}")
            self.final_reply_sent = True
        cseq = self.request.value("CSeq").decode()
        self.replies.append(Reply(code, reason, headers=tuple(self.reply_headers), cseq=cseq))
        return 1

    def pass_on(self) -> None:
        """The carrier's reply goes to the caller, with what the reply route changed in it."""
        cseq = self.request.value("CSeq").decode()
        if self.reply is not None:
            cseq = self.reply_edits.apply(self.reply, self.reply.start_line).get("CSeq") or ""
        self.replies.append(Reply(self.reply_code, self.reply_reason, passed_on=True, cseq=cseq))

    # --- the dialog

    @property
    def known_dialog(self) -> dict[str, str] | None:
        """The variables of the dialog that the request starts or belongs to."""
        return self.world.dialog if self.dialog is None else self.dialog

    def dialog_variables(self) -> dict[str, str]:
        """Where $dlg_var lives: in the dialog, or until there is one, beside it."""
        dialog = self.known_dialog
        return self.early_dialog if dialog is None else dialog

    def start_dialog(self) -> bool:
        """dlg_manage: follow the dialog of an INVITE. False: it is no dialog, or it is followed already."""
        if self.world.dialog is not None:
            return True
        if self.dialog is not None or self.request.method != b"INVITE":
            return False
        self.dialog = self.early_dialog
        return True


def with_value(message: Message, name: bytes, value: bytes) -> Message:
    """The message with another value in every field of this name."""
    headers = tuple(
        Header(h.name, value, b"%s: %s\r\n" % (h.name, value)) if h.is_called(name) else h for h in message.headers
    )
    return Message(message.start_line, headers, message.body)
