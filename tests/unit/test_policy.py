"""The decision table of kemi.auth.session, a test row for each of its lines, and what a resend carries."""

from dataclasses import replace

import pytest

from kemi.auth.challenge import parse
from kemi.auth.session import (
    MOST_AGAIN,
    Answer,
    Answered,
    Credentials,
    GiveUp,
    answerable,
    decide,
    recalled,
    remembered,
    turns_down,
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
TRUNK = Credentials(realm="carrier", username="user", password="secret")
ANY_REALM = replace(TRUNK, realm="")
BY_MD5 = Credentials(realm="carrier", username="user", ha1=HA1_MD5)
BY_SHA256 = replace(BY_MD5, ha1=HA1_MD5 * 2)


def chosen(decision: Answer | GiveUp) -> str:
    """What is answered, or why nothing is."""
    if isinstance(decision, GiveUp):
        return f"give up: {decision.reason}"
    return f"{decision.challenge.realm} {decision.challenge.algorithm}"


DECISIONS = {
    "md5": ([MD5], TRUNK, "carrier MD5"),
    "no algorithm, no qop": ([RFC2069], TRUNK, "carrier None"),
    "any realm": ([ELSEWHERE], ANY_REALM, "elsewhere MD5"),
    "sha-256 before md5": ([SHA256, MD5], TRUNK, "carrier SHA-256"),
    "md5 before sha-256": ([MD5, SHA256], TRUNK, "carrier SHA-256"),
    "sha-512-256 is the strongest": ([MD5, SHA256, SHA512], TRUNK, "carrier SHA-512-256"),
    "plain before sess": ([SESS, MD5], TRUNK, "carrier MD5"),
    "a stronger one elsewhere": ([ELSEWHERE.replace("MD5", "SHA-256"), MD5], TRUNK, "carrier MD5"),
    "an unknown algorithm beside md5": ([MD5.replace("MD5", "SHA3-512"), MD5], TRUNK, "carrier MD5"),
    "garbage beside md5": (["Digest realm=", MD5], TRUNK, "carrier MD5"),
    "several in one field": ([f"{SHA256}, {MD5}"], TRUNK, "carrier SHA-256"),
    "ha1 of 32 digits": ([SHA256, MD5], BY_MD5, "carrier MD5"),
    "ha1 of 64 digits": ([MD5, SHA256], BY_SHA256, "carrier SHA-256"),
    "ha1 of 32 digits, and a password": ([SHA256, MD5], replace(BY_MD5, password="p"), "carrier SHA-256"),
    "ha1 and sess": ([SESS], BY_MD5, "carrier MD5-sess"),
    "auth-int alone": ([AUTH_INT], TRUNK, "carrier MD5"),
    "no username": ([MD5], replace(TRUNK, username=""), "give up: no usable auth_username"),
    "a line in the username": ([MD5], replace(TRUNK, username="a\r\nX: y"), "give up: no usable auth_username"),
    "ha1 too short": ([MD5], replace(BY_MD5, ha1=HA1_MD5[1:]), "give up: auth_ha1 is not 32 or 64 hex digits"),
    "ha1 no hex": ([MD5], replace(BY_MD5, ha1="g" + HA1_MD5[1:]), "give up: auth_ha1 is not 32 or 64 hex digits"),
    "a broken ha1 beside a password": ([MD5], replace(TRUNK, ha1="x"), "give up: auth_ha1 is not 32 or 64 hex digits"),
    "nothing": ([], TRUNK, "give up: no digest challenge"),
    "another scheme": (['Bearer realm="carrier"'], TRUNK, "give up: no digest challenge"),
    "garbage alone": (['Digest realm="carrier"', "Digest"], TRUNK, "give up: a challenge with no nonce"),
    "another realm": ([ELSEWHERE], TRUNK, "give up: realm not the trunk's"),
    "a realm in another case": ([MD5.replace("carrier", "Carrier")], TRUNK, "give up: realm not the trunk's"),
    "no secret": ([MD5], replace(TRUNK, password=""), "give up: no secret, algorithm or qop for it"),
    "no secret for sha-256": ([SHA256], BY_MD5, "give up: no secret, algorithm or qop for it"),
    "no secret for sha-512-256": ([SHA512], BY_SHA256, "give up: no secret, algorithm or qop for it"),
    "an unknown algorithm": ([MD5.replace("MD5", "SHA3-512")], TRUNK, "give up: no secret, algorithm or qop for it"),
    "an unknown qop": ([MD5.replace('"auth"', '"token"')], TRUNK, "give up: no secret, algorithm or qop for it"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "credentials", "decision"), DECISIONS.values(), ids=DECISIONS)
def test_first_challenge(fields: list[str], credentials: Credentials, decision: str) -> None:
    assert chosen(decide(407, fields, credentials, (), has_body=lambda: True)) == decision


def test_auth_int_needs_the_body() -> None:
    assert chosen(decide(407, [AUTH_INT], TRUNK, (), has_body=lambda: False)).startswith("give up")
    both = AUTH_INT.replace("auth-int", "auth-int, auth")
    assert chosen(decide(407, [both], TRUNK, (), has_body=lambda: False)) == "carrier MD5"


# --- once something was answered


def after(status: int, text: str, nc: int = 1, again: int = 0, accepted: bool = False) -> tuple[Answered, ...]:
    return (Answered(status, parse(text)[0], nc, again, accepted),)


SECOND = {
    "the same again": (407, MD5, after(407, MD5), "give up: credentials refused"),
    "a new nonce that is not stale": (407, NEW, after(407, MD5), "give up: credentials refused"),
    "stale": (407, STALE, after(407, MD5), "carrier MD5"),
    "a new nonce after one that was accepted": (407, NEW, after(407, MD5, accepted=True), "carrier MD5"),
    "the nonce that was accepted": (407, MD5, after(407, MD5, accepted=True), "give up: credentials refused"),
    "stale often": (407, STALE, after(407, MD5, again=MOST_AGAIN - 1), "carrier MD5"),
    "stale too often": (407, STALE, after(407, MD5, again=MOST_AGAIN), "give up: too many challenges"),
    "another status": (401, MD5, after(407, MD5), "carrier MD5"),
    "another realm": (407, ELSEWHERE, after(407, MD5), "elsewhere MD5"),
    "five in all": (
        407, ELSEWHERE, after(407, MD5, again=3) + after(401, MD5), "give up: too many challenges",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "field", "answered", "decision"), SECOND.values(), ids=SECOND)
def test_later_challenge(status: int, field: str, answered: tuple[Answered, ...], decision: str) -> None:
    assert chosen(decide(status, [field], ANY_REALM, answered, has_body=lambda: True)) == decision


def carried(status: int, field: str, answered: tuple[Answered, ...]) -> list[tuple[int, str, int, int, bool]]:
    decision = decide(status, [field], ANY_REALM, answered, has_body=lambda: True)
    assert isinstance(decision, Answer)
    return [(one.status, one.challenge.nonce, one.nc, one.again, one.accepted) for one in decision.carried]


def test_a_resend_carries_what_the_proxy_before_wanted_too() -> None:
    proxys = after(407, MD5)
    assert carried(401, NEW, proxys) == [(407, "n1", 2, 0, True), (401, "n2", 1, 0, False)]


def test_a_proxy_whose_nonces_serve_once_asks_again_and_both_are_carried() -> None:
    first = decide(401, [NEW], ANY_REALM, after(407, MD5), has_body=lambda: True)
    assert isinstance(first, Answer)
    assert carried(407, MD5.replace("n1", "n3"), first.carried) == [(407, "n3", 1, 1, False), (401, "n2", 2, 0, False)]


def test_a_proxy_that_asks_again_says_nothing_of_the_far_end() -> None:
    answered = after(407, MD5, accepted=True) + after(401, NEW)
    again = decide(407, [MD5.replace("n1", "n3")], ANY_REALM, answered, has_body=lambda: True)
    assert isinstance(again, Answer)
    refused = decide(401, [NEW.replace("n2", "n4")], ANY_REALM, again.carried, has_body=lambda: True)
    assert chosen(refused) == "give up: credentials refused"


def test_a_nonce_that_is_used_again_counts_on() -> None:
    assert carried(407, f"{MD5}, stale=true", after(407, MD5)) == [(407, "n1", 2, 1, False)]


def test_what_was_answered_is_remembered_as_it_was() -> None:
    answered = after(407, 'Digest realm="ü \\"x\\"", nonce="n", opaque="", qop="auth,auth-int"', nc=3, accepted=True)
    assert recalled(remembered(answered)) == answered
    assert recalled("") == ()


# --- answers that the request carried unasked


def unasked(*before: Answered) -> tuple[Answered, ...]:
    return tuple(one._replace(asked=False) for one in before)


def test_an_unasked_answer_that_is_turned_down_says_nothing_of_the_credentials() -> None:
    for field, sent in ((NEW, ("n2", 1)), (STALE, ("n2", 1)), (MD5, ("n1", 8))):
        answered = unasked(*after(407, MD5, nc=7))
        assert carried(407, field, answered) == [(407, *sent, 0, False)]
        first = decide(407, [field], ANY_REALM, answered, has_body=lambda: True)
        assert isinstance(first, Answer)
        second = decide(407, [NEW.replace("n2", "n3")], ANY_REALM, first.carried, has_body=lambda: True)
        assert chosen(second) == "give up: credentials refused"


def test_unasked_answers_do_not_count_among_the_five() -> None:
    two = unasked(*after(407, MD5), *after(401, MD5))
    assert len(carried(407, ELSEWHERE, two + after(407, NEW.replace("carrier", "x"), again=3))) == 4


def test_what_one_turns_down_the_other_gets_again() -> None:
    both = unasked(*after(407, MD5, nc=4), *after(401, NEW, nc=4))
    assert carried(401, NEW.replace("n2", "n3"), both) == [(407, "n1", 5, 0, True), (401, "n3", 1, 0, False)]


TURNED_DOWN = {
    "challenged anew": (407, unasked(*after(407, MD5)), True),
    "the far end asks": (401, unasked(*after(407, MD5)), False),
    "refused outright": (403, unasked(*after(407, MD5)), True),
    "refused after a challenge": (403, unasked(*after(407, MD5)) + after(401, MD5), False),
    "a challenge that was asked": (407, after(407, MD5), False),
    "busy": (486, unasked(*after(407, MD5)), False),
    "nothing carried": (403, (), False),
}


@pytest.mark.parametrize(("status", "answered", "is_so"), TURNED_DOWN.values(), ids=TURNED_DOWN)
def test_what_turns_unasked_answers_down(status: int, answered: tuple[Answered, ...], is_so: bool) -> None:
    assert turns_down(status, answered) == is_so


ANSWERABLE = {
    "as before": (MD5, TRUNK, True),
    "another realm by now": (MD5, replace(TRUNK, realm="elsewhere"), False),
    "no password any more": (SHA256, BY_MD5, False),
    "a broken row": (MD5, replace(TRUNK, username=""), False),
    "a body that cannot be read": (AUTH_INT, TRUNK, False),
}


@pytest.mark.parametrize(("field", "credentials", "is_so"), ANSWERABLE.values(), ids=ANSWERABLE)
def test_what_was_accepted_is_answered_unasked_as_the_row_is_now(
    field: str, credentials: Credentials, is_so: bool
) -> None:
    known = unasked(*after(407, field))
    assert answerable(known, credentials, has_body=lambda: False) == (known if is_so else ())


# --- which way out

UAC = {
    "md5 with auth": ([MD5], TRUNK, True),
    "no algorithm, no qop": ([RFC2069], TRUNK, True),
    "auth and auth-int": ([MD5.replace('"auth"', '"auth,auth-int"')], TRUNK, True),
    "auth-int and auth": ([MD5.replace('"auth"', '"auth-int,auth"')], TRUNK, False),
    "an empty list element": ([MD5.replace(", qop", ", ,qop")], TRUNK, False),
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
    "two in one field": ([f"{MD5}, {ELSEWHERE}"], TRUNK, False),
    "an empty opaque": ([f'{MD5}, opaque=""'], TRUNK, False),
    "a quoted pair": ([MD5.replace("carrier", "car\\rier")], TRUNK, False),
    "a quote in the username": ([MD5], replace(TRUNK, username='a"b'), False),
    "a control character in the password": ([MD5], replace(TRUNK, password="a\0b"), False),
    "ha1": ([MD5], BY_MD5, False),
}


@pytest.mark.parametrize(("fields", "credentials", "suits"), UAC.values(), ids=UAC)
def test_uac_auth_is_taken_where_it_is_right(fields: list[str], credentials: Credentials, suits: bool) -> None:
    decision = decide(407, fields, credentials, (), has_body=lambda: True)
    assert isinstance(decision, Answer)
    assert decision.by_uac_auth == suits


def test_uac_auth_carries_one_answer_with_a_new_nonce() -> None:
    for status, field, answered in ((401, MD5, after(407, MD5)), (407, f"{MD5}, stale=true", after(407, MD5))):
        decision = decide(status, [field], TRUNK, answered, has_body=lambda: True)
        assert isinstance(decision, Answer)
        assert not decision.by_uac_auth


def test_a_secret_is_in_no_repr() -> None:
    assert "secret" not in repr(TRUNK)
    assert HA1_MD5 not in repr(BY_MD5)
