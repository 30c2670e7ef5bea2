"""The decision table of kemi.policy, a test row for each of its lines."""

from dataclasses import replace

import pytest

from kemi.challenge import Challenge
from kemi.policy import MOST_ANSWERS, Answer, Credentials, GiveUp, decide

MD5 = Challenge("carrier", "nonce-1", algorithm="MD5", qop=("auth",))
STALE = replace(MD5, nonce="nonce-2", stale=True)
RFC2069 = Challenge("carrier", "nonce-1")
SHA256 = replace(MD5, algorithm="SHA-256")
MD5_SESS = replace(MD5, algorithm="MD5-sess")
AUTH_INT = replace(MD5, qop=("auth-int",))
ELSEWHERE = replace(MD5, realm="elsewhere")

TRUNK = Credentials(realm="carrier", username="user", password="secret")
ANY_REALM = replace(TRUNK, realm="")

DECISIONS = {
    "md5 with auth": ([MD5], TRUNK, 0, Answer(MD5)),
    "md5 without qop": ([RFC2069], TRUNK, 0, Answer(RFC2069)),
    "auth among others": ([replace(MD5, qop=("auth-int", "auth"))], TRUNK, 0, Answer(replace(MD5, qop=("auth-int", "auth")))),
    "lower case algorithm": ([replace(MD5, algorithm="md5")], TRUNK, 0, Answer(replace(MD5, algorithm="md5"))),
    "any realm": ([ELSEWHERE], ANY_REALM, 0, Answer(ELSEWHERE)),
    "sha-256, then md5": ([SHA256, MD5], TRUNK, 0, Answer(MD5)),
    "stale once": ([STALE], TRUNK, 1, Answer(STALE)),
    "no challenge": ([], TRUNK, 0, GiveUp("no digest challenge")),
    "too many": ([STALE], TRUNK, MOST_ANSWERS, GiveUp("too many challenges", STALE)),
    "refused": ([MD5], TRUNK, 1, GiveUp("credentials refused", MD5)),
    "stale for another realm": ([replace(ELSEWHERE, stale=True), MD5], TRUNK, 1, GiveUp("credentials refused", MD5)),
    "another realm": ([ELSEWHERE], TRUNK, 0, GiveUp("realm not the trunk's", ELSEWHERE)),
    "realm in another case": ([replace(MD5, realm="CARRIER")], TRUNK, 0, GiveUp("realm not the trunk's", replace(MD5, realm="CARRIER"))),
    "no username": ([MD5], replace(TRUNK, username=""), 0, GiveUp("no auth_username", MD5)),
    "no password": ([MD5], replace(TRUNK, password=""), 0, GiveUp("no auth_password", MD5)),
    "sha-256 alone": ([SHA256], TRUNK, 0, GiveUp("algorithm or qop not answered", SHA256)),
    "auth-int alone": ([AUTH_INT], TRUNK, 0, GiveUp("algorithm or qop not answered", AUTH_INT)),
    "md5-sess": ([MD5_SESS], TRUNK, 0, GiveUp("algorithm or qop not answered", MD5_SESS)),
    # uac_auth() would take the first one that it can parse, which is not ours to answer
    "md5-sess before md5": ([MD5_SESS, MD5], TRUNK, 0, GiveUp("algorithm or qop not answered", MD5_SESS)),
    "auth-int before auth": ([AUTH_INT, MD5], TRUNK, 0, GiveUp("algorithm or qop not answered", AUTH_INT)),
    "another realm before ours": ([ELSEWHERE, MD5], TRUNK, 0, GiveUp("algorithm or qop not answered", MD5)),
}  # fmt: skip


@pytest.mark.parametrize(("challenges", "credentials", "answered", "decision"), DECISIONS.values(), ids=DECISIONS)
def test_decision(
    challenges: list[Challenge], credentials: Credentials, answered: int, decision: Answer | GiveUp
) -> None:
    assert decide(challenges, credentials, answered) == decision


def test_a_password_is_in_no_repr() -> None:
    assert "secret" not in repr(TRUNK)
