"""Both ends of the fuzzed Kamailio, in one socket: it sends requests, and challenges each of them again and again.

Every challenge is one field. The request that comes back with a response to it is judged: uac_auth()'s digest has to be
digest.py's, octet for octet, and sippy's, which is neither's own.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from sippy.SipAuthorization import DigestCalcHA1, DigestCalcResponse

from kemi.auth.challenge import parse
from kemi.auth.credentials import Credentials
from kemi.auth.digest import Request
from kemi.auth.plain import is_plain
from tests.harness.endpoint import Address
from tests.live.uac_auth.fields import fields
from tests.live.uac_auth.handlers import PASSWORD, USER

IN_FLIGHT = 24
CHALLENGES = 24  # of one request: Kamailio sends it 30 times at most
SENT_ANYWAY = 0.05  # of the fields that are not plain: they have to be left
SILENCE = 4.0  # seconds
METHOD = "MESSAGE"
TRIMMED = " \t\r\n\0"  # by Kamailio, before anybody reads the field
CREDENTIALS = Credentials("", realm="", username=USER, password=PASSWORD)

_COPIED = ("Via:", "From:", "To:", "Call-ID:", "CSeq:")
_CNONCE = re.compile(r'cnonce="([^"]*)"')
_RESPONSE = re.compile(r'response="([0-9a-f]{32})"')


class SilentError(Exception):
    """Kamailio says nothing any more; the text holds the fields that it was given last."""


@dataclass
class _Request:
    """One request on its way. branch: of its last attempt. field: of the last challenge. reply: that challenge."""

    left: int = CHALLENGES
    branch: str = ""
    field: str = ""
    reply: bytes = b""


@dataclass
class Peer:
    """One end. counts: fields given to uac_auth(), fields left, and fields that Kamailio could not read at all."""

    kamailio: Address
    seed: int
    wanted: int
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(SILENCE)
        self._fields = self._picked()
        self._requests: dict[str, _Request] = {}
        self._started = 0

    def run(self) -> None:
        """Go on until so many fields were given to uac_auth(). Raises SilentError."""
        with self._socket:
            for _ in range(IN_FLIGHT):
                self._start()
            while self.counts["answered"] < self.wanted:
                try:
                    message = self._socket.recv(65535).decode("utf-8", "replace")
                except TimeoutError as error:
                    raise SilentError("\n".join(repr(one.field) for one in self._requests.values())) from error
                self._take(message)

    def _picked(self) -> Iterator[str]:
        random = Random(self.seed)
        return (one for one in fields(self.seed) if is_plain(one) or random.random() < SENT_ANYWAY)

    def _start(self) -> None:
        self._started += 1
        host, port = self._socket.getsockname()
        call_id = f"{self.seed}-{self._started}"
        self._requests[call_id] = _Request()
        lines = (
            f"{METHOD} sip:{self._started}@{host}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{call_id}",
            "Max-Forwards: 70",
            f"From: <sip:fuzz@{host}>;tag=f",
            f"To: <sip:{self._started}@{host}>",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {METHOD}",
            "Content-Length: 0",
        )
        self._socket.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), self.kamailio)

    def _take(self, message: str) -> None:
        first, *lines = message.partition("\r\n\r\n")[0].split("\r\n")
        call_id = next(line for line in lines if line.startswith("Call-ID:"))[9:]
        request = self._requests.get(call_id)
        if request is None:
            return
        if first.startswith(f"{METHOD} "):
            branch = lines[0].partition("branch=")[2]
            if branch != request.branch:
                self._judge(first.split(" ")[1], lines, request)
                self._challenge(branch, lines, request)
            elif request.left > 0:  # it has come again: the challenge could not be read
                self.counts["unreadable"] += 1
                request.left, request.field = 0, ""
                request.reply = _response("200 OK", lines)
            self._socket.sendto(request.reply, self.kamailio)
        elif not first.startswith("SIP/2.0 1"):
            if not first.startswith("SIP/2.0 200"):
                self.faults.append(f"{first} after {request.field!r}")
            del self._requests[call_id]
            self._start()

    def _challenge(self, branch: str, lines: list[str], request: _Request) -> None:
        request.branch = branch
        request.left -= 1
        request.field = next(self._fields) if request.left > 0 else ""
        request.reply = (
            _response("407 Challenge", lines, f"Proxy-Authenticate: {request.field}")
            if request.field
            else _response("200 OK", lines)
        )

    def _judge(self, uri: str, lines: list[str], request: _Request) -> None:
        if not request.field:
            return
        value = next((line for line in lines if line.startswith("Proxy-Authorization: ")), "").partition(": ")[2]
        self.counts["answered" if value else "left"] += 1
        trimmed = request.field.strip(TRIMMED)
        if is_plain(trimmed if value else request.field) != bool(value):
            self.faults.append(f"{'answered' if value else 'left'}: {request.field!r}")
        elif value and value not in _responses(trimmed, uri, value):
            self.faults.append(f"wrong digest: {request.field!r}: {value}")


def _responses(text: str, uri: str, value: str) -> list[str]:
    """Return the response that ours would have been, or none if sippy disagrees with both."""
    [challenge] = parse(text)
    response, cnonce = _RESPONSE.search(value), _CNONCE.search(value)
    qop, nc = ("auth", "00000001") if challenge.qop else (None, None)
    own = cnonce[1] if cnonce else ""
    ha1 = DigestCalcHA1("MD5", USER, challenge.realm, PASSWORD, challenge.nonce, own)
    expected = DigestCalcResponse("MD5", ha1, challenge.nonce, nc, own, qop, METHOD, uri, "")
    if response is None or response[1] != str(expected):
        return []
    return [CREDENTIALS.response(challenge).value(Request(METHOD, uri), 1, own)]


def _response(status: str, lines: list[str], *more: str) -> bytes:
    copied = [line for line in lines if line.startswith(_COPIED)]
    return ("\r\n".join([f"SIP/2.0 {status}", *copied, *more, "Content-Length: 0"]) + "\r\n\r\n").encode()
