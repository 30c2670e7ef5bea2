"""The SIP messages of a small client: requests as text, replies as facts (RFC 3261 7 and 8.1)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

from kemi import VERSION
from kemi.command.ladder import printable

Headers = tuple[tuple[str, str], ...]

_COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length"}
_FOLD = re.compile(r"\n[ \t]+")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9]) ?(.*)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')  # a display name
_ADDRESS = re.compile(r"[^<]*<([^>]*)>|\s*([^\s;,]+)")  # in angle brackets, or bare without parameters
_ROUTE = re.compile(r"<[^>]*>[^,]*")


def new_token() -> str:
    """Return a text that nobody has used or can guess."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Request:
    """A request, but for its Via and Contact, which are the client's. sender, to: the values of From and To."""

    method: str
    uri: str
    sender: str
    to: str
    call_id: str
    cseq: int
    branch: str
    headers: Headers = ()
    body: bytes = b""

    @classmethod
    def new(cls, method: str, uri: str, sender: str, to: str, *, body: bytes = b"") -> Request:
        """Make the first request of a call. sender, to: URIs."""
        token = new_token()
        return cls(method, uri, f"<{sender}>;tag={new_token()}", f"<{to}>", token, 1, new_branch(), (), body)

    def again(self, headers: Headers) -> Request:
        """Return the request as it is sent again with these headers of credentials (RFC 3261 22.2)."""
        kept = tuple(each for each in self.headers if not each[0].endswith("Authorization"))
        return replace(self, cseq=self.cseq + 1, branch=new_branch(), headers=kept + headers)

    def with_header(self, name: str, value: str) -> Request:
        """Return the request with one more header."""
        return replace(self, headers=(*self.headers, (name, value)))

    def cancel(self) -> Request:
        """Return its CANCEL (RFC 3261 9.1)."""
        kept = tuple(each for each in self.headers if each[0] == "Route")
        return replace(self, method="CANCEL", headers=kept, body=b"")

    def ack(self, reply: Reply) -> Request:
        """Return the ACK of a failure (RFC 3261 17.1.1.3)."""
        return replace(self.cancel(), method="ACK", to=reply.first("To"))

    def inside(self, method: str, reply: Reply) -> Request:
        """Return a request in the dialog that the reply has made: an ACK, which has the CSeq of its INVITE, or the next
        (RFC 3261 12.2.1.1, 13.2.2.4).
        """
        contact = _ADDRESS.match(_QUOTED.sub("", reply.first("Contact")))
        recorded = _ROUTE.findall(_QUOTED.sub("", ", ".join(reply.all("Record-Route"))))
        routes = tuple(("Route", route.strip()) for route in reversed(recorded))
        return replace(
            self,
            method=method,
            uri=(contact[1] or contact[2]) if contact else self.uri,
            to=reply.first("To"),
            cseq=self.cseq + (method != "ACK"),
            branch=new_branch(),
            headers=routes,
            body=b"",
        )

    def encode(self, transport: str, address: str) -> bytes:
        """Return the bytes to send. address: the client's own, as a URI has it."""
        contact = f"<sip:kemi-trunkauth@{address};transport={transport}>"
        lines = [
            f"{self.method} {self.uri} SIP/2.0",
            f"Via: SIP/2.0/{transport.upper()} {address};rport;branch={self.branch}",
            "Max-Forwards: 70",
            f"From: {self.sender}",
            f"To: {self.to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} {self.method}",
            f"User-Agent: kemi-trunkauth/{VERSION}",
            *([f"Contact: {contact}"] if self.method == "INVITE" else []),
            *(f"{name}: {value}" for name, value in self.headers),
            *(["Content-Type: application/sdp"] if self.body else []),
            f"Content-Length: {len(self.body)}",
        ]
        head = "\r\n".join([*lines, "", ""])
        return head.encode(errors="surrogateescape") + self.body  # a nonce goes back as it came


@dataclass(frozen=True)
class Reply:
    """A reply. reason: its reason phrase, which may go to a terminal."""

    status: int
    reason: str
    headers: Headers

    @classmethod
    def parse(cls, octets: bytes) -> Reply | None:
        """Read a message; None if it is no reply."""
        head = octets.partition(b"\r\n\r\n")[0].decode(errors="surrogateescape").replace("\r\n", "\n")
        first, *lines = _FOLD.sub(" ", head).split("\n")
        if not (found := _STATUS_LINE.fullmatch(first)):
            return None
        named = (line.partition(":") for line in lines)
        headers = tuple((_name(name), value.strip()) for name, _, value in named)
        return cls(int(found[1]), printable(found[2]), headers)

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of a header."""
        return tuple(value for each, value in self.headers if each == name.lower())

    def first(self, name: str) -> str:
        """Return the first value of a header, empty if there is none."""
        return next(iter(self.all(name)), "")

    def answers(self, request: Request) -> bool:
        """Return True if it is a reply to this request (RFC 3261 17.1.3)."""
        return f"branch={request.branch}" in self.first("Via").replace(" ", "").split(";") and self.first(
            "CSeq"
        ).split() == [str(request.cseq), request.method]

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".strip()


def new_branch() -> str:
    return f"z9hG4bK{new_token()}"


def _name(text: str) -> str:
    name = text.strip().lower()
    return _COMPACT.get(name, name)
