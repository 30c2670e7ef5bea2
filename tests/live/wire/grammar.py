"""Values of header fields: as they should be, as some write them, and broken in one place. `{host}` is where an answer
comes back to, `{victim}` somebody who has no part in any call.
"""

from __future__ import annotations

import re
from random import Random

JUNK = (
    b"", b"\0", b"\xff\xfe", b"\xc3\xa9", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xd9\xa3", b"\x0b", b"\x1c", b"\x7f", b"\t",
    b" ",
    b"\r", b"\n", b"\r\n ", b"\r\n\t", b'"', b"\\", b'\\"', b"'", b"<", b">", b"<>", b"@", b":", b";", b",", b"=",
    b"?", b"&",
    b"[", b"]", b"[::1]", b"(", b")", b"%", b"%00", b"%0d%0a", b"*", b"-1", b"0", b"4294967296",
    b"99999999999999999999",
    b"9" * 5000, b"x" * 70, b"x" * 300, b"x" * 4000, b";lr", b";ta=AAAA", b";transport=tcp", b";transport=x y",
    b";maddr=h",
    b";rport=99999999999", b";received=127.0.0.9", b";tag=", b";tag=x", b"$ru", b"{}", b"%s%n",
    b"@{victim}", b"?x@{victim}", b"{victim}@", b"{victim}", b"<sip:{victim}>",
)  # fmt: skip

URIS = (
    b"sip:5551234@{host}", b"sip:5551234@{host};user=phone", b"sip:5551234;isub=1@{host}:5060;transport=udp",
    b"sip:{host}",
    b"sip:@{host}", b"sip:u:p@{host}", b"sips:u@{host}", b"SIP:U@{host}", b"sip:u@{host}?Route=%3Csip:x%3E&a=b",
    b"sip:u@[::1]",
    b"sip:u@[::1", b"sip:u@1.2.3.4.5", b"sip:u@h:99999", b"sip:u@h:0", b"sip:u@h:", b"sip:u@name.invalid",
    b"sip:u@name.invalid.",
    b"sip:u@name.invalid;transport=tcp", b"sip:u@name.invalid:5060;maddr=127.0.0.1", b"sip:%00@{host}", b"sip:;lr",
    b"sip:", b"",
    b"tel:+49301234567", b"tel:5551234;phone-context=+49;x=y", b"tel:", b"urn:service:sos", b"im:a@{host}",
    b"http://h/", b"*",
    b"sip:u@{host};transport=", b"sip:u@{host};transport=ws", b"sip:u@{host};maddr=[::1]", b"sip:u@{host};lr=on;ta=x",
    b"sip:u@{host};" + b"p=v;" * 60, b"sip:" + b"u" * 3000 + b"@{host}", b"sip:u@" + b"h" * 300, b"sip:a@b@{host}",
    b"sip:u@127.0.0.1 x", b"sip:u@h h:5060", b"\xffsip:u@{host}",
    b"sip:u@{victim}", b"sip:{victim}", b"sip:{victim}?x=y@h", b"sip:{victim};x=y@h", b"sip:{victim}/@h",
    b"sip:u@{victim}@h", b"sip:u:p?x@{victim}", b"sip:u@h;maddr=127.0.0.9", b"sips:u@{victim};transport=udp",
    b"tel:{victim}", b"tel:1;phone-context={victim}", b"tel:1@{victim}", b"urn:{victim}", b"sip:a\\@{victim}",
    b"sip:[{victim}", b"sip:%40{victim}",
)  # fmt: skip

_NAMED = (
    *(b"<%b>" % uri for uri in URIS),
    b'"a \\" b" <sip:a@{host}>', b'"<sip:x@y>" <sip:a@{host}>', b"a b <sip:a@{host}>", b'"M\xfcller" <sip:a@{host}>',
    b"sip:a@{host}",
    b'"a <sip:a@{host}>', b"<sip:a@{host}", b"*", b"<sip:a@{host}>;q=1;expires=x", b"<sip:a@{host}>, <sip:b@{host}>",
)  # fmt: skip
_TAGGED = (
    *(b"%b;tag=t" % one for one in _NAMED), b"<sip:a@{host}>;tag=", b"<sip:a@{host}>;tag=a;tag=b",
    b"sip:a@{host};tag=x",
)  # fmt: skip
_ROUTES = (
    *(b"<%b;lr>" % uri for uri in URIS), b"<sip:127.0.0.1>", b"<sip:127.0.0.1;lr>,<sip:name.invalid;lr>",
    b"<sip:h x;lr>",
)  # fmt: skip
_NUMBERS = (
    b"0", b"1", b"70", b"255", b"256", b"-1", b"2147483647", b"2147483648", b"4294967295", b"4294967296", b"x", b"",
    b"1 1",
    b"0x10", b"1e3", b"00000000001", b"9" * 40,
)  # fmt: skip
_METHODS = (
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"OPTIONS",
    b"REGISTER",
    b"MESSAGE",
    b"PRACK",
    b"invite",
    b"X\xff",
    b"",
    b"M" * 300,
)
_TOKENS = (
    b"100rel",
    b"timer",
    b"100rel,timer",
    b"foo",
    b",",
    b",,foo,,",
    b"foo bar",
    b'"foo"',
    b"f\xff",
    b"x" * 2000,
    b"",
)
_AUTH = (
    b'Digest username="u", realm="r", nonce="n", uri="sip:h", response="0"',
    b"Basic dTpw",
    b"Digest",
    b'Digest username="u',
)

VALUES: dict[bytes, tuple[bytes, ...]] = {
    b"Via": (
        b"SIP/2.0/UDP {host};branch=z9hG4bKx", b"SIP/2.0/UDP {host};rport;branch=",
        b"SIP/2.0/TCP {host};branch=z9hG4bKx",
        b"SIP / 2.0 / UDP {host} ; branch = z9hG4bKx", b"SIP/2.0/UDP [::1]:5060;branch=z9hG4bKx;received=::1;rport=1",
        b"SIP/2.0/UDP h h;branch=z9hG4bKx", b"SIP/2.0/X {host}", b"SIP/3.0/UDP {host}",
        b"SIP/2.0/UDP {host};rport=" + b"9" * 5000,
        b"SIP/2.0/UDP {host};maddr=127.0.0.9;ttl=999;alias;i=x",
        b"SIP/2.0/UDP {host}, SIP/2.0/UDP {host};rport=99999999999",
    ),
    b"From": _TAGGED, b"To": (*_NAMED, *_TAGGED), b"Contact": _NAMED, b"Route": _ROUTES, b"Record-Route": _ROUTES,
    b"Call-ID": (b"a", b"a b", b'a"b', b"a\0b", b"\xff", b"", b"x" * 3000, b"a=b\tc", b"<>@:;,"),
    b"CSeq": tuple(b"%b %b" % (number, b"INVITE") for number in _NUMBERS) + tuple(b"1 %b" % one for one in _METHODS),
    b"Max-Forwards": _NUMBERS, b"Content-Length": _NUMBERS, b"Expires": _NUMBERS, b"RSeq": _NUMBERS,
    b"Min-SE": _NUMBERS,
    b"RAck": (b"1 1 INVITE", b"1  1  INVITE", b"1 1", b"1", b"", b"1 1 INVITE x", b"4294967295 4294967295 INVITE",
    b"1 1 \xff",
              b"1 2147483647 INVITE", b"9999999999 9999999999 INVITE", b"1 1\r\n INVITE"),
    b"X-Trunk": (b"fuzz", b"kept", b"dialled", b"kept, fuzz", b"fuzz,kept,dialled", b",", b"none", b"\xff", b"a\0b",
    b"x" * 3000, b"' OR 1=1", b""),
    b"Require": _TOKENS, b"Proxy-Require": _TOKENS, b"Supported": _TOKENS, b"Unsupported": _TOKENS,
    b"Content-Type": (b"application/sdp", b"multipart/mixed;boundary=x", b"\xff", b"x" * 2000, b""),
    b"Authorization": _AUTH, b"Proxy-Authorization": _AUTH,
    b"P-K-CSeq-Auth": _NUMBERS, b"P-K-CSeq-Refresh": _NUMBERS,
    b"Retry-After": (*_NUMBERS, b"5 (busy)", b"5;duration=3", b"\xff"),
    b"Authentication-Info": (b'nextnonce="n"', b"nextnonce=n, nc=1", b'nextnonce="\xff"',
    b'nextnonce="' + b"n" * 3000 + b'"', b"", b'"'),
    b"Proxy-Authentication-Info": (b'nextnonce="n"', b'qop=auth, nextnonce="n"', b"\xfc"),
    b"Refer-To": _NAMED, b"P-Called-Party-ID": _NAMED,
    b"P-Asserted-Identity": _NAMED, b"P-Preferred-Identity": _NAMED, b"Remote-Party-ID": _NAMED,
    b"Privacy": (b"id", b"none", b"id;critical", b"user;id", b"\xff", b""), b"Event": (b"refer", b"presence;id=1",
    b"\xff", b""),
}  # fmt: skip
REASONS = (
    b"OK",
    b"",
    b"Nicht verf\xfcgbar",
    b"Channel limit exceeded",
    b"a\0b",
    b"a\rb",
    b"\xe2\x98\x8e",
    b"x" * 3000,
    b"= 2**3 * 5**2",
)
TARGETS = URIS
BODIES = (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", b"", b"\0\1\xff" * 100, b"\r\n\r\n", b"x" * 8000)

_COMPACT = {
    b"Via": b"v",
    b"From": b"f",
    b"To": b"t",
    b"Call-ID": b"i",
    b"Contact": b"m",
    b"Content-Length": b"l",
    b"Supported": b"k",
}


def mutated(random: Random, value: bytes) -> bytes:
    """Return the value with one place changed: junk put in or in place of a piece, a piece lost, or twice."""
    start = random.randrange(len(value) + 1)
    end = min(len(value), start + random.choice((0, 0, 1, 2, 8)))
    middle = random.choice(
        (random.choice(JUNK), random.choice(JUNK), value[start:end] * 2, bytes([random.randrange(256)]))
    )
    return value[:start] + middle + value[end:]


def folded(random: Random, value: bytes) -> bytes:
    """Return the value with its white space folded (RFC 3261 7.3.1), here and there where none was."""
    fold = random.choice((b"\r\n ", b"\r\n\t  ", b"\n "))
    return fold + re.sub(rb" +", fold, value)


def made(random: Random, name: bytes) -> bytes:
    """Return a value for a field of this name."""
    value = random.choice(VALUES.get(name, JUNK))
    return mutated(random, value) if random.random() < 0.3 else value


def spelled(random: Random, name: bytes) -> bytes:
    """Return another spelling of a field's name."""
    return random.choice(
        (name.upper(), name.lower(), _COMPACT.get(name, name), name + b" ", name + b"\t ", name[:-1], b"X" + name)
    )
