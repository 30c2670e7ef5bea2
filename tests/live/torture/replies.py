"""Replies that are broken: which header field, how, and whether Kamailio can read the reply at all.

What cannot be read is dropped, and the request is repeated until something can be. Only a challenge is judged further.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Break = Callable[[bytes], bytes]  # of a field's value: the whole lines that are in its place

LONG = b"x" * 12_000  # twice, in two Vias, is what Kamailio 6 still reads


def _lines(name: bytes, value: bytes) -> bytes:
    return b"%b: %b\r\n" % (name, value)


BREAKS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "as it is": _lines,
    "missing": lambda name, value: b"",
    "empty": lambda name, value: _lines(name, b""),
    "twice": lambda name, value: _lines(name, value) * 2,
    "folded": lambda name, value: _lines(name, b"\r\n  " + value.replace(b" ", b"\r\n\t")),
    "NUL": lambda name, value: _lines(name, value[:3] + b"\0" + value[3:]),
    "not UTF-8": lambda name, value: _lines(name, value[:3] + b"\xff\xfe" + value[3:]),
    "12 kB": lambda name, value: _lines(name, value + b";x=" + LONG),
    "garbage": lambda name, value: _lines(name, b'"<;,\\ \x01\x7f>@:'),
    "one quote": lambda name, value: _lines(name, b'"' + value),
}
CHALLENGE = b'Digest realm="carrier.test", nonce="0011", qop="auth"'
OTHERS = {
    b"Contact": b"<sip:c@127.0.0.1>", b"Record-Route": b"<sip:127.0.0.9;lr>", b"Content-Length": b"0",
    b"Proxy-Authenticate": CHALLENGE, b"WWW-Authenticate": CHALLENGE, b"Retry-After": b"5", b"Server": b"x",
    b"Authentication-Info": b'nextnonce="0022"', b"Warning": b'399 h "x"', b"Require": b"100rel", b"Unknown": b"x",
}  # fmt: skip
COPIED = (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
FIELDS = (*COPIED, *OTHERS)
# Broken like this, a reply is nobody's: "1 M\0SG" is another method than that of the request.
NOBODYS = {
    b"Via": {"missing", "empty", "NUL", "not UTF-8", "garbage", "one quote"},
    b"From": {"missing"},
    b"To": {"missing", "empty", "NUL", "garbage", "one quote"},
    b"Call-ID": {"missing"},
    b"CSeq": {"missing", "empty", "folded", "NUL", "not UTF-8", "12 kB", "garbage"},
}
# Kamailio 6.1 looks at From sooner, and drops what has none.
SINCE_6_1 = {b"From": {"empty", "NUL", "garbage", "one quote"}}
# Broken like this, no field behind it can be read: a challenge is none.
BLINDING = {
    b"Content-Length": {"empty", "NUL", "not UTF-8", "12 kB", "garbage", "one quote"},
    b"Retry-After": {"empty", "NUL", "not UTF-8", "garbage", "one quote"},
}
CHALLENGES = {401: b"WWW-Authenticate", 407: b"Proxy-Authenticate"}
SAID_AGAIN, REFUSED, SILENT = 480, 503, 408

LENGTHS = (b"-1", b"1", b"9999", b"4294967296", b"99999999999999999999", b"0x0", b"0 0", b" 0")
NUMBERS = (b"2147483647", b"2147483648", b"4294967296", b"99999999999999999999", b"-1", b"x")


def broken(request: bytes, status: int, field: bytes = b"", how: str = "as it is") -> bytes:
    """Return a reply to the request, one field of which is broken."""
    lines = b""
    for name in FIELDS:
        values = re.findall(rb"(?m)^%b: ([^\r\n]*)\r\n" % name, request) if name in COPIED else [OTHERS[name]]
        for value in values:
            lines += BREAKS[how](name, value) if name == field else _lines(name, value)
    return b"SIP/2.0 %d Torture\r\n%b\r\n" % (status, lines)


def right_end(version: str, status: int, name: bytes = b"", how: str = "as it is") -> int:
    """Return how a request ends whose carrier says this first, and 480 if the request comes again. version: Kamailio's.

    A request that is sent again with credentials comes again; so does one whose reply was dropped. A provisional reply
    stops that.
    """
    if how in NOBODYS.get(name, ()) or (version >= "6.1" and how in SINCE_6_1.get(name, ())):
        return SAID_AGAIN
    if status < 200:
        return SILENT
    if status in CHALLENGES:
        return REFUSED if how in BLINDING.get(name, ()) else SAID_AGAIN  # there is a challenge of the other kind too
    return status


def with_value(request: bytes, status: int, field: bytes, value: bytes) -> bytes:
    """Return a reply whose field has this value; for CSeq, this number."""
    reply = broken(request, status)
    text = value + b" MESSAGE" if field == b"CSeq" else value
    return re.sub(rb"(?m)^%b: [^\r\n]*" % field, lambda _: b"%b: %b" % (field, text), reply)
