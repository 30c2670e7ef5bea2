"""The rules and the decision table of kemi.auth.session, a test row for each line, and the responses of a resend."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest

from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import parse
from kemi.auth.credentials import Credentials
from kemi.auth.nonces import UNKNOWN, Record
from kemi.auth.resend import MOST_ANSWERED, Asked
from kemi.auth.session import (
    Cancelled,
    Decision,
    Failure,
    PassOn,
    Refuse,
    Resend,
    after_failure,
    first_request,
)

MD5 = 'Digest realm="carrier", nonce="n1", algorithm=MD5, qop="auth"'
NEW = MD5.replace("n1", "n2")
STALE = f"{NEW}, stale=true"
SHA256 = MD5.replace("MD5", "SHA-256")
SHA512 = MD5.replace("MD5", "SHA-512-256")
SESS = MD5.replace("MD5", "MD5-sess")
AUTH_INT = MD5.replace('"auth"', '"auth-int"')
RFC2069 = 'Digest realm="carrier", nonce="n1"'
ELSEWHERE = MD5.replace("carrier", "elsewhere")

HA1_MD5 = "0123456789abcdefABCDEF0123456789"
TRUNK = Credentials("sip:carrier", realm="carrier", username="user", password="secret")
ANY_REALM = replace(TRUNK, realm="")
BY_MD5 = Credentials("sip:carrier", realm="carrier", username="user", ha1=HA1_MD5)
BY_SHA256 = replace(BY_MD5, ha1=HA1_MD5 * 2)


ATTEMPT = Attempt("trunk", "sip:carrier", "INVITE")


def decide(
    status: int,
    fields: list[str],
    credentials: Credentials,
    sent: tuple[Sent, ...] = (),
    can_read_body: bool = True,
    asked: Asked = frozenset(),
    again: int = 0,
) -> Decision:
    """Return the decision about a challenge to an attempt that carried these responses. again: challenges that were
    answered before those.
    """
    failure = Failure(status, tuple(fields), can_read_body=can_read_body, asked=asked)
    answered = sum(one.challenged for one in sent) + again
    return after_failure(failure, ATTEMPT._replace(sent=sent, answered=answered), credentials)


def resent(decision: Decision) -> Resend:
    assert isinstance(decision, Resend)
    return decision


def chosen(decision: Decision) -> str:
    """Return the challenges that are answered, or the reason of the refusal."""
    if isinstance(decision, Refuse):
        return f"refuse: {decision.reason}"
    return ", ".join([f"{challenge.realm} {challenge.algorithm}" for challenge in resent(decision).challenges])


DECISIONS = {
    "md5": ([MD5], TRUNK, "carrier MD5"),
    "no algorithm, no qop": ([RFC2069], TRUNK, "carrier None"),
    "any realm": ([ELSEWHERE], ANY_REALM, "elsewhere MD5"),
    "sha-256 before md5": ([SHA256, MD5], TRUNK, "carrier SHA-256"),
    "md5 before sha-256": ([MD5, SHA256], TRUNK, "carrier SHA-256"),
    "sha-512-256 is the strongest": ([MD5, SHA256, SHA512], TRUNK, "carrier SHA-512-256"),
    "plain before sess": ([SESS, MD5], TRUNK, "carrier MD5"),
    "a stronger one elsewhere": ([ELSEWHERE.replace("MD5", "SHA-256"), MD5], TRUNK, "carrier MD5"),
    "two realms": ([MD5, ELSEWHERE], ANY_REALM, "carrier MD5, elsewhere MD5"),
    "two realms in one field": ([f"{ELSEWHERE}, {MD5}"], ANY_REALM, "elsewhere MD5, carrier MD5"),
    "two realms, and two algorithms of one": ([MD5, ELSEWHERE, SHA256], ANY_REALM, "carrier SHA-256, elsewhere MD5"),
    "two realms, one that cannot be answered": (
        [MD5, ELSEWHERE.replace("MD5", "SHA3-512")], ANY_REALM, "carrier MD5",
    ),
    "two realms, one that is the row's": ([ELSEWHERE, MD5], TRUNK, "carrier MD5"),
    "an unknown algorithm beside md5": ([MD5.replace("MD5", "SHA3-512"), MD5], TRUNK, "carrier MD5"),
    "garbage beside md5": (["Digest realm=", MD5], TRUNK, "carrier MD5"),
    "several in one field": ([f"{SHA256}, {MD5}"], TRUNK, "carrier SHA-256"),
    "ha1 of 32 digits": ([SHA256, MD5], BY_MD5, "carrier MD5"),
    "ha1 of 64 digits": ([MD5, SHA256], BY_SHA256, "carrier SHA-256"),
    "ha1 of 32 digits, and a password": ([SHA256, MD5], replace(BY_MD5, password="p"), "carrier SHA-256"),
    "ha1 and sess": ([SESS], BY_MD5, "carrier MD5-sess"),
    "auth-int alone": ([AUTH_INT], TRUNK, "carrier MD5"),
    "nothing": ([], TRUNK, "refuse: no digest challenge"),
    "another scheme": (['Bearer realm="carrier"'], TRUNK, "refuse: no digest challenge"),
    "garbage alone": (['Digest realm="carrier"', "Digest"], TRUNK, "refuse: a challenge with no nonce"),
    "another realm": ([ELSEWHERE], TRUNK, "refuse: realm not the trunk's"),
    "a realm in another case": ([MD5.replace("carrier", "Carrier")], TRUNK, "refuse: realm not the trunk's"),
    "no secret": ([MD5], replace(TRUNK, password=""), "refuse: no secret, algorithm or qop for it"),
    "no secret for sha-256": ([SHA256], BY_MD5, "refuse: no secret, algorithm or qop for it"),
    "no secret for sha-512-256": ([SHA512], BY_SHA256, "refuse: no secret, algorithm or qop for it"),
    "too weak": ([MD5], replace(TRUNK, weakest="SHA-256"), "refuse: no secret, algorithm or qop for it"),
    "strong enough": ([SHA512], replace(TRUNK, weakest="SHA-256"), "carrier SHA-512-256"),
    "an unknown algorithm": ([MD5.replace("MD5", "SHA3-512")], TRUNK, "refuse: no secret, algorithm or qop for it"),
    "an unknown qop": ([MD5.replace('"auth"', '"token"')], TRUNK, "refuse: no secret, algorithm or qop for it"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "credentials", "decision"), DECISIONS.values(), ids=DECISIONS)
def test_first_challenge(fields: list[str], credentials: Credentials, decision: str) -> None:
    assert chosen(decide(407, fields, credentials)) == decision


def test_auth_int_needs_the_body() -> None:
    assert chosen(decide(407, [AUTH_INT], TRUNK, can_read_body=False)).startswith("refuse: no secret, algorithm or qop")
    both = AUTH_INT.replace("auth-int", "auth-int, auth")
    assert chosen(decide(407, [both], TRUNK, can_read_body=False)) == "carrier MD5"


# --- once something was answered


def after(status: int, text: str, nc: int = 1, proven: bool = False) -> tuple[Sent, ...]:
    return (Sent(status, parse(text)[0], nc, proven),)


SECOND = {
    "the same again": (407, MD5, after(407, MD5), 0, "refuse: credentials refused"),
    "a new nonce that is not stale": (407, NEW, after(407, MD5), 0, "refuse: credentials refused"),
    "stale": (407, STALE, after(407, MD5), 0, "carrier MD5"),
    "a new nonce after one that was proven": (407, NEW, after(407, MD5, proven=True), 0, "carrier MD5"),
    "the nonce that was proven": (407, MD5, after(407, MD5, proven=True), 0, "refuse: credentials refused"),
    "stale often": (407, STALE, after(407, MD5), MOST_ANSWERED - 2, "carrier MD5"),
    "stale too often": (407, STALE, after(407, MD5), MOST_ANSWERED - 1, "refuse: too many challenges"),
    "another status": (401, MD5, after(407, MD5), 0, "carrier MD5"),
    "another realm": (407, ELSEWHERE, after(407, MD5), 0, "elsewhere MD5"),
    "as many as may be, in all": (407, ELSEWHERE, after(407, MD5) + after(401, MD5), 1, "elsewhere MD5"),
    "too many in all": (
        407, ELSEWHERE, after(407, MD5) + after(401, MD5), 2, "refuse: too many challenges",
    ),
}  # fmt: skip


def test_all_realms_of_one_reply_are_answered_at_once() -> None:
    first = resent(decide(407, [MD5, ELSEWHERE], ANY_REALM))
    assert (first.suits_uac_auth, carried_by(first)) == (False, [(407, "n1", 1, False)] * 2)
    assert [one.challenge.realm for one in first.attempt.sent] == ["carrier", "elsewhere"]
    again = decide(407, [MD5, f"{ELSEWHERE}, stale=true"], ANY_REALM, first.attempt.sent)
    assert again == Refuse("credentials refused", parse(MD5)[0])
    stale = resent(decide(407, [STALE, f"{ELSEWHERE}, stale=true"], ANY_REALM, first.attempt.sent))
    assert carried_by(stale) == [(407, "n2", 1, False), (407, "n1", 2, False)]


def test_a_reply_with_more_realms_than_may_be_answered_is_refused() -> None:
    realms = [MD5.replace("carrier", f"realm {number}") for number in range(MOST_ANSWERED + 1)]
    assert len(resent(decide(407, realms[1:], ANY_REALM)).challenges) == MOST_ANSWERED
    assert chosen(decide(407, realms, ANY_REALM)) == "refuse: too many challenges"
    assert chosen(decide(407, realms[:2], ANY_REALM, after(401, MD5), again=3)) == "refuse: too many challenges"


@pytest.mark.parametrize(("status", "kind"), [(401, 407), (407, 401)])
def test_the_header_field_says_which_response_is_wanted(status: int, kind: int) -> None:
    sent = preemptive(*after(kind, NEW)) + after(status, MD5)
    decision = resent(after_failure(Failure(status, others=(MD5,)), ATTEMPT._replace(sent=sent), TRUNK))
    assert carried_by(decision) == [(kind, "n1", 1, False), (status, "n1", 2, False)]
    assert decision.rejected == sent[:1]
    first = resent(after_failure(Failure(status, others=(MD5,)), ATTEMPT, TRUNK))
    assert (first.is_plain, first.attempt.sent[0].status) == (False, kind)


@pytest.mark.parametrize(("status", "field", "sent", "again", "decision"), SECOND.values(), ids=SECOND)
def test_later_challenge(status: int, field: str, sent: tuple[Sent, ...], again: int, decision: str) -> None:
    assert chosen(decide(status, [field], ANY_REALM, sent, again=again)) == decision


Carried = list[tuple[int, str, int, bool]]


def carried(status: int, field: str, sent: tuple[Sent, ...], again: int = 0) -> Carried:
    return carried_by(resent(decide(status, [field], ANY_REALM, sent, again=again)))


def carried_by(resend: Resend) -> Carried:
    return [(one.status, one.challenge.nonce, one.nc, one.proven) for one in resend.attempt.sent]


def test_a_resend_carries_what_the_proxy_before_wanted_too() -> None:
    proxys = after(407, MD5)
    assert carried(401, NEW, proxys) == [(407, "n1", 2, True), (401, "n2", 1, False)]


def test_a_proxy_whose_nonces_serve_once_asks_again_and_both_are_carried() -> None:
    first = resent(decide(401, [NEW], ANY_REALM, after(407, MD5)))
    assert carried(407, MD5.replace("n1", "n3"), first.attempt.sent) == [
        (407, "n3", 1, False),
        (401, "n2", 2, False),
    ]


def test_a_proxy_that_asks_again_says_nothing_of_the_far_end() -> None:
    answered = after(407, MD5, proven=True) + after(401, NEW)
    again = resent(decide(407, [MD5.replace("n1", "n3")], ANY_REALM, answered))
    refused = decide(401, [NEW.replace("n2", "n4")], ANY_REALM, again.attempt.sent)
    assert chosen(refused) == "refuse: credentials refused"


def test_a_nonce_that_is_used_again_counts_on() -> None:
    assert carried(407, f"{MD5}, stale=true", after(407, MD5)) == [(407, "n1", 2, False)]


# --- preemptive responses


def preemptive(*before: Sent) -> tuple[Sent, ...]:
    return tuple(one._replace(challenged=False) for one in before)


def test_a_rejected_preemptive_response_says_nothing_of_the_credentials() -> None:
    for field, sent in ((NEW, ("n2", 1)), (STALE, ("n2", 1)), (MD5, ("n1", 8))):
        answered = preemptive(*after(407, MD5, nc=7))
        assert carried(407, field, answered) == [(407, *sent, False)]
        first = resent(decide(407, [field], ANY_REALM, answered))
        second = decide(407, [NEW.replace("n2", "n3")], ANY_REALM, first.attempt.sent)
        assert chosen(second) == "refuse: credentials refused"


def test_preemptive_responses_do_not_count_as_answered() -> None:
    two = preemptive(*after(401, MD5), *after(401, NEW))
    assert len(carried(407, ELSEWHERE, two + after(407, NEW.replace("carrier", "x")), again=2)) == 4


def test_a_preemptive_response_that_a_challenge_of_another_realm_contradicts_is_left_out() -> None:
    """Nodes of one carrier may have realms of their own; the one that asks may read no further than the first."""
    assert carried(407, ELSEWHERE, preemptive(*after(407, NEW))) == [(407, "n1", 1, False)]
    assert carried(407, ELSEWHERE, preemptive(*after(401, NEW))) == [(401, "n2", 2, True), (407, "n1", 1, False)]
    assert carried(407, ELSEWHERE, after(407, NEW)) == [(407, "n2", 2, True), (407, "n1", 1, False)]


def test_the_response_that_was_not_rejected_is_sent_again() -> None:
    both = preemptive(*after(407, MD5, nc=4), *after(401, NEW, nc=4))
    assert carried(401, NEW.replace("n2", "n3"), both) == [(407, "n1", 5, True), (401, "n3", 1, False)]


REJECTED = {
    "challenged anew": (407, preemptive(*after(407, MD5)), True),
    "the far end challenges": (401, preemptive(*after(407, MD5)), False),
    "forbidden": (403, preemptive(*after(407, MD5)), True),
    "forbidden after a challenge": (403, preemptive(*after(407, MD5)) + after(401, MD5), False),
    "challenged before": (407, after(407, MD5), False),
    "busy": (486, preemptive(*after(407, MD5)), False),
    "nothing sent": (403, (), False),
}


@pytest.mark.parametrize(("status", "sent", "is_so"), REJECTED.values(), ids=REJECTED)
def test_which_failures_reject_preemptive_responses(status: int, sent: tuple[Sent, ...], is_so: bool) -> None:
    decision = decide(status, [MD5] if status in (401, 407) else [], ANY_REALM, sent)
    rejected = decision.rejected if isinstance(decision, Refuse | Resend) else ()
    assert rejected == (sent if is_so else ())


def test_forbidden_preemptive_responses_are_left_out_once() -> None:
    sent = preemptive(*after(407, MD5))
    resend = resent(decide(403, [], TRUNK, sent))
    assert (resend.attempt.sent, resend.challenges, resend.challenge) == ((), (), None)
    assert after_failure(Failure(403), resend.attempt, TRUNK) == PassOn()
    assert after_failure(Failure(403), ATTEMPT._replace(sent=sent, is_accepted=True), TRUNK) == PassOn()


HELD = {
    "as before": (MD5, TRUNK, True),
    "another realm by now": (MD5, replace(TRUNK, realm="elsewhere"), False),
    "no password any more": (SHA256, BY_MD5, False),
    "the body is covered": (AUTH_INT, TRUNK, True),
}


@pytest.mark.parametrize(("field", "credentials", "is_so"), HELD.values(), ids=HELD)
def test_a_new_request_carries_what_the_row_answers_now(field: str, credentials: Credentials, is_so: bool) -> None:
    held = preemptive(*after(407, field))
    found = first_request(Record(held, ("counter",)), credentials)
    assert (
        (found.sent, found.counters, found.responses.covers_body) == (held, ("counter",), field == AUTH_INT)
        if (is_so and found)
        else found is None
    )


def test_responses_are_made_ready_once_per_row_and_record() -> None:
    record = Record(preemptive(*after(407, MD5)), ("counter",))
    ready = first_request(record, TRUNK)
    assert first_request(record, TRUNK) is ready
    assert first_request(record, replace(TRUNK)) is not ready
    assert first_request(UNKNOWN, TRUNK) is None


def test_what_is_ready_goes_with_its_row() -> None:
    row, record = replace(TRUNK), Record((Sent(407, parse(MD5)[0]),), ("counter",))
    ready = first_request(record, row)
    assert ready is not None
    secret = weakref.ref(ready.responses.made[0])
    del row, ready
    assert secret() is None


# --- who may get credentials

ASKERS = {
    "the trunk's carrier": (Failure(407, (MD5,)), ATTEMPT, "carrier MD5"),
    "the row leads elsewhere by now": (
        Failure(407, (MD5,)), ATTEMPT._replace(destination="sip:former"), "refuse: not asked by the trunk's carrier",
    ),
    "somebody else than the dialog's peer": (
        Failure(407, (MD5,), is_carriers=False), ATTEMPT._replace(in_dialog=True),
        "refuse: not asked by the trunk's carrier",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("failure", "attempt", "decision"), ASKERS.values(), ids=ASKERS)
def test_who_is_answered(failure: Failure, attempt: Attempt, decision: str) -> None:
    assert chosen(after_failure(failure, attempt, TRUNK)) == decision


def test_without_a_row_nobody_is_answered() -> None:
    assert after_failure(Failure(407, (MD5,)), ATTEMPT, None) == Refuse("no trunk that may answer")


def test_a_cancelled_request_is_not_sent_again() -> None:
    failure = Failure(407, (MD5,), is_cancelled=True)
    assert after_failure(failure, ATTEMPT, TRUNK) == Cancelled()
    assert after_failure(failure._replace(status=403), ATTEMPT, TRUNK) == PassOn()


# --- which way out

UAC = {
    "md5 with auth": ([MD5], TRUNK, True),
    "no algorithm, no qop": ([RFC2069], TRUNK, True),
    "auth and auth-int": ([MD5.replace('"auth"', '"auth,auth-int"')], TRUNK, True),
    "auth-int and auth": ([MD5.replace('"auth"', '"auth-int,auth"')], TRUNK, False),
    "an empty list element": ([MD5.replace(", qop", ", ,qop")], TRUNK, False),
    "a space in front of auth, at which the C code crashes": ([MD5.replace('"auth"', '" auth"')], TRUNK, False),
    "a second field": ([MD5, SHA256.replace("SHA-256", "SHA3-512")], TRUNK, True),
    "stale": ([STALE], TRUNK, True),
    "sha-256": ([SHA256], TRUNK, False),
    "sess": ([SESS], TRUNK, False),
    "md5 in lower case": ([MD5.replace("MD5", "md5")], TRUNK, False),
    "auth in upper case": ([MD5.replace('"auth"', '"AUTH"')], TRUNK, False),
    "auth not first": ([MD5.replace('"auth"', '"token,auth"')], TRUNK, False),
    "auth-int alone": ([AUTH_INT], TRUNK, False),
    "not the first field": ([SHA256.replace("SHA-256", "SHA3-512"), MD5], TRUNK, False),
    "behind garbage": (["Digest realm=", MD5], TRUNK, False),
    "behind another realm": ([ELSEWHERE, MD5], TRUNK, False),
    "two in one field": ([f"{MD5}, {ELSEWHERE}"], TRUNK, False),
    "an empty opaque": ([f'{MD5}, opaque=""'], TRUNK, False),
    "a quoted pair": ([MD5.replace("carrier", "car\\rier")], TRUNK, False),
    "a quote in the username": ([MD5], replace(TRUNK, username='a"b'), False),
    "a control character in the password": ([MD5], replace(TRUNK, password="a\0b"), False),
    "ha1": ([MD5], BY_MD5, False),
}


@pytest.mark.parametrize(("fields", "credentials", "suits"), UAC.values(), ids=UAC)
def test_uac_auth_answers_where_it_is_right(fields: list[str], credentials: Credentials, suits: bool) -> None:
    assert resent(decide(407, fields, credentials)).suits_uac_auth == suits


def test_uac_auth_sends_one_response_with_a_new_nonce() -> None:
    for status, field, sent in ((401, MD5, after(407, MD5)), (407, f"{MD5}, stale=true", after(407, MD5))):
        assert not resent(decide(status, [field], TRUNK, sent)).suits_uac_auth
    first = resent(decide(407, [MD5], TRUNK))
    counted = first.attempt._replace(sent=(first.attempt.sent[0]._replace(nc=2),))
    assert not first._replace(attempt=counted).suits_uac_auth


def test_a_secret_is_in_no_repr() -> None:
    assert "secret" not in repr(TRUNK)
    assert HA1_MD5 not in repr(BY_MD5)


WEAKEST = [("MD5", (MD5, SHA256, SHA512)), ("SHA-256", (SHA256, SHA512)), ("SHA-512-256", (SHA512,))]


@pytest.mark.parametrize(("weakest", "answered"), WEAKEST)
def test_a_row_may_refuse_weaker_hashes(weakest: str, answered: tuple[str, ...]) -> None:
    """Whoever stands between takes the stronger challenge out, and reads a digest that can be guessed from."""
    credentials = replace(TRUNK, weakest=weakest)
    for field in (MD5, SESS, SHA256, SHA512):
        decision = after_failure(Failure(407, (field,)), Attempt("t", destination="sip:carrier"), credentials)
        assert isinstance(decision, Resend) == (field in answered or (field is SESS and MD5 in answered)), decision
    held = Record(held=(Sent(407, parse(MD5)[0]),), counters=("",))
    assert (first_request(held, credentials) is not None) == (MD5 in answered)
