"""Who is answered once it is known how a carrier asks, and how often a call is answered in all."""

from __future__ import annotations

import pytest

from kemi.auth.attempt import Sent
from kemi.auth.challenge import parse
from kemi.auth.resend import MOST_ANSWERED
from kemi.auth.session import Failure, Refuse, after_failure
from tests.unit.test_session import ANY_REALM, ELSEWHERE, MD5, NEW, TRUNK, after, chosen, decide, resent

PROXY, NODE = (407, "carrier"), (407, "node")
LIKE_THE_CARRIER = {
    "as it asked before": (407, [MD5], (), {PROXY}, "carrier MD5"),
    "by another kind": (401, [MD5], (), {PROXY}, "refuse: not as the trunk's carrier asks"),
    "by another kind, behind the carrier": (
        401, [MD5], after(407, MD5), {PROXY}, "refuse: not as the trunk's carrier asks",
    ),
    "by either kind, if it has asked by both": (401, [MD5], after(407, MD5), {PROXY, (401, "carrier")}, "carrier MD5"),
    "another node's realm": (407, [ELSEWHERE], (), {PROXY}, "elsewhere MD5"),
    "another realm behind an answer": (
        407, [ELSEWHERE], after(407, MD5), {PROXY}, "refuse: not as the trunk's carrier asks",
    ),
    "another realm behind a preemptive response that was taken": (
        401, [ELSEWHERE], (after(407, MD5)[0]._replace(challenged=False),), {PROXY},
        "refuse: not as the trunk's carrier asks",
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


def test_answers_are_counted_over_all_trunks_of_a_request() -> None:
    first = resent(decide(407, [MD5], TRUNK)).attempt
    assert first.answered == 1
    moved = first._replace(trunk="other", sent=(), answered=MOST_ANSWERED)
    assert after_failure(Failure(407, (MD5,)), moved, TRUNK) == Refuse("too many challenges", parse(MD5)[0])
