"""When a trunk is left out, and for how long."""

from __future__ import annotations

import pytest

from kemi.auth import codec
from kemi.trunks.standing import MOST_FAILURES, OUT, UP, Standing, answered, failed, is_out, tried, unanswered

NOW = 1000


def after(failures: int, retry_after: int = 0) -> Standing:
    standing = UP
    for _ in range(failures):
        standing = failed(standing, NOW, retry_after)
    return standing


@pytest.mark.parametrize("failures", range(1, MOST_FAILURES + 2))
def test_a_trunk_is_down_after_so_many_failures_in_a_row(failures: int) -> None:
    is_down = failures >= MOST_FAILURES
    assert (bool(after(failures).since), is_out(after(failures), NOW)) == (is_down, is_down)
    assert not is_out(after(failures), NOW + OUT)


def test_one_call_tries_and_if_it_fails_the_trunk_is_out_again() -> None:
    trying = tried(after(MOST_FAILURES), NOW + OUT)
    assert is_out(trying, NOW + OUT)
    again = failed(trying, NOW + OUT + 1, 0)
    assert (again.since, is_out(again, NOW + OUT + 1 + OUT - 1)) == (NOW, True)
    assert tried(after(1), NOW) == after(1)


def test_retry_after_leaves_a_trunk_out_for_so_long() -> None:
    assert is_out(after(1, retry_after=60), NOW + 59)
    assert not is_out(after(1, retry_after=60), NOW + 60)
    assert after(1, retry_after=60).since == 0


def test_a_standing_comes_back() -> None:
    assert codec.standing(codec.standing_text(after(MOST_FAILURES))) == after(MOST_FAILURES)
    assert codec.standing("") == UP


def test_so_many_probes_without_an_answer_take_a_trunk_out_until_the_next_ones_have_come() -> None:
    standing = UP
    for number in range(1, MOST_FAILURES + 2):
        standing = unanswered(standing, NOW, number, every=60, retry_after=0)
        is_down = number >= MOST_FAILURES
        assert (bool(standing.since), is_out(standing, NOW)) == (is_down, is_down)
    assert is_out(standing, NOW + 60 + OUT - 1)
    assert not is_out(standing, NOW + 60 + OUT)
    assert is_out(tried(standing, NOW), NOW + 60 + OUT - 1)  # a call that had no choice opens no door


def test_a_probe_that_is_answered_brings_a_trunk_back_whatever_took_it_out() -> None:
    by_probes = unanswered(UP, NOW, MOST_FAILURES, every=60, retry_after=0)
    assert answered(by_probes, NOW + 1) == answered(after(MOST_FAILURES), NOW + 1) == UP


def test_what_calls_say_is_counted_whatever_probes_say() -> None:
    assert answered(after(MOST_FAILURES - 1), NOW) == after(MOST_FAILURES - 1)
    assert unanswered(after(1), NOW, MOST_FAILURES - 1, every=60, retry_after=0) == after(1)


def test_a_retry_after_holds_whatever_probes_say() -> None:
    for aside in (after(MOST_FAILURES, retry_after=60), unanswered(UP, NOW, MOST_FAILURES, every=1, retry_after=60)):
        assert answered(aside, NOW + 59) == aside
        assert answered(aside, NOW + 60) == UP
    once = unanswered(UP, NOW, 1, every=1, retry_after=60)
    assert (once.since, is_out(once, NOW + 59), is_out(once, NOW + 60)) == (0, True, False)
