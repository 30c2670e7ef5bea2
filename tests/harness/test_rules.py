"""The rules checked: a hand-made wrong sequence for every one of them, and the fault that it must be given."""

from __future__ import annotations

import pytest

from tests.harness import message
from tests.harness.message import Message
from tests.harness.rules import RequestRules, ResponseRules
from tests.harness.samples import BUSY, CREDENTIALS, FIRST, PBX_VIA, PROXY_VIA, SECOND, SENT, invite, response


def hop(method: str, of: Message, answered: Message | None = None) -> Message:
    """The ACK of a failure or the CANCEL that belongs to a request."""
    copied = [(n, v) for n, v in of.headers if n in ("From", "To", "Call-ID")]
    built = message.request(method, of.uri, [("Via", of.vias[0]), *copied, ("CSeq", f"{of.cseq[0]} {method}")])
    return built.with_header("To", answered.first("To")) if answered else built


def faults_of(*messages: Message) -> str:
    """Feed the rules: requests as received, responses as given."""
    rules = RequestRules(["carrier.test"])
    for each in messages:
        (rules.answered if each.is_response else rules.received)(each)
    return "\n".join(rules.faults)


CHALLENGE, OK, RINGING = response(FIRST, 407), response(FIRST, 200), response(FIRST, 180)
ACK_OF_OK = invite("z9hG4bK9", 1, "ACK", ";tag=b")
CANCEL = hop("CANCEL", FIRST)
TEXT = invite(method="MESSAGE")
RELIABLE = RINGING.with_header("RSeq", "1")


def keepalive(number: int) -> Message:
    """The proxy's own OPTIONS in the dialog."""
    branch = f"z9hG4bK8{number}"
    built = invite(branch, number, "OPTIONS", ";tag=b").with_header("Via", PROXY_VIA + branch)
    return built.with_header("Max-Forwards", "70")


def prack(rack: str) -> Message:
    return invite("z9hG4bK5", 2, "PRACK", ";tag=b").with_header("RAck", rack)


@pytest.mark.parametrize(
    "sequence",
    [
        [FIRST, FIRST],
        [
            FIRST,
            CHALLENGE,
            hop("ACK", FIRST, CHALLENGE),
            SECOND,
            response(SECOND, 200),
            invite("z9hG4bK3", 2, "ACK", ";tag=b"),
        ],
        [FIRST, BUSY, hop("ACK", FIRST, BUSY)],
        [FIRST, OK, ACK_OF_OK, ACK_OF_OK, invite("z9hG4bK3", 2, "BYE", ";tag=b")],
        [FIRST, RINGING, CANCEL],
        [FIRST.with_header("Proxy-Authorization", CREDENTIALS)],
        [TEXT, response(TEXT, 407), invite("z9hG4bK2", 2, "MESSAGE")],
        [FIRST, RELIABLE, prack("1 1 INVITE")],
        [FIRST, OK, ACK_OF_OK, keepalive(0), invite("z9hG4bK3", 2, "BYE", ";tag=b")],
        [keepalive(0), invite("z9hG4bK3", 1, "BYE", ";tag=b")],
    ],
)
def test_a_sound_sequence_has_no_fault(sequence: list[Message]) -> None:
    assert faults_of(*sequence) == ""


def _edit(of: Message, name: str, value: str) -> Message:
    return of.with_header(name, value)


def _uri(of: Message, uri: str) -> Message:
    return message.request(of.method, uri, of.headers, of.body)


@pytest.mark.parametrize(
    ("sequence", "fault"),
    [
        ([FIRST, _edit(FIRST, "Subject", "other")], "retransmission that differs"),
        ([FIRST, invite("z9hG4bK1", 2)], "branch reused"),
        ([invite("1234")], "magic cookie"),
        ([FIRST, BUSY, invite("z9hG4bK2", 1)], "CSeq 1 is not greater than 1"),
        ([TEXT, response(TEXT, 407), invite("z9hG4bK2", 1, "MESSAGE")], "resend is not 1 more than 1"),
        ([keepalive(1)], "1 Via"),
        ([FIRST, RELIABLE, prack("1 2 INVITE")], "RAck '1 2 INVITE' names none of ['1 1 INVITE']"),
        ([FIRST, RINGING, prack("1 1 INVITE")], "RAck '1 1 INVITE' names none of []"),
        ([FIRST, CHALLENGE, invite("z9hG4bK2", 1)], "resend is not 1 more than 1"),
        ([FIRST, CHALLENGE, invite("z9hG4bK2", 3)], "resend is not 1 more than 1"),
        ([FIRST, CHALLENGE, invite("z9hG4bK2", 2, to_tag=";tag=b")], "To of the resend"),
        ([FIRST, CHALLENGE, _edit(SECOND, "From", "<sip:x@pbx.test>;tag=a")], "From of the resend"),
        (
            [FIRST, CHALLENGE, message.request("INVITE", FIRST.uri, SECOND.headers, b"x")],
            "body of the resend",
        ),
        (
            [SECOND, response(SECOND, 200), invite("z9hG4bK3", 1, "BYE", ";tag=b")],
            "CSeq 1 is not greater than 2",
        ),
        ([FIRST, BUSY, invite("z9hG4bK9", 1, "ACK", ";tag=b")], "without the branch of its INVITE"),
        (
            [FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "CSeq", "2 ACK")],
            "CSeq 2 is not that of the INVITE, 1",
        ),
        ([FIRST, BUSY, _uri(hop("ACK", FIRST, BUSY), "sip:2@c.test")], "R-URI sip:2@c.test"),
        ([FIRST, BUSY, hop("ACK", FIRST)], "To tag is not that of the 486"),
        (
            [FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "Route", "<sip:x;lr>")],
            "Route is not that of the INVITE",
        ),
        ([FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "Via", PROXY_VIA + "z9hG4bK7")], "the branch of no INVITE"),
        ([FIRST, hop("ACK", FIRST)], "ACK before any final response"),
        ([FIRST, OK, hop("ACK", FIRST, OK)], "with the branch of its INVITE"),
        ([FIRST, OK, _edit(ACK_OF_OK, "CSeq", "2 ACK")], "CSeq 2, but the INVITE accepted has CSeq 1"),
        ([FIRST, OK, _edit(ACK_OF_OK, "To", "<sip:1@c.test>;tag=z")], "To tag is not that of the 2xx"),
        ([ACK_OF_OK], "ACK of no INVITE"),
        ([FIRST, RINGING, _edit(CANCEL, "Via", PROXY_VIA + "z9hG4bK7")], "branch of no INVITE"),
        ([FIRST, RINGING, _edit(CANCEL, "CSeq", "2 CANCEL")], "CSeq 2 is not that of the INVITE, 1"),
        ([FIRST, RINGING, _uri(CANCEL, "sip:2@c.test")], "R-URI sip:2@c.test"),
        ([FIRST, RINGING, _edit(CANCEL, "To", "<sip:1@c.test>;tag=b")], "To is not that of the INVITE"),
        (
            [FIRST, RINGING, _edit(CANCEL, "From", "<sip:100@pbx.test>;tag=q")],
            "From is not that of the INVITE",
        ),
        ([FIRST, CANCEL], "before any provisional response"),
        ([_edit(FIRST, "Max-Forwards", "70")], "Max-Forwards 70, 70 was sent"),
        ([FIRST.without("Max-Forwards")], "no Max-Forwards"),
        ([_edit(FIRST, "Via", PROXY_VIA + "z9hG4bK1")], "1 Via"),
        ([FIRST.without("Record-Route")], "no Record-Route"),
        ([_edit(FIRST, "Route", "<sip:127.0.0.1:5060;lr>")], "a Route is left over"),
        ([_edit(FIRST, "X-Trunk", "t1")], "X-Trunk reached"),
        ([_edit(FIRST, "From", "<sip:100@pbx.test>;tag=a;tag=b")], "more than one tag in From"),
        ([FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "X-Trunk", "2")], "X-Trunk reached"),
        (
            [_edit(FIRST, "Authorization", CREDENTIALS.replace("carrier.test", "pbx.test"))],
            "'pbx.test', which is not ours",
        ),
        (
            [_edit(FIRST, "Authorization", CREDENTIALS).with_header("Authorization", CREDENTIALS), FIRST],
            "retransmission that differs",
        ),
        ([_edit(FIRST, "Authorization", "Basic abc")], "scheme 'Basic' is not Digest"),
    ],
)
def test_every_fault_of_a_request_is_named(sequence: list[Message], fault: str) -> None:
    assert fault in faults_of(*sequence)


def test_two_credentials_for_one_realm_are_a_fault() -> None:
    both = message.request("INVITE", FIRST.uri, [*FIRST.headers, *[("Proxy-Authorization", CREDENTIALS)] * 2])
    assert "more than one Proxy-Authorization for realm 'carrier.test'" in faults_of(both)


ACCEPTING = response(SENT, 200).with_header("Contact", "<sip:c@c.test>").with_header("Record-Route", "<sip:p;lr>")
TAGLESS = "<sip:1@c.test>"


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        ([response(SENT, 180), ACCEPTING, ACCEPTING], ""),
        ([response(SENT, 407)], "a challenge reached this end"),
        (
            [_edit(response(SENT, 503), "Proxy-Authenticate", "Digest realm=x")],
            "Proxy-Authenticate reached this end",
        ),
        ([_edit(ACCEPTING, "CSeq", "2 INVITE")], "CSeq is not that of the request, 1 INVITE"),
        ([_edit(ACCEPTING, "Call-ID", "call-2")], "Call-ID is not that of the request"),
        ([_edit(ACCEPTING, "From", "<sip:x@pbx.test>;tag=a")], "From is not that of the request"),
        ([response(invite().with_header("Via", f"{PBX_VIA}, {PROXY_VIA}z9hG4bK1"), 486)], "2 Via"),
        ([_edit(ACCEPTING, "Via", PROXY_VIA + "z9hG4bK8")], "answers no request of ours"),
        ([_edit(response(SENT, 486), "To", TAGLESS)], "no To tag"),
        ([response(SENT, 180), _edit(ACCEPTING, "To", TAGLESS + ";tag=c")], "To tag changed"),
        ([response(SENT, 486), response(SENT, 503)], "second final response, after 486"),
        ([ACCEPTING, response(SENT, 180)], ""),
        ([ACCEPTING.without("Contact")], "no Contact"),
        ([ACCEPTING.without("Record-Route")], "no Record-Route"),
    ],
)
def test_every_fault_of_a_response_is_named(received: list[Message], fault: str) -> None:
    rules = ResponseRules()
    rules.sent(SENT)
    for each in received:
        rules.received(each)
    assert (fault in "\n".join(rules.faults)) if fault else rules.faults == []


def test_a_response_in_a_dialog_keeps_the_to_tag() -> None:
    rules = ResponseRules()
    bye = (
        message.request("BYE", "sip:1@c.test", SENT.headers)
        .with_header("CSeq", "2 BYE")
        .with_header("To", TAGLESS + ";tag=b")
    )
    rules.sent(bye)
    rules.received(response(bye, 200).with_header("To", TAGLESS + ";tag=c"))
    assert "To tag is not that of the dialog" in rules.faults[0]
