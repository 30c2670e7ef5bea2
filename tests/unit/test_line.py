"""A line of the log: whatever its values hold, it is one line, and a strict parser reads the values back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from kemi.line import MOST_SHOWN, Level, Line, as_json, logfmt, notice, warning, word
from tests.harness.logfmt import parse

TEXTS = st.text(max_size=MOST_SHOWN)


@given(value=TEXTS)
def test_a_value_comes_back_as_it_was_and_ends_nothing(value: str) -> None:
    line = warning(trunk=value, outcome="down", call_id=value)
    for text, read in ((logfmt(line), parse), (as_json(line), json.loads)):
        assert text.isascii()
        assert text.isprintable()
        assert read(text) == {"level": "warning", "trunk": value, "outcome": "down", "call-id": value}


def test_a_plain_word_and_a_number_stand_bare_and_json_has_the_number() -> None:
    line = notice(trunk="berlin", outcome="registered", seconds=12, share=0.5)
    assert logfmt(line) == "level=notice trunk=berlin outcome=registered seconds=12 share=0.5"
    assert json.loads(as_json(line))["seconds"] == 12


def test_what_is_no_plain_word_stands_in_double_quotes() -> None:
    for text in ("", "two words", "a=b", 'a"b', "a'b", "a\\b", "a`b", "ü", "\x7f"):
        assert word(text).startswith('"')
        assert parse(f"a={word(text)}") == {"a": text}


def test_a_long_value_is_cut() -> None:
    line = Line(Level.INFO, {"reason": "x" * 5000})
    assert logfmt(line) == f'level=info reason="{"x" * MOST_SHOWN}..."'
    assert json.loads(as_json(line))["reason"] == f"{'x' * MOST_SHOWN}..."
