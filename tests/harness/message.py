"""A SIP message as the tests see it: bytes in, bytes out (RFC 3261 section 7 and 25).

Strict on purpose: what a carrier's parser may reject is rejected here. It knows no product code and must never repair
what it reads, since a repaired message is a fault that no test can see.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

Header = tuple[str, str]

COMPACT = {
    "v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length",
    "c": "Content-Type", "k": "Supported", "s": "Subject", "e": "Content-Encoding",
}  # fmt: skip
ONCE = ("From", "To", "Call-ID", "CSeq")
AT_MOST_ONCE = ("Max-Forwards", "Content-Length", "Content-Type")
MAGIC_COOKIE = "z9hG4bK"

_REQUEST_LINE = re.compile(r"([A-Z]+) ([^ ]+) SIP/2\.0")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6]\d\d) (.*)")
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_CSEQ = re.compile(r"(\d+)\s+([A-Z]+)")
_AUTH_PARAM = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)')


class MalformedError(ValueError):
    """These bytes are no SIP message."""


@dataclass(frozen=True)
class Message:
    """A request or a response; headers keep their order, their repetitions and their spelling."""

    start: str
    headers: tuple[Header, ...]
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.start}  [CSeq {self.first('CSeq')}]"

    @property
    def is_response(self) -> bool:
        return self.start.startswith("SIP/2.0 ")

    @property
    def method(self) -> str:
        """Of a response: the method that it answers."""
        return self.cseq[1] if self.is_response else self.start.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        """The R-URI of a request."""
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        """The status of a response; 0 for a request."""
        return int(self.start.split(" ", 2)[1]) if self.is_response else 0

    @property
    def reason(self) -> str:
        return self.start.split(" ", 2)[2] if self.is_response else ""

    @property
    def cseq(self) -> tuple[int, str]:
        number, method = self.first("CSeq").split()
        return int(number), method

    @property
    def call_id(self) -> str:
        return self.first("Call-ID")

    @property
    def from_tag(self) -> str:
        return param(self.first("From"), "tag")

    @property
    def to_tag(self) -> str:
        return param(self.first("To"), "tag")

    @property
    def vias(self) -> list[str]:
        return self.listed("Via")

    @property
    def branch(self) -> str:
        """Branch of the topmost Via: with the method, the name of the transaction (RFC 3261 17.2.3)."""
        return param(self.vias[0], "branch")

    def all(self, name: str) -> list[str]:
        """Values of every header of this name, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def first(self, name: str) -> str:
        """Value of the first header of this name; empty when there is none."""
        return next(iter(self.all(name)), "")

    def has(self, name: str) -> bool:
        return bool(self.all(name))

    def listed(self, name: str) -> list[str]:
        """Elements of a header that may be a comma-separated list, over all its rows."""
        return [element for value in self.all(name) for element in _elements(value)]

    def without(self, *names: str) -> Message:
        dropped = {name.lower() for name in names}
        return replace(self, headers=tuple(h for h in self.headers if h[0].lower() not in dropped))

    def with_header(self, name: str, value: str) -> Message:
        """The same message with this header in the place of all of that name."""
        return replace(self.without(name), headers=(*self.without(name).headers, (name, value)))

    def encode(self) -> bytes:
        """Bytes for the wire; Content-Length is counted here unless the message names one."""
        headers = self.headers
        if not self.has("Content-Length"):
            headers = (*headers, ("Content-Length", str(len(self.body))))
        lines = [self.start, *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode(errors="surrogateescape") + self.body


def request(method: str, uri: str, headers: Iterable[Header], body: bytes = b"") -> Message:
    return Message(f"{method} {uri} SIP/2.0", tuple(headers), body)


def response(
    to: Message, status: int, reason: str, tag: str, *, headers: Iterable[Header] = (), body: bytes = b""
) -> Message:
    """Response to a request with the headers that RFC 3261 8.2.6.2 copies, and a To tag where there was none."""
    target = to.first("To")
    if status > 100 and not to.to_tag:
        target += f";tag={tag}"
    copied = [("Via", via) for via in to.vias]
    if 100 < status < 300:
        copied += [("Record-Route", route) for route in to.all("Record-Route")]
    copied += [
        ("From", to.first("From")),
        ("To", target),
        ("Call-ID", to.call_id),
        ("CSeq", to.first("CSeq")),
    ]
    return Message(f"SIP/2.0 {status} {reason}", (*copied, *headers), body)


def parse(octets: bytes) -> Message:
    """The message in these bytes, which must be one whole message and nothing else."""
    head, separator, body = octets.partition(b"\r\n\r\n")
    if not separator:
        raise MalformedError("no empty line after the headers")
    lines = head.decode(errors="surrogateescape").split("\r\n")  # a realm may be in Latin-1
    if any("\n" in line or "\r" in line for line in lines):
        raise MalformedError("a line does not end in CRLF")
    message = Message(lines[0], tuple(_headers(lines[1:])), body)
    _check_start(message)
    _check_headers(message)
    return message


def split_stream(octets: bytes) -> tuple[bytes, bytes]:
    """First whole message of a TCP stream and the rest; the first is empty until all of it is there (RFC 3261 18.3)."""
    octets = octets.lstrip(b"\r\n")
    head, separator, body = octets.partition(b"\r\n\r\n")
    if not separator:
        return b"", octets
    length = re.search(rb"\r\n(?:content-length|l)\s*:\s*(\d+)", head, re.IGNORECASE)
    if length is None:
        raise MalformedError("no Content-Length on a stream")
    if len(body) < int(length[1]):
        return b"", octets
    whole = len(head) + len(separator) + int(length[1])
    return octets[:whole], octets[whole:]


def param(value: str, name: str) -> str:
    """Parameter of a name-addr, a Via or a Contact (those outside the angle brackets); empty when it has none."""
    outside = value.rsplit(">", 1)[-1]
    for part in outside.split(";")[1:]:
        key, _, text = part.partition("=")
        if key.strip().lower() == name:
            return text.strip()
    return ""


def address(value: str) -> str:
    """The URI inside a name-addr or addr-spec."""
    inside = re.search(r"<([^>]*)>", value)
    return inside[1] if inside else value.split(";", 1)[0].strip()


def uri_host_port(uri: str) -> tuple[str, int]:
    """Host and port that a sip: URI names; the port is 5060 when it names none."""
    host = uri.split(":", 1)[1].rsplit("@", maxsplit=1)[-1].split(";", maxsplit=1)[0].split("?", maxsplit=1)[0]
    name, _, port = host.rpartition(":") if host.count(":") == 1 or "]:" in host else (host, "", "")
    return name.strip("[]"), int(port or 5060)


def auth_params(value: str) -> dict[str, str]:
    """Parameters of a Digest challenge or of Digest credentials, by lower-case name (RFC 7616 3.3 and 3.4)."""
    scheme, _, text = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise MalformedError(f"scheme {scheme!r} is not Digest")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _AUTH_PARAM.match(text, at)
        if match is None or match[1].lower() in found:
            raise MalformedError(f"cannot read digest parameters at {text[at : at + 20]!r}")
        found[match[1].lower()] = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()
    return found


def with_content_type(headers: list[Header], body: bytes) -> list[Header]:
    """The headers, and that a body is SDP where they do not say what it is."""
    named = any(name == "Content-Type" for name, _ in headers)
    return [*headers, ("Content-Type", "application/sdp")] if body and not named else headers


def new_branch() -> str:
    return MAGIC_COOKIE + secrets.token_hex(8)


def new_tag() -> str:
    return secrets.token_hex(5)


def _headers(lines: Iterable[str]) -> Iterator[Header]:
    for line in lines:
        if line[:1] in (" ", "\t"):
            raise MalformedError("a folded header: legal once, deprecated, and nothing that is tested here makes one")
        name, colon, value = line.partition(":")
        name = name.rstrip()
        if not colon or not _TOKEN.fullmatch(name):
            raise MalformedError(f"not a header: {line!r}")
        yield COMPACT.get(name.lower(), name), value.strip()


def _check_start(message: Message) -> None:
    if not (_STATUS_LINE.fullmatch(message.start) or _REQUEST_LINE.fullmatch(message.start)):
        raise MalformedError(f"not a start line: {message.start!r}")


def _check_headers(message: Message) -> None:
    for name in ONCE:
        if len(message.all(name)) != 1:
            raise MalformedError(f"{len(message.all(name))} {name} headers")
    for name in AT_MOST_ONCE:
        if len(message.all(name)) > 1:
            raise MalformedError(f"{len(message.all(name))} {name} headers")
    if not message.has("Via") or not message.branch:
        raise MalformedError("no Via, or a Via without branch")
    cseq = _CSEQ.fullmatch(message.first("CSeq"))
    if cseq is None or int(cseq[1]) >= 2**31:
        raise MalformedError(f"CSeq {message.first('CSeq')!r}")
    if not message.is_response and cseq[2] != message.method:
        raise MalformedError(f"CSeq names {cseq[2]} in a {message.method}")
    length = message.first("Content-Length")
    if length and (not length.isdigit() or int(length) != len(message.body)):
        raise MalformedError(f"Content-Length {length}, but the body has {len(message.body)} bytes")
    if message.body and not message.has("Content-Type"):
        raise MalformedError("a body without Content-Type")


def _elements(value: str) -> Iterator[str]:
    """Split at the commas that stand outside quotes and angle brackets."""
    element, quoted, angle = "", False, False
    for character in value:
        quoted ^= character == '"'
        angle = (angle or character == "<") and character != ">"
        if character == "," and not quoted and not angle:
            yield element.strip()
            element = ""
        else:
            element += character
    if element.strip():
        yield element.strip()
