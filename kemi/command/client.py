"""A small SIP client: one peer, one socket, one request at a time (RFC 3261 17.1). It is for questions that an operator
asks, not for calls of others.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Self

from kemi.address import literal
from kemi.command.ladder import Message
from kemi.command.message import Reply, Request
from kemi.trunks.hops import Hop

T1, T2 = 0.5, 4.0  # seconds (RFC 3261 17.1.1.1)
CONNECT_LIMIT = 4.0
RING_LIMIT = 30.0  # from one provisional reply to an INVITE to its next reply
LONGEST = 65535

_LENGTH = re.compile(rb"\r\n(?:Content-Length|l)[ \t]*:[ \t]*([0-9]{1,6})", re.IGNORECASE)


class Client:
    """trace: every message so far, for a ladder. peer, address: the two ends, as host:port."""

    def __init__(
        self, hop: Hop, source: str = "", context: ssl.SSLContext | None = None, server_name: str = ""
    ) -> None:
        """source: the address to send from, empty for whichever leads there. context, server_name: of a hop by TLS.
        Raises OSError.
        """
        self.transport = hop.transport
        self.trace: list[Message] = []
        self._unread = b""
        self._repeated: Request | None = None
        family = socket.AF_INET6 if ":" in hop.address else socket.AF_INET
        kind = socket.SOCK_DGRAM if hop.transport == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(family, kind)
        try:
            self._socket.settimeout(CONNECT_LIMIT)
            if source:
                self._socket.bind((source.strip("[]"), 0))
            self._socket.connect((hop.address, hop.port))
            if context:
                self._socket = context.wrap_socket(self._socket, server_hostname=server_name or None)
        except OSError:
            self._socket.close()
            raise
        self.peer, self.address = _name(hop.address, hop.port), _name(*self._socket.getsockname()[:2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, request: Request) -> None:
        """Send a request that has no replies, or whose replies do not matter. Raises OSError."""
        octets = request.encode(self.transport, self.address)
        self._note(self.address, self.peer, octets)
        self._socket.sendall(octets)

    def cancel(self, invite: Request) -> None:
        """Cancel an INVITE whose replies are being read: the CANCEL is repeated until it is answered."""
        self._repeated = invite.cancel()
        self.send(self._repeated)

    def replies(self, request: Request, seconds: float) -> Iterator[Reply]:
        """Send a request and yield its replies, the final one last; end without one after so many seconds in which none
        came, or RING_LIMIT for an INVITE that is under way. The ACK of a failure is sent. Raises OSError.
        """
        self._repeated = request
        self.send(request)
        until, pause = time.monotonic() + seconds, T1
        repeat = time.monotonic() + pause
        while (now := time.monotonic()) < until:
            octets = self._read(min(until, repeat) - now)
            if octets is None:
                if time.monotonic() >= repeat:
                    self._repeat()
                    pause = min(2 * pause, T2)
                    repeat = time.monotonic() + pause
                continue
            reply = Reply.parse(octets)
            if reply is None:
                continue
            if self._repeated and self._repeated is not request and reply.answers(self._repeated):
                self._repeated = None
            if not reply.answers(request):
                continue
            if request.method == "INVITE":
                self._follow(request, reply)
                seconds = RING_LIMIT
                pause, repeat = T1, time.monotonic() + T1
            until = time.monotonic() + seconds
            yield reply
            if reply.status >= 200:
                return

    def _follow(self, invite: Request, reply: Reply) -> None:
        """Stop repeating an INVITE that is answered, and send the ACK of a failure."""
        if self._repeated is invite:
            self._repeated = None
        if reply.status >= 300:
            self.send(invite.ack(reply))

    def _repeat(self) -> None:
        if self._repeated and self.transport == "udp":
            self.send(self._repeated)

    def _read(self, seconds: float) -> bytes | None:
        """Return the next message; None if none has come in time."""
        deadline = time.monotonic() + seconds
        while (octets := self._whole()) is None:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                received = self._socket.recv(LONGEST)
            except TimeoutError:
                return None
            if not received and self.transport != "udp":
                raise ConnectionResetError("the connection was closed")
            self._unread += received
        self._note(self.peer, self.address, octets)
        return octets

    def _whole(self) -> bytes | None:
        """Take a whole message from what was received; a datagram is one."""
        self._unread = self._unread.lstrip(b"\r\n\0")  # keepalives
        head, end, rest = self._unread.partition(b"\r\n\r\n")
        if not end:
            if self.transport == "udp":
                self._unread = b""
            return None
        length = _LENGTH.search(head)
        size = len(rest) if self.transport == "udp" else int(length[1]) if length else 0
        if len(rest) < size:
            return None
        self._unread = rest[size:]
        return head + end + rest[:size]

    def _note(self, source: str, destination: str, octets: bytes) -> None:
        text = octets.decode(errors="replace")
        self.trace.append(Message.of(time.time_ns() // 1000, source, destination, text))


def _name(host: str, port: int) -> str:
    return f"{literal(host) or host}:{port}"
