"""What a caller, a carrier and a stranger send: new requests, requests inside a dialog, replies. None is broken yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from tests.live.uac_auth.fields import fields as challenges
from tests.live.wire.grammar import BODIES, REASONS, TARGETS, VALUES, mutated
from tests.live.wire.messages import Fields, Message

METHODS = (
    *[b"INVITE"] * 8, *[b"MESSAGE"] * 3, *[b"SUBSCRIBE"] * 2, b"OPTIONS", b"REGISTER", b"PUBLISH", b"REFER", b"ACK",
    b"BYE", b"PRACK", b"UPDATE", b"INFO", b"NOTIFY", b"CANCEL", b"ODD!", b"M\0X", b"M\xc3\xa9",
)  # fmt: skip
INSIDE = (
    b"BYE", b"BYE", b"INFO", b"UPDATE", b"PRACK", b"PRACK", b"NOTIFY", b"REFER", b"SUBSCRIBE", b"INVITE", b"INVITE",
    b"ACK", b"X",
)  # fmt: skip
STATUSES = (
    *[200] * 8, *[401] * 4, *[407] * 8, 100, 180, 180, 183, 202, 299, 302, 403, 403, 404, 408, 422, 480, 481, 486, 500,
    503,
    503, 603, 699,
)  # fmt: skip
ROWS = (b"fuzz", b"kept", b"domain", b"dialled")
DARING = tuple(uri for uri in TARGETS if b"{victim}" in uri)  # to dial over a row without a next hop
TRUNKS = (b"fuzz", b"kept", b"domain", b"domain", b"dialled", b"kept, fuzz", b"dialled, kept")
COPIED = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
FULL = {b"v": b"Via", b"f": b"From", b"t": b"To", b"i": b"Call-ID", b"m": b"Contact", b"l": b"Content-Length"}

_HEAD = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n(?![ \t])")
_NAME = re.compile(rb"([^:\s]+)[ \t]*:[ \t]*(.*)", re.DOTALL)
_KNOWN = {name.lower(): name for name in (*COPIED, *VALUES, b"Record-Route", b"Contact")}


class Call(NamedTuple):
    """What one end knows of a dialog. mine, theirs: From and To of its requests. routes: in their order."""

    call_id: bytes
    mine: bytes
    theirs: bytes
    target: bytes
    routes: tuple[bytes, ...]


def read(octets: bytes) -> tuple[bytes, Fields]:
    """Return the first line of a message, and its fields by their full names, folds kept."""
    start, *lines = _LINE.split(_HEAD.split(octets, maxsplit=1)[0])
    found: Fields = []
    for line in lines:
        if named := _NAME.match(line):
            name = FULL.get(named[1].lower(), named[1])
            found.append((_KNOWN.get(name.lower(), name), named[2]))
    return start, found


def first(fields: Fields, name: bytes) -> bytes:
    """Return the first field of this name, empty if there is none."""
    return next((value for each, value in fields if each == name), b"")


def all_of(fields: Fields, name: bytes) -> list[bytes]:
    return [value for each, value in fields if each == name]


class Party:
    """Makes the messages of all ends. kamailio, carrier: host and port."""

    def __init__(self, random: Random, kamailio: bytes, carrier: bytes) -> None:
        self._random = random
        self._kamailio, self._carrier = kamailio, carrier
        self._challenges: Iterator[str] = challenges(random.randrange(2**31))
        self._number = 0

    def next_id(self) -> bytes:
        self._number += 1
        return b"%d" % self._number

    def new_request(self) -> Message:
        """Return a request outside a dialog."""
        random, number = self._random, self.next_id()
        method = random.choice(METHODS)
        target = b"sip:5551234@" + self._kamailio if random.random() < 0.7 else self._placed(random.choice(TARGETS))
        trunk = random.choice(TRUNKS) if random.random() < 0.3 else b""
        if trunk.startswith((b"dialled", b"domain")):
            target = (
                b"sip:5551234@" + self._carrier if random.random() < 0.5 else mutated(random, random.choice(DARING))
            )
        fields = [
            *self._head(number, method, b"<sip:pbx@{host}>;tag=" + number, b"<sip:5551234@{host}>", b"c" + number, 1),
            (b"Contact", b"<sip:pbx@{host}>"),
            *([(b"X-Trunk", trunk)] if trunk else []),
        ]
        return Message(
            b"%b %b SIP/2.0" % (method, target), fields, random.choice(BODIES) if method == b"INVITE" else b""
        )

    def inbound(self) -> Message:
        """Return a carrier's request outside a dialog."""
        random, number = self._random, self.next_id()
        method = random.choice(METHODS)
        user = random.choice((*ROWS, b"5551234", b"5551234", b"%35551234", b"u;line=fuzz"))
        target = b"sip:%b@%b%b" % (user, self._kamailio, random.choice((b"", b"", b";line=kept")))
        fields = [
            *self._head(number, method, b"<sip:far@{host}>;tag=" + number, b"<sip:5551234@{host}>", b"i" + number, 1),
            (b"Contact", b"<sip:far@{host}>"),
        ]
        if random.random() < 0.3:
            fields.append((b"P-Called-Party-ID", random.choice(VALUES[b"P-Called-Party-ID"])))
        return Message(
            b"%b %b SIP/2.0" % (method, target), fields, random.choice(BODIES) if method == b"INVITE" else b""
        )

    def _head(self, branch: bytes, method: bytes, sender: bytes, receiver: bytes, call_id: bytes, cseq: int) -> Fields:
        return [
            (b"Via", b"SIP/2.0/UDP {host};rport;branch=z9hG4bK-" + branch),
            (b"Max-Forwards", b"70"),
            (b"From", sender),
            (b"To", receiver),
            (b"Call-ID", call_id),
            (b"CSeq", b"%d %b" % (cseq, method)),
        ]

    def _placed(self, target: bytes) -> bytes:
        return target.replace(b"{host}", self._random.choice((self._kamailio, self._carrier)))

    def inside(self, call: Call, method: bytes = b"") -> Message:
        """Return a request of a dialog."""
        random, number = self._random, self.next_id()
        method = method or random.choice(INSIDE)
        cseq = 1 if method == b"ACK" else random.choice((2, 2, int(number), 2**31 - 1))
        fields = [
            *self._head(number, method, call.mine, call.theirs, call.call_id, cseq),
            *[(b"Route", one) for one in call.routes],
            (b"Contact", b"<sip:x@{host}>"),
        ]
        if method == b"PRACK":
            fields.append((b"RAck", random.choice((b"1 1 INVITE", b"1 2 INVITE", *VALUES[b"RAck"]))))
        return Message(b"%b %b SIP/2.0" % (method, call.target), fields)

    def cancel(self, invite: bytes) -> Message:
        """Return the CANCEL of an INVITE."""
        start, fields = read(invite)
        kept = [one for one in fields if one[0] in COPIED or one[0] in (b"Max-Forwards", b"Route")]
        cseq = [(name, value.replace(b"INVITE", b"CANCEL") if name == b"CSeq" else value) for name, value in kept]
        return Message(start.replace(b"INVITE", b"CANCEL", 1), cseq)

    def acknowledgement(self, reply: bytes, start: bytes = b"ACK sip:5551234@h SIP/2.0") -> Message:
        """Return the ACK of a failure."""
        _, fields = read(reply)
        kept = [
            (name, value.replace(b"INVITE", b"ACK") if name == b"CSeq" else value)
            for name, value in fields
            if name in COPIED
        ]
        return Message(start, [*kept, (b"Max-Forwards", b"70")])

    def reply(self, request: bytes, status: int = 0) -> Message:
        """Return a reply to a request, of this status or of any."""
        random = self._random
        start, fields = read(request)
        status = status or random.choice(STATUSES)
        reason = random.choice(REASONS) if random.random() < 0.2 else b"Fuzz"
        copied = [one for one in fields if one[0] in COPIED]
        if status > 100 and b"tag=" not in first(copied, b"To"):
            copied = [(name, value + b";tag=b" + self.next_id() if name == b"To" else value) for name, value in copied]
        routes = [(b"Record-Route", value) for value in all_of(fields, b"Record-Route")]
        more: Fields = [(b"Contact", b"<sip:carrier@{host}>")] if status < 400 else []
        if status in (401, 407):
            more += [(self._asking(status), self._challenge()) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        if status in (180, 183) and start.startswith(b"INVITE") and random.random() < 0.3:
            more += [(b"Require", b"100rel"), (b"RSeq", b"1")]
        if status == 200 and random.random() < 0.2:
            more.append((b"Authentication-Info", random.choice(VALUES[b"Authentication-Info"])))
        if status in (403, 503) and random.random() < 0.3:
            more.append((b"Retry-After", random.choice(VALUES[b"Retry-After"])))
        return Message(b"SIP/2.0 %d %b" % (status, reason), [*copied, *routes, *more])

    def _asking(self, status: int) -> bytes:
        names = (b"WWW-Authenticate", b"Proxy-Authenticate")
        return self._random.choice(names) if self._random.random() < 0.2 else names[status == 407]

    def _challenge(self) -> bytes:
        if self._random.random() < 0.5:
            return b'Digest realm="fuzz", nonce="%b", qop="auth"' % self.next_id()
        return next(self._challenges).encode(errors="surrogateescape")


def of_callee(request: bytes, reply: Message) -> Call:
    """Return the dialog of an INVITE as its callee knows it."""
    _, fields = read(request)
    contact = first(fields, b"Contact").strip(b"<>") or b"sip:pbx@h"
    routes = tuple(all_of(fields, b"Record-Route"))
    return Call(first(fields, b"Call-ID"), first(reply.fields, b"To"), first(fields, b"From"), contact, routes)


def of_caller(reply: bytes) -> Call:
    """Return the dialog of an INVITE as its caller knows it."""
    _, fields = read(reply)
    contact = first(fields, b"Contact").partition(b">")[0].lstrip(b"<") or b"sip:carrier@h"
    routes = tuple(reversed(all_of(fields, b"Record-Route")))
    return Call(first(fields, b"Call-ID"), first(fields, b"From"), first(fields, b"To"), contact, routes)
