"""The messages of RFC 5118, by the sections that have them, and the answer to each, as in rfc4475.py. They come over
IPv4, because it is the addresses in them that are odd; `rport` brings the answers back. An R-URI is the carrier's to
judge, as long as it can be read at all: its host decides nothing here. `{port}` is the sender's, which makes a branch
its own.
"""

from __future__ import annotations

from tests.live.torture.rfc4475 import FORWARDED, SILENCE, Case, plain

US, THEM = "2001:db8::10", "2001:db8::9:1"
CONTACT = "Contact: <sip:caller@[2001:db8::1]>"
SDP6 = (
    b"v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=Live video feed\r\nc=IN IP6 2001:db8::20\r\n"
    b"t=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 2\r\n"
)
SDP46 = (
    b"v=0\r\no=bob 280744730 28977631 IN IP4 host.example.com\r\ns=-\r\nt=0 0\r\nm=audio 22334 RTP/AVP 0\r\n"
    b"c=IN IP4 192.0.2.1\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP6 2001:db8::1\r\n"
)
MAPPED = (
    b"v=0\r\no=mhandley 29739 7272939 IN IP6 ::ffff:192.0.2.5\r\ns=-\r\nc=IN IP6 ::ffff:192.0.2.5\r\nt=0 0\r\n"
    b"m=audio 49217 RTP/AVP 0\r\n"
)
TO, TYPE = f"<sip:user@[{US}]>;tag=b", "Content-Type: application/sdp"


def via(tag: str, host: str = f"[{THEM}]") -> str:
    return f"SIP/2.0/UDP {host};rport;branch=z9hG4bK.{tag}.{{port}}"


def six(start: str, tag: str, *more: str, body: bytes = b"") -> bytes:
    return plain(f"{start} SIP/2.0", tag, *more, Via=via(tag), body=body)


def bye(tag: str, via: str) -> bytes:
    return plain(f"BYE sip:user@[{US}] SIP/2.0", tag, Via=via, To=TO)


CASES = {
    "4.1 a reference": Case(six(f"REGISTER sip:[{US}]", "ipv6-good", CONTACT), 405, 403),
    "4.1 in an INVITE": Case(six(f"INVITE sip:user@[{US}]", "ipv6-invite", CONTACT), FORWARDED, 403),
    "4.2 no delimiters": Case(six(f"REGISTER sip:{US}", "ipv6-bad", CONTACT), 400, 400),
    "4.2 in an INVITE": Case(six(f"INVITE sip:user@{US}", "ipv6-bad2", CONTACT), 400, 400),
    "4.3 a port that is none": Case(
        six(f"REGISTER sip:[{US}:5070]", "port-ambiguous", CONTACT), 405, 403),
    "4.4 a port": Case(six(f"REGISTER sip:[{US}]:5070", "port-unambiguous", CONTACT), 405, 403),
    "4.5 received with delimiters": Case(bye("delim", via("delim") + ";received=[2001:db8::9:255]"), 481, 481),
    "4.5 received without": Case(bye("no-delim", via("no-delim") + ";received=2001:db8::9:255"), 481, 481),
    "4.6 in SDP": Case(
        six(f"INVITE sip:user@[{US}]", "sdp6", CONTACT, TYPE, body=SDP6), FORWARDED, 403),
    "4.7 several Vias": Case(
        bye("vias", f"SIP/2.0/UDP [{THEM}]:6050;rport;branch=z9hG4bK-{{port}}, SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKj;"
            "received=2001:db8::9:255, SIP/2.0/TCP [2001:db8::9:2];branch=z9hG4bK451jj"), 481, 481),
    "4.8 both kinds in SDP": Case(
        six(f"INVITE sip:user@[{US}]", "sdp46", CONTACT, TYPE, body=SDP46), FORWARDED, 403),
    "4.9 mapped addresses": Case(
        plain("INVITE sip:user@example.com SIP/2.0", "mapped", "Contact: <sip:caller@[::ffff:192.0.2.2]>", TYPE,
              Via=via("mapped", "[::ffff:192.0.2.2]"), body=MAPPED), FORWARDED, 403),
    "4.10 three colons": Case(six("OPTIONS sip:user@[2001:db8:::192.0.2.1]", "colons"),
                             FORWARDED, 403),
    "4.10 two colons": Case(six("OPTIONS sip:user@[2001:db8::192.0.2.1]", "2colons"),
                            FORWARDED, 403),
    "three colons in Via": Case(
        plain("OPTIONS sip:user@example.com SIP/2.0", "viacolons",
              Via=via("viacolons", "[2001:db8:::192.0.2.1]")), FORWARDED, 403),
    "no delimiters in Via": Case(
        plain("OPTIONS sip:user@example.com SIP/2.0", "viabare", Via=via("viabare", THEM)),
        SILENCE, SILENCE),
    "no end in Via": Case(
        plain("OPTIONS sip:user@example.com SIP/2.0", "viaopen", Via=via("viaopen", f"[{THEM}")),
        SILENCE, SILENCE),
    "a scope": Case(six("OPTIONS sip:user@[fe80::1%25eth0]", "scope"), FORWARDED, 403),
    "no address at all": Case(six("OPTIONS sip:user@[]", "empty"), FORWARDED, 403),
}  # fmt: skip

# Of a reply: fields that are added to it. They are the caller's to read, and pass.
REPLIES = (
    b"Contact: <sip:callee@[2001:db8::1]:5070>", b"Contact: <sip:callee@2001:db8::1>",
    b"Contact: sip:[2001:db8:::192.0.2.1]", b"Contact: <sip:callee@[2001:db8::1>",
    b"Contact: <sip:callee@[fe80::1%25eth0]>", b"Record-Route: <sip:[2001:db8::9:1]:6050;lr>",
    b"Record-Route: <sip:2001:db8::9:1;lr>", b"Record-Route: <sip:[;lr>", b"Warning: 370 [2001:db8::9:1] \"x\"",
)  # fmt: skip
