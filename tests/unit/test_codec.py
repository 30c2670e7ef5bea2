"""The text forms of what is stored: each value comes back as it was, and no text of a stranger breaks the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.auth import codec
from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import Challenge
from kemi.auth.nonces import UNKNOWN, Record
from kemi.dialog.cseq import Sequence

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CHALLENGES = st.builds(
    Challenge,
    TEXTS,
    TEXTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.lists(TEXTS).map(tuple),
    st.booleans(),
)
SENT = st.builds(
    Sent,
    st.sampled_from([401, 407]),
    CHALLENGES,
    st.integers(0, 2**32),
    st.booleans(),
    st.booleans(),
)
NUMBER = st.integers(0, 2**40)
CSEQS = st.integers(0, 2**31 - 1)
ATTEMPTS = st.builds(
    Attempt,
    *[TEXTS] * 4,
    CSEQS,
    CSEQS,
    *[TEXTS] * 4,
    st.booleans(),
    st.integers(0, 9),
    *[st.booleans()] * 2,
    *[st.integers(0, 2**48)] * 2,
    *[st.booleans()] * 5,
    st.lists(SENT).map(tuple),
)


@given(ATTEMPTS)
def test_an_attempt_comes_back(attempt: Attempt) -> None:
    text = codec.attempt_text(attempt)
    assert codec.attempt(text) == attempt
    assert text.isascii()
    assert text.isprintable()


@given(st.lists(SENT), st.integers(0, 9), st.integers(0, 2**40), st.booleans())
def test_a_record_comes_back_as_one_object(held: list[Sent], rejected: int, since: int, names_next: bool) -> None:
    record = Record(tuple(held), tuple("c" for _ in held), rejected, since, names_next)
    text = codec.record_text(record)
    assert vars(codec.record(text)) == vars(record)
    assert codec.record(text) is codec.record(text)


@given(CSEQS, st.lists(st.tuples(CSEQS, CSEQS)).map(tuple))
def test_a_sequence_comes_back(highest: int, invites: tuple[tuple[int, int], ...]) -> None:
    text = codec.sequence_text(Sequence(highest, invites, (3, 4)))
    assert codec.sequence(text) == Sequence(highest, invites, (3, 4))
    assert text.isascii()


def test_a_number_alone_is_one_invite_with_its_callers_own() -> None:
    assert codec.sequence("7") == Sequence(7, ((7, 7),))
    assert codec.sequence("1" * 5000) == Sequence()


@given(st.frozensets(st.tuples(st.sampled_from([401, 407]), TEXTS)))
def test_how_a_carrier_asks_comes_back(asked: frozenset[tuple[int, str]]) -> None:
    assert codec.asked(codec.asked_text(asked)) == asked


@given(NUMBER, NUMBER, st.text())
def test_what_a_trunk_did_lately_comes_back(since: int, count: int, reason: str) -> None:
    assert codec.failure(codec.failure_text(since, count, reason)) == (since, count, reason[: codec.LONGEST_REASON])
    assert codec.lately(codec.lately_text(since, count)) == (since, count)


@pytest.mark.parametrize("text", ["", "x", "[", "[1]", "[1,3,4]", "1:2", '["1"]', "{}", "[]", "-7", "null"])
def test_text_of_another_version_or_damaged_text_is_empty(text: str) -> None:
    assert codec.attempt(text) == Attempt()
    assert codec.sequence(text) == Sequence()
    assert codec.record(text) is UNKNOWN
    assert codec.asked(text) == frozenset()
    assert (codec.failure(text), codec.lately(text)) == (None, (0, 0))


def test_a_torn_record_is_unknown() -> None:
    text = codec.record_text(Record(rejected=1))
    assert codec.record(text[:-1]) is UNKNOWN
    assert codec.record(text.replace("1", "2")) is UNKNOWN
