"""The made-up call of a worker that starts goes all the way; its code gets pages of its own."""

from __future__ import annotations

import json

import pytest

from kemi.auth import codec, session
from kemi.auth.attempt import Attempt
from kemi.flow import warming
from kemi.line import Line
from kemi.outcome import Answered, line_of
from kemi.start import run as start
from kemi.trunks.hops import Target
from kemi.trunks.plan import Plan


def test_a_made_up_call_is_challenged_and_answered_by_both_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str | None] = []

    def tell(outcome: Answered, call: str) -> Line:
        told.append(outcome.challenge.algorithm)
        return line_of(outcome, call)

    monkeypatch.setattr(warming, "line_of", tell)
    warming.warm_up()
    assert told == ["MD5", "SHA-256"] * warming.TIMES


def test_the_code_of_a_call_is_met_behind_decorators_and_in_its_classes() -> None:
    met = warming.copy_pages()
    decorated = Attempt.is_shaped.fget, codec.record.__wrapped__, Target.of_key.__func__  # type: ignore[attr-defined]
    for function in (session.after_failure, Plan.heard, *decorated):
        code = function.__code__
        assert {id(code), *map(id, code.co_consts)} <= met


def test_other_code_is_not() -> None:
    assert not {id(json.dumps.__code__), id(vars(json)), id(start.run.__code__)} & warming.copy_pages()
