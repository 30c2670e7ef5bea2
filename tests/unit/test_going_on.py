"""Rule 8 of kemi.auth.session: which failures move a request on."""

from __future__ import annotations

import pytest

from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import parse
from kemi.auth.credentials import Credentials
from kemi.auth.session import Cancelled, Decision, Failure, NextTrunk, PassOn, Refuse, Resend, after_failure

MD5 = 'Digest realm="carrier", nonce="n1", algorithm=MD5, qop="auth"'
ELSEWHERE = MD5.replace("carrier", "elsewhere")
TRUNK = Credentials("sip:carrier", realm="carrier", username="user", password="secret")
ATTEMPT = Attempt("trunk", "sip:carrier", "INVITE")
GOING_ON = ATTEMPT._replace(goes_on=True)
NEXT_ON = frozenset({500, 503})
FAILURES = {
    "a status of TRUNKAUTH_NEXT_ON": (Failure(503), GOING_ON, NextTrunk()),
    "another status": (Failure(404), GOING_ON, PassOn()),
    "silence": (Failure(408, is_silent=True), GOING_ON, NextTrunk()),
    "silence to a MESSAGE": (Failure(408, is_silent=True), GOING_ON._replace(method="MESSAGE"), PassOn()),
    "a 408 of the carrier's own": (Failure(408), GOING_ON, PassOn()),
    "a 403 that speaks of a limit": (Failure(403, says_limit=True), GOING_ON, NextTrunk()),
    "any other 403": (Failure(403), GOING_ON, PassOn()),
    "after it rang": (Failure(503), GOING_ON._replace(is_accepted=True), PassOn()),
    "after the caller cancelled": (Failure(503, is_cancelled=True), GOING_ON, Cancelled()),
    "silence after the caller cancelled": (Failure(408, is_silent=True, is_cancelled=True), ATTEMPT, Cancelled()),
    "without another place": (Failure(503), ATTEMPT, PassOn()),
    "a limit without another place": (Failure(403, says_limit=True), ATTEMPT, PassOn()),
}


@pytest.mark.parametrize(("failure", "attempt", "decision"), FAILURES.values(), ids=FAILURES)
def test_what_moves_a_request_on(failure: Failure, attempt: Attempt, decision: Decision) -> None:
    assert after_failure(failure, attempt, TRUNK, NEXT_ON) == decision


def test_a_refusal_moves_a_request_on() -> None:
    for credentials, reason in ((TRUNK, "realm not the trunk's"), (None, "no trunk that may answer")):
        decision = after_failure(Failure(407, (ELSEWHERE,)), GOING_ON, credentials, NEXT_ON)
        assert isinstance(decision, NextTrunk)
        assert decision.refusal
        assert decision.refusal.reason == reason
    rang = GOING_ON._replace(is_accepted=True)
    assert isinstance(after_failure(Failure(407, (ELSEWHERE,)), rang, TRUNK, NEXT_ON), Refuse)
    assert isinstance(after_failure(Failure(407, (MD5,)), GOING_ON, TRUNK, NEXT_ON), Resend)


def test_a_403_that_speaks_of_a_limit_costs_no_second_call() -> None:
    attempt = GOING_ON._replace(sent=(Sent(407, parse(MD5)[0], challenged=False),))
    assert isinstance(after_failure(Failure(403), attempt, TRUNK, NEXT_ON), Resend)
    assert after_failure(Failure(403, says_limit=True), attempt, TRUNK, NEXT_ON) == NextTrunk()
