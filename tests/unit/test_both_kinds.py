"""Replies with challenges of both kinds: a proxy that forks puts those of all branches into one (RFC 3261 16.7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kemi.auth.attempt import Sent
from kemi.auth.challenge import parse
from kemi.auth.credentials import Credentials
from kemi.auth.resend import MOST_ANSWERED, Asked
from kemi.auth.session import Decision, Failure, Refuse, Resend, after_failure
from tests.unit.test_session import (
    ANY_REALM,
    ATTEMPT,
    ELSEWHERE,
    MD5,
    NEW,
    SHA256,
    STALE,
    TRUNK,
    after,
    carried_by,
    chosen,
    preemptive,
    resent,
)

UNKNOWN = MD5.replace("MD5", "SHA3-512")
PROXY, SERVER = (407, "carrier"), (401, "carrier")
ALONE = replace(ANY_REALM, asks_alone=True)
FAR_END = replace(TRUNK, answers_far_end=True)
REFUSED = "refuse: not as the trunk's carrier asks"


def decide(
    by_proxy: str,
    by_server: str,
    credentials: Credentials = ANY_REALM,
    sent: tuple[Sent, ...] = (),
    asked: Asked = frozenset(),
    again: int = 0,
) -> Decision:
    """Return the decision about a 407 with one challenge of each kind."""
    attempt = ATTEMPT._replace(sent=sent, answered=sum(one.challenged for one in sent) + again)
    return after_failure(Failure(407, (by_proxy,), (by_server,), asked=asked), attempt, credentials)


def answered(decision: Decision) -> list[tuple[int, str, str | None]]:
    """Return kind, realm and algorithm of what the resend carries."""
    sent = resent(decision).attempt.sent
    return [(one.status, one.challenge.realm, one.challenge.algorithm) for one in sent]


FIRST = {
    "both": (MD5, MD5, ANY_REALM, [(407, "carrier", "MD5"), (401, "carrier", "MD5")]),
    "of two realms": (MD5, ELSEWHERE, ANY_REALM, [(407, "carrier", "MD5"), (401, "elsewhere", "MD5")]),
    "the strongest of each kind": (
        f"{MD5}, {SHA256}", f"{SHA256}, {MD5}", TRUNK, [(407, "carrier", "SHA-256"), (401, "carrier", "SHA-256")],
    ),
    "another realm than the row's": (MD5, ELSEWHERE, TRUNK, [(407, "carrier", "MD5")]),
    "the other kind alone is the row's": (ELSEWHERE, MD5, TRUNK, [(401, "carrier", "MD5")]),
    "the other kind alone can be answered": (UNKNOWN, MD5, TRUNK, [(401, "carrier", "MD5")]),
    "the other kind alone is Digest": ("Bearer", MD5, TRUNK, [(401, "carrier", "MD5")]),
    "the other kind alone can be read": ("Digest realm=", MD5, TRUNK, [(401, "carrier", "MD5")]),
    "a carrier that asks alone": (MD5, MD5, ALONE, [(407, "carrier", "MD5")]),
    "a far end may be answered": (MD5, MD5, FAR_END, [(407, "carrier", "MD5"), (401, "carrier", "MD5")]),
}  # fmt: skip


@pytest.mark.parametrize(("by_proxy", "by_server", "credentials", "carried"), FIRST.values(), ids=FIRST)
def test_all_that_can_be_answered_is_in_one_resend(
    by_proxy: str, by_server: str, credentials: Credentials, carried: list[tuple[int, str, str | None]]
) -> None:
    decision = decide(by_proxy, by_server, credentials)
    assert answered(decision) == carried
    assert resent(decision).attempt.answered == len(carried)


def test_those_of_the_statuss_kind_go_first() -> None:
    decision = resent(after_failure(Failure(401, (MD5,), (NEW,)), ATTEMPT, TRUNK))
    assert carried_by(decision) == [(401, "n1", 1, False), (407, "n2", 1, False)]


UAC = {
    "both": (MD5, MD5, set(), False),
    "its own alone": (MD5, MD5, {PROXY}, True),
    "the other": (MD5, MD5, {SERVER}, False),
}


@pytest.mark.parametrize(("by_proxy", "by_server", "asked", "suits"), UAC.values(), ids=UAC)
def test_uac_auth_answers_the_statuss_kind_alone(
    by_proxy: str, by_server: str, asked: set[tuple[int, str]], suits: bool
) -> None:
    assert resent(decide(by_proxy, by_server, asked=frozenset(asked))).suits_uac_auth == suits


LIKE_THE_CARRIER = {
    "by both, as it asked before": (MD5, MD5, ANY_REALM, (), {PROXY, SERVER}, "carrier MD5, carrier MD5"),
    "its realm by a new kind": (MD5, NEW, ANY_REALM, (), {PROXY}, "carrier MD5"),
    "a new realm by a new kind": (MD5, ELSEWHERE, ANY_REALM, (), {PROXY}, "carrier MD5"),
    "new realms by both kinds": (ELSEWHERE, ELSEWHERE, ANY_REALM, (), {PROXY}, "elsewhere MD5"),
    "a new realm by a new kind, and what cannot be answered": (
        UNKNOWN, ELSEWHERE, ANY_REALM, (), {PROXY}, "elsewhere MD5",
    ),
    "its realm by a new kind, and what cannot be answered": (
        UNKNOWN, MD5, ANY_REALM, (), {PROXY}, "refuse: no secret, algorithm or qop for it",
    ),
    "behind a preemptive response": (MD5, ELSEWHERE, ANY_REALM, preemptive(*after(407, MD5)), {PROXY}, "carrier MD5"),
    "a carrier that asks alone, as was learned": (MD5, MD5, ALONE, (), {PROXY, SERVER}, "carrier MD5"),
    "behind a carrier that asks alone": (STALE, MD5, ALONE, after(407, MD5), {PROXY, SERVER}, "carrier MD5"),
    "a far end may be answered": (MD5, MD5, FAR_END, (), {PROXY}, "carrier MD5, carrier MD5"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("by_proxy", "by_server", "credentials", "sent", "asked", "decision"),
    LIKE_THE_CARRIER.values(),
    ids=LIKE_THE_CARRIER,
)
def test_a_kind_by_which_the_carrier_has_never_asked_is_a_far_ends(
    by_proxy: str,
    by_server: str,
    credentials: Credentials,
    sent: tuple[Sent, ...],
    asked: set[tuple[int, str]],
    decision: str,
) -> None:
    assert chosen(decide(by_proxy, by_server, credentials, sent, frozenset(asked))) == decision


def test_both_that_are_asked_again_are_refused_unless_they_are_stale() -> None:
    first = resent(decide(MD5, MD5)).attempt.sent
    for by_proxy, by_server in ((NEW, STALE), (STALE, NEW)):
        assert decide(by_proxy, by_server, sent=first) == Refuse("credentials refused", parse(NEW)[0])
    assert carried_by(resent(decide(STALE, STALE, sent=first))) == [(407, "n2", 1, False), (401, "n2", 1, False)]


def test_both_count_as_answered() -> None:
    assert chosen(decide(MD5, MD5, again=MOST_ANSWERED - 2)) == "carrier MD5, carrier MD5"
    assert chosen(decide(MD5, MD5, again=MOST_ANSWERED - 1)) == "refuse: too many challenges"


def test_preemptive_responses_of_both_kinds_are_rejected_and_those_of_other_realms_left_out() -> None:
    before = preemptive(*after(407, MD5), *after(401, MD5), *after(401, ELSEWHERE))
    decision = resent(decide(NEW, MD5, sent=before))
    assert decision.rejected == before
    assert carried_by(decision) == [(407, "n2", 1, False), (401, "n1", 2, False)]


REJECTED = {
    "one kind of both": (Failure(407, (NEW,), (NEW,)), after(401, MD5), True),
    "the other kind alone": (Failure(407, (), (NEW,)), after(407, MD5), False),
    "no field at all": (Failure(407), after(407, MD5), True),
}


@pytest.mark.parametrize(("failure", "sent", "is_so"), REJECTED.values(), ids=REJECTED)
def test_preemptive_responses_are_rejected_by_their_own_kind(
    failure: Failure, sent: tuple[Sent, ...], is_so: bool
) -> None:
    decision = after_failure(failure, ATTEMPT._replace(sent=preemptive(*sent)), TRUNK)
    assert isinstance(decision, Refuse | Resend)
    assert decision.rejected == (preemptive(*sent) if is_so else ())
