"""A SIP message as Kamailio keeps it: bytes that are never rewritten, and edits that are applied when it is sent.

Kamailio parses the buffer that came in and remembers changes as lumps: what a script reads is the buffer, what leaves
is the buffer with the lumps applied (src/core/data_lump.c). Nothing here knows of transactions, dialogs or scripts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property

# RFC 3261 20, table 2, and RFC 3515, 6665, 3841: the one-letter names.
COMPACT = {
    b"i": b"call-id",
    b"m": b"contact",
    b"e": b"content-encoding",
    b"l": b"content-length",
    b"c": b"content-type",
    b"f": b"from",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"k": b"supported",
    b"t": b"to",
    b"v": b"via",
}

_FIELD = re.compile(rb"([^\s:]+)[ \t]*:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)\r?\n")


@dataclass(frozen=True)
class Header:
    """One header field. Its raw form, line end included, is what goes out again."""

    name: bytes
    value: bytes
    raw: bytes

    def is_called(self, name: bytes) -> bool:
        """Whether this is its name, in any case, long or compact."""
        return _full_name(self.name) == _full_name(name)


def _full_name(name: bytes) -> bytes:
    return COMPACT.get(name.lower(), name.lower())


@dataclass(frozen=True)
class Message:
    """A request or a reply."""

    start_line: bytes
    headers: tuple[Header, ...]
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return b"".join((self.start_line, b"\r\n", *(h.raw for h in self.headers), b"\r\n", self.body))

    def values(self, name: str) -> list[bytes]:
        """The values of every field of this name, in order."""
        wanted = name.encode()
        return [h.value for h in self.headers if h.is_called(wanted)]

    def value(self, name: str) -> bytes:
        """The value of the first field of this name; empty where there is none."""
        return next(iter(self.values(name)), b"")

    def get(self, name: str) -> str | None:
        """For assertions: the first field's value, or None where there is none."""
        return next((v.decode("utf-8", "backslashreplace") for v in self.values(name)), None)

    @property
    def names(self) -> list[str]:
        """For assertions: the names of the fields, in order."""
        return [h.name.decode("utf-8", "backslashreplace") for h in self.headers]

    @cached_property
    def method(self) -> bytes:
        """The method of a request."""
        return self.start_line.split(b" ")[0]

    @cached_property
    def request_uri(self) -> bytes:
        """The R-URI of a request."""
        return self.start_line.split(b" ")[1]


def parse(text: str | bytes) -> Message:
    """A message from its text: lines may end in LF alone, empty line and body may be left out. Raises ValueError."""
    data = text.encode() if isinstance(text, str) else text
    head, *body = re.split(rb"\r?\n\r?\n", data.lstrip(b"\r\n"), maxsplit=1)
    start_line, _, fields = head.partition(b"\n")
    start_line = start_line.rstrip(b"\r")
    if len(start_line.split(b" ", 2)) != 3 or b"SIP/" not in start_line:
        raise ValueError(f"not a start line: {start_line!r}")
    return Message(start_line, parse_fields(fields.rstrip(b"\r\n") + b"\r\n"), b"".join(body))


def parse_fields(text: bytes) -> tuple[Header, ...]:
    """The header fields in a block of lines. Raises ValueError for a line that is none."""
    headers, position = [], 0
    while position < len(text) and text[position:].strip():
        found = _FIELD.match(text, position)
        if found is None:
            raise ValueError(f"not a header field: {text[position : position + 60]!r}")
        raw = found[0] if found[0].endswith(b"\r\n") else found[0][:-1] + b"\r\n"
        headers.append(Header(found[1], found[2].strip(), raw))
        position = found.end()
    return tuple(headers)


@dataclass
class Edits:
    """What a script has asked to change, and nobody sees before the message leaves."""

    removed: set[int] = field(default_factory=set)
    at_the_end: list[bytes] = field(default_factory=list)
    record_route: bytes | None = None  # the URI of our Record-Route
    route_parameters: list[bytes] = field(default_factory=list)  # of that URI, given before or after it was added

    def copy(self) -> Edits:
        """Edits that start from these and do not change them."""
        return replace(
            self,
            removed=set(self.removed),
            at_the_end=list(self.at_the_end),
            route_parameters=list(self.route_parameters),
        )

    def remove(self, message: Message, name: str) -> bool:
        """Take off every field of this name that came in. False: there was none."""
        hits = {n for n, header in enumerate(message.headers) if header.is_called(name.encode())}
        self.removed |= hits
        return bool(hits)

    def apply(self, message: Message, start_line: bytes) -> Message:
        """The message as it leaves. A text that was added without CRLF runs into the field after it, as on the wire."""
        kept = [header.raw for n, header in enumerate(message.headers) if n not in self.removed]
        if self.record_route is not None:
            kept.insert(0, b"Record-Route: <%s%s>\r\n" % (self.record_route, b"".join(self.route_parameters)))
        fields = b"".join([*kept, *self.at_the_end])
        return Message(start_line, parse_fields(fields if fields.endswith(b"\n") else fields + b"\r\n"), message.body)


_URI = re.compile(
    rb"(?P<scheme>(?i:sips?)):(?:(?P<user>[^@:]*)(?::[^@]*)?@)?(?P<host>[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])"
    rb"(?::(?P<port>\d{1,5}))?(?P<rest>[;?][^\s<>]*)?"
)


@dataclass(frozen=True)
class Uri:
    """A SIP URI, as far as a proxy looks at it."""

    scheme: bytes
    user: bytes | None
    host: bytes
    port: bytes
    rest: bytes

    def __bytes__(self) -> bytes:
        user = b"" if self.user is None else self.user + b"@"
        port = b":" + self.port if self.port else b""
        return b"%s:%s%s%s%s" % (self.scheme, user, self.host, port, self.rest)


def parse_uri(text: bytes) -> Uri | None:
    """None: not a URI that Kamailio could send to."""
    found = _URI.fullmatch(text)
    if found is None:
        return None
    return Uri(found["scheme"], found["user"], found["host"], found["port"] or b"", found["rest"] or b"")


def address(value: bytes) -> tuple[bytes, bytes, bytes]:
    """The URI, the display name and the tag of a From or To value."""
    bracketed = re.match(rb'\s*((?:"[^"]*"\s*|[^<"]*))<([^>]*)>(.*)', value, re.S)
    name, uri, parameters = bracketed.groups() if bracketed else (b"", *value.partition(b";")[::2])
    tag = re.search(rb";?\s*tag\s*=\s*([^;\s]+)", parameters)
    return uri.strip(), name.strip(), tag[1] if tag else b""
