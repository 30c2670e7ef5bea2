"""The last word after several places, and a plan of those that are left."""

from __future__ import annotations

import pytest

from kemi.auth import codec
from kemi.trunks.plan import FULL, NOTHING, REFUSED, SILENT, UNREACHABLE, UNUSABLE, Plan, Word, best

DECLINED = Word(500, "No")
BUSY = Word(503, "Busy", 20)

BEST = {  # what was said, in order -> the last word
    "nothing, and a 503": ((NOTHING, BUSY), BUSY),
    "all say 503: the longest Retry-After": ((UNREACHABLE, BUSY, FULL), UNREACHABLE._replace(retry_after=20)),
    "a carrier's own": ((BUSY, DECLINED, UNREACHABLE), DECLINED),
    "the first carrier's own": ((DECLINED, Word(502, "Neither")), DECLINED),
    "credentials refused": ((SILENT, REFUSED, BUSY), REFUSED),
    "silent": ((BUSY, SILENT, UNREACHABLE), SILENT),
    "a carrier that says 408 itself": ((REFUSED, Word(408, "Too Late")), Word(408, "Too Late")),
    "a row that cannot be used": ((UNUSABLE, BUSY), BUSY),
    "rows that cannot be used": ((UNUSABLE, UNUSABLE), UNUSABLE),
}


@pytest.mark.parametrize(("words", "last"), BEST.values(), ids=BEST)
def test_the_best_last_word(words: tuple[Word, ...], last: Word) -> None:
    plan = Plan()
    for word in words:
        plan = plan.heard(word)
    assert plan.word == last
    assert best(last, NOTHING) == last


@pytest.mark.parametrize(("plan", "goes_on"), [(Plan(), False), (Plan(("b",)), True), (Plan(hops=("sip:h",)), True)])
def test_it_goes_on_while_a_place_is_left(plan: Plan, goes_on: bool) -> None:
    assert plan.goes_on is goes_on


def test_a_plan_comes_back() -> None:
    plan = Plan(("b", "ü"), ("sip:192.0.2.1:5060;transport=udp",), "sip:x", BUSY)
    assert codec.plan(codec.plan_text(plan)) == plan
    assert codec.plan("") == Plan()
