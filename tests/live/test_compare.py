"""The comparison: the whole table on each Kamailio that there is."""

from __future__ import annotations

from pathlib import Path

from tests.harness.node import Installation
from tests.live.compare import ROWS, Line, compare, table

# Where the recipe is known to fail, and as what. Were one to change, docs/calls.md would be out of date.
RECIPE = {
    "MD5, `qop=auth`": "answered, CSeq not raised",
    "MD5, `auth-int` alone": "wrong digest",
    "MD5-sess": "407 to the caller",
    "SHA-256 alone": "407 to the caller",
    "SHA-512-256 alone": "407 to the caller",
    "SHA-256 first, then MD5 (RFC 8760)": "407 to the caller",
    "a nonce that is stale once": "407 to the caller",
    "a password that the carrier refuses": "407 to the caller",
    "a proxy's 407, then the far end's 401": "401 to the caller",
    "CANCEL after MD5": "cancelled, CSeq not raised",
    "a challenge for another realm": "credentials to any realm",
    "a call from an address that is not listed": "relays for anyone",
    "an HA1, then a password, in one worker": "wrong digest",
}


def test_every_row_is_as_it_should_be_here_and_the_recipes_failures_show(
    installation: Installation, tmp_path: Path
) -> None:
    version, lines = compare(installation, tmp_path)
    printed = table(version, lines)
    assert {line.row.name: line.package for line in lines} == {row.name: row.expected for row in ROWS}, printed
    assert {line.row.name: line.recipe for line in lines if line.row.name in RECIPE} == RECIPE, printed


def test_the_table_is_markdown_and_a_line_knows_whether_it_is_right() -> None:
    right, wrong = Line(ROWS[0], "407 to the caller", "answered"), Line(ROWS[0], "answered", "407 to the caller")
    assert table("6.0.1", [right]).splitlines() == [
        "| Kamailio 6.0.1 | the recipe | this package |",
        "| --- | --- | --- |",
        "| MD5, `qop=auth` | 407 to the caller | answered |",
    ]
    assert [right.as_expected, wrong.as_expected] == [True, False]
