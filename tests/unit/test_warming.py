"""The made-up call of a worker that starts goes all the way."""

from __future__ import annotations

import pytest

from kemi.flow import warming
from kemi.line import Line
from kemi.outcome import Answered, line_of


def test_a_made_up_call_is_challenged_and_answered_by_both_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | None] = []

    def tell(outcome: Answered, call: str) -> Line:
        told.append(outcome.challenge.algorithm)
        return line_of(outcome, call)

    monkeypatch.setattr(warming, "line_of", tell)
    warming.warm_up()
    assert told == ["MD5", "SHA-256"] * warming.TIMES
