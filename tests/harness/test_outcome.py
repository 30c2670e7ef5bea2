"""What is said of a call, on hand-made traces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.harness import message
from tests.harness.message import Message
from tests.harness.outcome import Observed, Terms, outcome
from tests.harness.verifier import ACCEPTED, MISSING, STALE, WRONG

TERMS = Terms()


def request(method: str, cseq: int = 1, realm: str = "") -> Message:
    """What reaches the carrier; realm: of the credentials in it."""
    headers = [
        ("Via", "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1"),
        ("From", "<sip:100@pbx.test>;tag=a"),
        ("To", "<sip:1@c.test>"),
        ("Call-ID", "call-1"),
        ("CSeq", f"{cseq} {method}"),
    ]
    value = f'Digest username="u", realm="{realm}", nonce="n", uri="sip:1@c.test", response="r"'
    return message.request(method, "sip:1@c.test", [*headers, *([("Proxy-Authorization", value)] if realm else [])])


INVITE, BYE, CANCEL = request("INVITE"), request("BYE", 3), request("CANCEL", 2)
RESEND = request("INVITE", 2, TERMS.realm)
TOLD = [INVITE, RESEND]
PASSED = [MISSING, ACCEPTED]


def final(status: int) -> Message:
    return message.response(INVITE, status, "Reason", "b")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(Observed([final(200)], TOLD, PASSED), "answered", id="answered"),
        pytest.param(Observed([final(200), final(200)], [*TOLD, BYE], PASSED), "answered", id="answered, hung up"),
        pytest.param(Observed([final(200)], [INVITE]), "unchallenged", id="no challenge was posed"),
        pytest.param(Observed([final(407)], [INVITE], [MISSING]), "407 to the caller", id="the 407 came through"),
        pytest.param(Observed([final(401)], TOLD, [*PASSED, MISSING]), "401 to the caller", id="the 401 behind it"),
        pytest.param(Observed([final(407)], TOLD, [MISSING, STALE]), "407 to the caller", id="stale, not again"),
        pytest.param(Observed([final(407)], TOLD, [MISSING, WRONG]), "wrong digest", id="the carrier found it wrong"),
        pytest.param(
            Observed([final(200), final(200), final(407)], TOLD, [*PASSED, MISSING, WRONG]), "wrong digest", id="later"
        ),
        pytest.param(Observed([final(503)], [INVITE], [MISSING]), "503", id="the proxy gave up"),
        pytest.param(Observed([final(503)], TOLD, [MISSING, WRONG]), "503 after 2 INVITEs", id="at the second"),
        pytest.param(Observed([final(403)]), "403", id="nothing was relayed"),
        pytest.param(Observed([final(486)], TOLD, PASSED), "486", id="busy"),
        pytest.param(Observed([final(487)], [*TOLD, CANCEL], PASSED), "cancelled", id="cancelled"),
        pytest.param(Observed([final(487)], TOLD, PASSED), "487", id="a CANCEL that went nowhere"),
        pytest.param(Observed([None], [INVITE], [MISSING]), "no answer", id="no answer"),
        pytest.param(Observed([final(200), None], [*TOLD, BYE], PASSED), "no answer", id="no answer to the BYE"),
        pytest.param(
            Observed([None], [INVITE] * 10, [MISSING, *[WRONG] * 8]), "loops (10 INVITEs)", id="challenged for ever"
        ),
        pytest.param(
            Observed([final(200)], [INVITE, request("INVITE", 2, "elsewhere.test")], PASSED),
            "credentials to any realm",
            id="another realm",
        ),
    ],
)
def test_a_call_is_put_into_words(seen: Observed, words: str) -> None:
    assert outcome(seen, TERMS) == words


@pytest.mark.parametrize(
    ("status", "fault", "words"),
    [
        (200, "CSeq 1 of the resend is not 1 more than 1 that was challenged", "answered, CSeq not raised"),
        (200, "CSeq 2 is not greater than 2 of the request before it", "answered, CSeq not raised"),
        (200, "nc '00000001' at use 2 of this nonce", "answered, wrong nonce count"),
        (200, "digest uri 'sip:2@c.test' is not the R-URI", "answered, wrong digest uri"),
        (200, "qop 'auth' was not offered", "answered, not what was offered"),
        (200, "more than one Authorization for realm 'r'", "answered, credentials twice"),
        (486, "CSeq 1 of the resend is not 1 more than 1 that was challenged", "486, CSeq not raised"),
        (503, "X-Trunk reached this end", "503 after 2 INVITEs, X-Trunk reached this end"),
        (407, "CSeq 1 of the resend is not 1 more than 1 that was challenged", "407 to the caller"),
    ],
)
def test_the_first_fault_is_said_where_the_call_came_through(status: int, fault: str, words: str) -> None:
    faults = [f"{RESEND}: {fault}", f"{RESEND}: something else"]
    assert outcome(Observed([final(status)], TOLD, PASSED, faults), TERMS) == words


def test_a_fault_of_the_test_itself_is_said_by_its_last_line() -> None:
    faults = ["Traceback (most recent call last):\n  ...\nKeyError: 'x'\n"]
    assert outcome(Observed([final(200)], TOLD, PASSED, faults), TERMS) == "answered, KeyError: 'x'"


def test_a_password_that_is_wrong_gives_a_digest_that_is_not() -> None:
    seen = Observed([final(407)], TOLD, [MISSING, WRONG])
    assert outcome(seen, Terms(right_password=False)) == "407 to the caller"


@pytest.mark.parametrize(("received", "words"), [(TOLD, "relays for anyone"), ([], "403")])
def test_an_unlisted_caller_gets_no_request_through(received: Sequence[Message], words: str) -> None:
    assert outcome(Observed([final(403)], received), Terms(listed=False)) == words
