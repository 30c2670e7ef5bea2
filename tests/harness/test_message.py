"""The strict parser: what is no SIP message is refused, and what is one is neither repaired nor changed."""

from __future__ import annotations

import pytest

from tests.harness import message
from tests.harness.message import MalformedError, auth_params, parse, split_stream
from tests.harness.samples import BUSY, FIRST


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"OPTIONS sip:x SIP/2.0\r\n", "no empty line"),
        (b"OPTIONS sip:x SIP/2.0\nVia: x\r\n\r\n", "CRLF"),
        (b"OPTIONS sip:x\r\n\r\n", "not a start line"),
        (FIRST.encode().replace(b"\r\nTo:", b"\r\nTo:x\r\nTo:"), "2 To headers"),
        (FIRST.encode().replace(b"Call-ID", b"Bad Name"), "not a header"),
        (FIRST.encode().replace(b"1 INVITE", b"1 BYE"), "CSeq names BYE in a INVITE"),
        (FIRST.encode().replace(b"Content-Length: 0", b"Content-Length: 4"), "but the body has 0 bytes"),
        (FIRST.encode().replace(b"\r\nTo:", b"\r\n To:"), "folded"),
        (FIRST.encode().replace(b"CSeq: 1 ", b"CSeq: 2147483648 "), "CSeq '2147483648"),
        (FIRST.encode().replace(b";branch=", b";b="), "Via without branch"),
    ],
)
def test_what_is_no_sip_message_is_refused(octets: bytes, complaint: str) -> None:
    with pytest.raises(MalformedError, match=complaint):
        parse(octets)


def test_a_message_survives_the_wire() -> None:
    sent = message.request(
        "INVITE", "sip:1@c.test", [*FIRST.headers, ("Content-Type", "text/plain")], b"\x00\r\n\r\nbody"
    )
    assert parse(sent.encode()).without("Content-Length") == sent
    assert parse(sent.encode()).first("content-length") == "9"


def test_compact_header_names_and_lists_are_read() -> None:
    compact = FIRST.encode().replace(b"\r\nVia: SIP/2.0/UDP 127.0.0.1:5080", b", SIP/2.0/UDP 127.0.0.1:5080")
    assert parse(compact.replace(b"Via:", b"v:")).vias == FIRST.vias


def test_a_stream_is_cut_at_content_length() -> None:
    octets = FIRST.encode() + BUSY.encode()
    whole, rest = split_stream(b"\r\n\r\n" + octets + b"SIP/2.0 180")
    assert whole == FIRST.encode()
    assert split_stream(rest) == (BUSY.encode(), b"SIP/2.0 180")
    assert split_stream(octets[:40]) == (b"", octets[:40])


def test_digest_parameters_keep_their_commas_and_quotes() -> None:
    assert auth_params('Digest realm="a, \\"b\\"", qop=auth ,nc=00000001') == {
        "realm": 'a, "b"',
        "qop": "auth",
        "nc": "00000001",
    }
