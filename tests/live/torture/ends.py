"""The ends of torture: sockets that send and take octets as they are, because nothing here would pass a parser."""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.harness.endpoint import Address

COPIED = re.compile(rb"(?im)^(?:via|v|from|f|to|t|call-id|i|cseq)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
ANSWERED_WITHIN = 3.0  # seconds


def reply_to(request: bytes, status: int) -> bytes:
    """Return a reply with the fields that RFC 3261 8.2.6.2 has copied, as they are."""
    return b"SIP/2.0 %d Torture\r\n%sContent-Length: 0\r\n\r\n" % (status, b"".join(COPIED.findall(request)))


class Sink:
    """A carrier that answers every request but ACK; `answer` returns the octets of its reply, or none."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address: Address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self.address)  # wakes it up
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while octets := (received := self._socket.recvfrom(65535))[0]:
            if octets.startswith((b"ACK ", b"SIP/2.0 ")):
                continue
            if reply := self._answer(octets):
                self._socket.sendto(reply, received[1])


class Source:
    """Sends octets to Kamailio from an address, and tells the status of the answer."""

    def __init__(self, kamailio: Address, host: str) -> None:
        self._kamailio = kamailio
        self._socket, self._pbx = _bound(host), _bound("127.0.0.1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._pbx.close()

    def statuses(self, octets: bytes, expected: int) -> set[int]:
        """Return the final statuses of the answers. One worker reads Kamailio's socket, so a PBX's OPTIONS that is sent
        behind is answered behind; an answer that is expected is waited for as well.
        """
        me = _name(self._socket)
        self._socket.sendto(octets.replace(b"{me}", me).replace(b"{port}", me.split(b":")[1]), self._kamailio)
        self._pbx.sendto(self._ping(), self._kamailio)
        assert self._pbx.recv(65535).startswith(b"SIP/2.0 200 "), "no 200 to OPTIONS any more"
        found: set[int] = set()
        while True:
            self._socket.settimeout(ANSWERED_WITHIN if expected and not found else 0.0)
            try:
                reply = self._socket.recv(65535)
            except (TimeoutError, BlockingIOError):
                return found
            status = int(reply.split(b" ", 2)[1]) if reply.startswith(b"SIP/2.0 ") else -1
            if status >= 200:
                found.add(status)
                self._acknowledge(reply)

    def _ping(self) -> bytes:
        host, port = self._kamailio
        token = secrets.token_hex(8).encode()
        fields = b"Via: SIP/2.0/UDP %b;rport;branch=z9hG4bK%b\r\nFrom: <sip:p@h>;tag=%b\r\nTo: <sip:k@h>\r\n"
        fields += b"Call-ID: %b\r\n"
        start = f"OPTIONS sip:{host}:{port} SIP/2.0\r\nMax-Forwards: 70\r\nCSeq: 1 OPTIONS\r\n".encode()
        return start + fields % (_name(self._pbx), token, token, token) + b"Content-Length: 0\r\n\r\n"

    def _acknowledge(self, reply: bytes) -> None:
        """ACK a failed INVITE, so that it is not repeated."""
        if re.search(rb"(?im)^cseq[ \t]*:[^\n]*INVITE", reply):
            copied = re.sub(rb"(?im)(^cseq[ \t]*:[^\n]*)INVITE", rb"\1ACK", b"".join(COPIED.findall(reply)))
            start = b"ACK sip:user@example.com SIP/2.0\r\nMax-Forwards: 70\r\n"
            self._socket.sendto(start + copied + b"Content-Length: 0\r\n\r\n", self._kamailio)


def _bound(host: str) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((host, 0))
    bound.settimeout(ANSWERED_WITHIN)
    return bound


def _name(bound: socket.socket) -> bytes:
    host, port = bound.getsockname()
    return f"{host}:{port}".encode()
