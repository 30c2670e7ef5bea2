"""The reader of logfmt takes what Go's parsers take, and nothing that they would read otherwise."""

from __future__ import annotations

import pytest

from tests.harness.logfmt import LogfmtError, parse


def test_values_bare_and_quoted() -> None:
    line = r'level=warning trunk=berlin reason="credentials \"refused\"\n" realm="" call-id=1@192.0.2.1'
    assert parse(line) == {
        "level": "warning", "trunk": "berlin", "reason": 'credentials "refused"\n', "realm": "",
        "call-id": "1@192.0.2.1",
    }  # fmt: skip


@pytest.mark.parametrize("line", [
    "", "trunk", "trunk=", "trunk=a  b=c", "trunk=a b", "trunk='a'", "trunk='a b'", 'trunk="a', 'trunk="a"b', "a=b=c",
    'a=b"c', "a=b a=c", 'a="\\x00"', 'a="ü"', "a=ü", "a=b ", " a=b", "a=b\n", 'a="\x7f"', "A=b",
])  # fmt: skip
def test_what_is_no_line(line: str) -> None:
    with pytest.raises(LogfmtError):
        parse(line)
