"""The ends of the fuzzed Kamailio: the sockets of a caller, a carrier and strangers, which send what parties.py makes,
broken by messages.py, and keep up what calls there are.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections import Counter, deque
from functools import partial
from random import Random
from typing import Self

from tests.harness.endpoint import Address
from tests.live.wire.messages import Message, broken
from tests.live.wire.parties import Call, Party, first, of_callee, of_caller, read

AT_ONCE = 32  # messages; then an OPTIONS shows that all of them are dealt with
SILENCE = 8.0  # seconds
REMEMBERED = 256
LEFT_WITHOUT_ANSWER = 0.02
PBX, CARRIER = "127.0.0.1", "127.0.0.7"
CARRIER_BUSY = 480
VICTIM = "127.0.0.9"
CREDENTIALS = b'username="u"'  # of the rows


class SilentError(Exception):
    """Kamailio answers no more."""


class End:
    """A caller or a carrier. calls: the last that it knows. answered: the requests that it has answered before."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.socket = _bound(host)
        self.calls: deque[Call] = deque(maxlen=REMEMBERED)
        self.answered: dict[bytes, None] = {}

    @property
    def address(self) -> Address:
        found: Address = self.socket.getsockname()
        return found

    def has_answered(self, request: bytes) -> bool:
        """Return True if this request has come before."""
        if request in self.answered:
            return True
        self.answered[request] = None
        if len(self.answered) > 16 * REMEMBERED:
            del self.answered[next(iter(self.answered))]
        return False


class Ends:
    """counts: messages by who sent them. statuses: final replies to the caller. sent: the last messages. stolen: what
    reached the victim, to whom some of them lead, with credentials.
    """

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.sent: deque[bytes] = deque(maxlen=4 * AT_ONCE)
        self.stolen: list[bytes] = []
        self.caller, self.carrier = End("caller", PBX), End("carrier", CARRIER)
        self._random = Random(seed)
        self._victim, self._asker = _bound(VICTIM), _bound(PBX)
        self._selector = selectors.DefaultSelector()
        for end in (self.caller, self.carrier):
            self._selector.register(end.socket, selectors.EVENT_READ, partial(self._take, end))
        self._selector.register(self._victim, selectors.EVENT_READ, self._take_at_victim)
        self._selector.register(self._asker, selectors.EVENT_READ, self._take_answer)
        self._invites: deque[bytes] = deque(maxlen=REMEMBERED)
        self._requests: deque[bytes] = deque(maxlen=REMEMBERED)  # that came to an end
        self._connections: list[socket.socket] = []
        self._asked, self._heard = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for each in (self.caller.socket, self.carrier.socket, self._victim, self._asker, *self._connections):
            each.close()

    def run(self, kamailio: Address, count: int) -> None:
        """Send so many messages. Raises SilentError."""
        self._kamailio = kamailio
        self._party = Party(self._random, _name(kamailio), _name(self.carrier.address))
        while self.counts.total() < count:
            for _ in range(AT_ONCE):
                self._random.choice(_STEPS)(self)
            self._wait()

    # --- what is sent

    def _send_new(self) -> None:
        octets = self._send(self.caller.name, self.caller.socket, self._party.new_request())
        if octets.startswith(b"INVITE "):
            self._invites.append(octets)

    def _send_new_as_carrier(self) -> None:
        self._send(self.carrier.name, self.carrier.socket, self._party.inbound())

    def _send_new_as_stranger(self) -> None:
        self._send_as_stranger(self._random.choice((self._party.new_request, self._party.inbound))())

    def _send_inside(self) -> None:
        """By who is in the dialog, or by somebody else who knows it."""
        end = self._random.choice((self.caller, self.carrier))
        if not end.calls:
            return
        message = self._party.inside(self._random.choice(end.calls))
        if self._random.random() < 0.2:
            self._send_as_stranger(message)
        else:
            self._send(end.name, end.socket, message)

    def _send_cancel(self) -> None:
        if self._invites:
            self._send(self.caller.name, self.caller.socket, self._party.cancel(self._random.choice(self._invites)))

    def _send_again(self) -> None:
        if self._invites:
            self._raw(self.caller.name, self.caller.socket, self._random.choice(self._invites))

    def _send_stray(self) -> None:
        """A reply to a request that was answered before, by the carrier or a stranger."""
        if not self._requests:
            return
        message = self._party.reply(self._random.choice(self._requests), self._random.choice((200, 200, 180, 503, 0)))
        if self._random.random() < 0.5:
            self._send(self.carrier.name, self.carrier.socket, message)
        else:
            self._send_as_stranger(message)

    def _send_over_tcp(self) -> None:
        connection = socket.socket()
        connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            connection.bind((self._random.choice((PBX, self._stranger())), 0))
            connection.connect(self._kamailio)
            message = broken(self._random, self._party.new_request())
            octets = self._placed(message.octets().replace(b"/UDP {host}", b"/TCP {host}"), connection)
            connection.sendall(octets[: self._random.choice((None, None, len(octets) // 2))])
            self.counts["over TCP"] += 1
            self.sent.append(octets)
        self._connections.append(connection)

    def _send_as_stranger(self, message: Message) -> None:
        with contextlib.closing(_bound(self._stranger())) as stranger:
            self._send("stranger", stranger, message)

    def _stranger(self) -> str:
        return f"127.5.{self._random.randrange(256)}.{self._random.randrange(1, 255)}"

    def _send(self, who: str, by: socket.socket, message: Message) -> bytes:
        """Send the message, broken in some places."""
        return self._raw(who, by, self._placed(broken(self._random, message).octets(), by))

    def _placed(self, octets: bytes, by: socket.socket) -> bytes:
        victim = _name(self._victim.getsockname())
        return octets.replace(b"{host}", _name(by.getsockname())).replace(b"{victim}", victim)

    def _raw(self, who: str, by: socket.socket, octets: bytes) -> bytes:
        self.counts[who] += 1
        self.sent.append(octets)
        with contextlib.suppress(OSError):  # longer than a datagram
            by.sendto(octets, self._kamailio)
        return octets

    # --- what comes

    def _take(self, end: End) -> None:
        octets = end.socket.recv(65535)
        start, fields = read(octets)
        if start.startswith(b"SIP/2.0 "):
            self._go_on(end, octets, int(start[8:11]), is_invite=b"INVITE" in first(fields, b"CSeq"))
        elif not start.startswith(b"ACK ") and self._random.random() > LEFT_WITHOUT_ANSWER:
            self._answer(end, octets, start, first(fields, b"Via") + first(fields, b"CSeq"))

    def _go_on(self, end: End, reply: bytes, status: int, *, is_invite: bool) -> None:
        """Acknowledge the final reply to an INVITE, and remember the call."""
        if status < 200:
            return
        if end is self.caller:
            self.statuses[status] += 1
        if is_invite and status >= 300:
            self._send(end.name, end.socket, self._party.acknowledgement(reply))
        elif is_invite:
            call = of_caller(reply)
            self._send(end.name, end.socket, self._party.inside(call, b"ACK"))
            end.calls.append(call)

    def _answer(self, end: End, request: bytes, start: bytes, branch: bytes) -> None:
        """Answer a request in some way; once it comes again, in one that ends it."""
        if end.has_answered(branch):
            status = 200 if start.startswith(b"BYE ") else CARRIER_BUSY
            self._send(end.name, end.socket, self._party.reply(request, status))
            return
        self._requests.append(request)
        reply = self._party.reply(request)
        if start.startswith(b"INVITE ") and reply.start.startswith(b"SIP/2.0 200"):
            end.calls.append(of_callee(request, reply))
        self._send(end.name, end.socket, reply)
        if reply.start.startswith(b"SIP/2.0 1"):
            self._send(end.name, end.socket, self._party.reply(request))

    def _take_at_victim(self) -> None:
        """Ask for credentials whatever comes."""
        octets = self._victim.recv(65535)
        if CREDENTIALS in octets:
            self.stolen.append(octets)
        if not octets.startswith((b"SIP/2.0 ", b"ACK ")):
            self._send("victim", self._victim, self._party.reply(octets, self._random.choice((401, 407))))

    # --- whether Kamailio goes on

    def _wait(self) -> None:
        """Until all that was sent is dealt with: one worker reads Kamailio's socket."""
        self._asked += 1
        host = _name(self._asker.getsockname())
        asked = Message(
            b"OPTIONS sip:%b SIP/2.0" % _name(self._kamailio),
            [
                (b"Via", b"SIP/2.0/UDP %b;rport;branch=z9hG4bKo%d" % (host, self._asked)),
                (b"From", b"<sip:o@h>;tag=o"),
                (b"To", b"<sip:k@h>"),
                (b"Call-ID", b"o%d" % self._asked),
                (b"CSeq", b"%d OPTIONS" % self._asked),
                (b"Max-Forwards", b"70"),
            ],
        )
        self._asker.sendto(asked.octets(), self._kamailio)
        while self._heard < self._asked:
            ready = self._selector.select(SILENCE)
            if not ready:
                raise SilentError(f"no answer to OPTIONS within {SILENCE:g} s")
            for key, _ in ready:
                key.data()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _take_answer(self) -> None:
        start, fields = read(self._asker.recv(65535))
        if not start.startswith((b"SIP/2.0 200", b"SIP/2.0 503")):
            raise SilentError(f"{start.decode(errors='replace')} to OPTIONS")
        self._heard = max(self._heard, int(first(fields, b"CSeq").split()[0]))


_STEPS = (
    *[Ends._send_new] * 20, *[Ends._send_new_as_carrier] * 6, *[Ends._send_new_as_stranger] * 4,
    *[Ends._send_inside] * 10, *[Ends._send_stray] * 4,
    *[Ends._send_cancel] * 2, Ends._send_again, Ends._send_over_tcp,
)  # fmt: skip


def _bound(host: str) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((host, 0))
    return bound


def _name(address: Address) -> bytes:
    return f"{address[0]}:{address[1]}".encode()
