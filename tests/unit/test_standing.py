"""When a trunk is left out, and for how long."""

from __future__ import annotations

import pytest

from kemi.auth import codec
from kemi.trunks.standing import MOST_FAILURES, OUT, UP, Standing, failed, is_out, tried

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
