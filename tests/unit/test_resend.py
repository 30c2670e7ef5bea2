"""Who is answered once it is known how a carrier asks, and how often a call is answered in all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import Challenge, parse
from kemi.auth.nonces import Record
from kemi.auth.resend import LONGEST_REALM, MOST_ANSWERED, MOST_ASKED, SPENT, learned
from kemi.auth.session import Failure, Refuse, after_failure, first_request
from kemi.trunks.trunk import Policy, Trunk
from tests.unit.test_session import ANY_REALM, ELSEWHERE, MD5, NEW, STALE, TRUNK, after, chosen, decide, resent

PROXY, NODE = (407, "carrier"), (407, "node")
REFUSED = "refuse: not as the trunk's carrier asks"
LIKE_THE_CARRIER = {
    "as it asked before": (407, [MD5], (), {PROXY}, "carrier MD5"),
    "by another kind": (401, [MD5], (), {PROXY}, REFUSED),
    "by another kind, behind the carrier": (
        401, [MD5], after(407, MD5), {PROXY}, REFUSED,
    ),
    "by either kind, if it has asked by both": (401, [MD5], after(407, MD5), {PROXY, (401, "carrier")}, "carrier MD5"),
    "another node's realm": (407, [ELSEWHERE], (), {PROXY}, "elsewhere MD5"),
    "another realm behind an answer": (
        407, [ELSEWHERE], after(407, MD5), {PROXY}, REFUSED,
    ),
    "another realm behind a preemptive response that was taken": (
        401, [ELSEWHERE], (after(407, MD5)[0]._replace(challenged=False),), {PROXY},
        REFUSED,
    ),
    "another node's realm, in place of a preemptive response": (
        407, [ELSEWHERE], (after(407, MD5)[0]._replace(challenged=False),), {PROXY}, "elsewhere MD5",
    ),
    "its own among others": (407, [ELSEWHERE, MD5], after(407, NEW, proven=True), {PROXY, NODE}, "carrier MD5"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "fields", "sent", "asked", "decision"), LIKE_THE_CARRIER.values(), ids=LIKE_THE_CARRIER
)
def test_who_asks_as_the_carrier_does(
    status: int, fields: list[str], sent: tuple[Sent, ...], asked: set[tuple[int, str]], decision: str
) -> None:
    assert chosen(decide(status, fields, ANY_REALM, sent, asked=frozenset(asked))) == decision


@pytest.mark.parametrize(("realm", "decision"), [("carrier", "carrier MD5"), ("", REFUSED)])
def test_a_row_with_a_realm_may_have_far_ends_answered(realm: str, decision: str) -> None:
    row = Trunk("t", realm=realm, next_hop="sip:carrier", auth_username="u", policy=Policy(answers_far_end=1))
    credentials = replace(TRUNK, realm=realm, answers_far_end=row.credentials.answers_far_end)
    assert chosen(decide(401, [MD5], credentials, after(407, MD5), asked=frozenset({PROXY}))) == decision


def test_a_far_end_is_answered_for_the_rows_realm_alone() -> None:
    credentials = replace(TRUNK, answers_far_end=True)
    assert chosen(decide(401, [ELSEWHERE], credentials, asked=frozenset({PROXY}))) == "refuse: realm not the trunk's"


PREEMPTIVE = (after(407, MD5)[0]._replace(challenged=False),)
ALONE = {
    "the first to ask": (407, [MD5], (), set(), "carrier MD5"),
    "by another kind than before": (401, [MD5], (), {PROXY}, REFUSED),
    "by another kind than before, in another realm": (401, [ELSEWHERE], (), {PROXY}, REFUSED),
    "behind it, in its realm": (401, [MD5], after(407, MD5), set(), REFUSED),
    "behind it, in another realm": (401, [ELSEWHERE], after(407, MD5), set(), REFUSED),
    "behind it, as a proxy": (407, [ELSEWHERE], after(407, MD5), set(), REFUSED),
    "behind it, as was learned": (401, [MD5], after(407, MD5), {PROXY, (401, "carrier")}, REFUSED),
    "behind a preemptive response": (401, [MD5], PREEMPTIVE, set(), REFUSED),
    "itself, for a nonce that is stale": (407, [STALE], after(407, MD5), set(), "carrier MD5"),
    "another node of it": (407, [ELSEWHERE], PREEMPTIVE, {PROXY}, "elsewhere MD5"),
    "itself, in the second of its realms": (
        407, [f"{ELSEWHERE}, stale=true"], (*after(407, MD5), *after(407, ELSEWHERE)), set(), "elsewhere MD5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "fields", "sent", "asked", "decision"), ALONE.values(), ids=ALONE)
def test_a_carrier_that_asks_alone_is_answered_alone_from_the_first_contact_on(
    status: int, fields: list[str], sent: tuple[Sent, ...], asked: set[tuple[int, str]], decision: str
) -> None:
    row = Trunk("t", next_hop="sip:carrier", auth_username="u", auth_password="p", policy=Policy(asks_alone=1))
    assert chosen(decide(status, fields, row.credentials, sent, asked=frozenset(asked))) == decision


@pytest.mark.parametrize(("asks_alone", "carried"), [(False, [407, 401]), (True, [407])])
def test_behind_a_carrier_that_asks_alone_nobody_gets_a_preemptive_response(
    asks_alone: bool, carried: list[int]
) -> None:
    held = tuple([sent._replace(challenged=False) for sent in (*after(407, MD5), *after(401, MD5))])
    ready = first_request(Record(held=held, counters=("", "")), replace(TRUNK, asks_alone=asks_alone))
    assert ready
    assert [one.status for one in ready.sent] == carried


def test_no_more_is_learned_of_a_carrier_than_can_be_kept() -> None:
    challenges = [Sent(407, Challenge(f"r{number}", "n")) for number in range(MOST_ASKED + 1)]
    full = learned(frozenset(), challenges[:-1])
    assert len(full) == MOST_ASKED
    assert learned(full, challenges[-1:]) is full
    assert learned(frozenset(), [Sent(407, Challenge("r" * (LONGEST_REALM + 1), "n"))]) == frozenset()


def test_answers_are_counted_over_all_trunks_of_a_request() -> None:
    first = resent(decide(407, [MD5], TRUNK)).attempt
    assert first.answered == 1
    moved = first._replace(trunk="other", sent=(), answered=MOST_ANSWERED)
    assert after_failure(Failure(407, (MD5,)), moved, TRUNK) == Refuse("too many challenges", parse(MD5)[0])


@pytest.mark.parametrize(("challenged", "reason"), [(False, SPENT), (True, "too many challenges")])
def test_when_others_have_spent_the_answers_only_who_asks_again_is_to_blame(challenged: bool, reason: str) -> None:
    sent = tuple([one._replace(challenged=challenged) for one in after(407, MD5)])
    moved = Attempt("trunk", TRUNK.destination, "INVITE", sent=sent, answered=MOST_ANSWERED, is_moved=True)
    refused = after_failure(Failure(407, (STALE,)), moved, TRUNK)
    assert isinstance(refused, Refuse)
    assert (refused.reason, refused.is_nobodys) == (reason, not challenged)
