"""Secrets that a row only names: which names may be, and what is said of those that lead to nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi.trunks import rows
from kemi.trunks.rows import Rules
from kemi.trunks.secret import LONGEST, SecretError, fingerprint, revealed
from tests.unit.test_rows import TRUNK

MALFORMED = [
    "env:", "env:A-B", "env:1A", "env:A B", "env:A\n", "env:TRUNKAUTH_DB_URL", "file:", "file:secret",
    "file:/etc/shadow", "file:/run", "file:/run/", "file:/run/../etc/shadow", "file:/run/a/../../etc/shadow",
    "file:/run/./a", "file:/run/a/..", "file:/run/.", "file:/run//a", "file:/run/a b", "file:/run/a\n",
    "file:/run/a\0", "file:/runner/a", "file:/var/run/a",
]  # fmt: skip
CONTENTS = {
    b"s3cret": "s3cret", b"s3cret\n": "s3cret", b"s3cret\r\n": "s3cret", b" p w ": " p w ",
    "ключ€".encode(): "ключ€", b"x" * LONGEST + b"\r\n": "x" * LONGEST,
}  # fmt: skip
BAD_CONTENTS = [b"", b"\n", b"two\nlines", b"two\n\n", b"a\tb", b"a\0b", b"\xff", b"x" * (LONGEST + 1), b"x" * 100_000]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory, where whoever runs the tests may write."""
    user = Path(f"/run/user/{os.geteuid()}")
    with tempfile.TemporaryDirectory(prefix="kemi-", dir=user if user.is_dir() else "/run") as made:
        yield Path(made)


@pytest.mark.parametrize("text", ["", "password", "environment:X", "ENV:X", "x env:X", "http://file:/run/x"])
def test_anything_else_is_the_secret_itself(text: str) -> None:
    assert revealed(text) == text


@pytest.mark.parametrize("text", MALFORMED)
def test_a_name_that_cannot_be_is_no_password(text: str) -> None:
    with pytest.raises(SecretError, match=r"^is neither env:NAME nor file:/run/…$"):
        revealed(text)


def test_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERLIN_PASSWORD", "s3cret")
    assert (revealed("env:BERLIN_PASSWORD"), fingerprint("env:BERLIN_PASSWORD")) == ("s3cret", "True")
    for value in ("", None):
        monkeypatch.setenv("BERLIN_PASSWORD", value) if value is not None else monkeypatch.delenv("BERLIN_PASSWORD")
        with pytest.raises(SecretError, match="variable that is not set"):
            revealed("env:BERLIN_PASSWORD")
    assert fingerprint("env:BERLIN_PASSWORD") == "False"


@pytest.mark.parametrize(("content", "secret"), CONTENTS.items(), ids=ascii)
def test_a_file(folder: Path, content: bytes, secret: str) -> None:
    (folder / "secret").write_bytes(content)
    assert revealed(f"file:{folder}/secret") == secret


@pytest.mark.parametrize("content", BAD_CONTENTS, ids=lambda content: ascii(content[:20]))
def test_a_file_that_holds_no_secret(folder: Path, content: bytes) -> None:
    (folder / "secret").write_bytes(content)
    with pytest.raises(SecretError, match="not one line"):
        revealed(f"file:{folder}/secret")


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for name, words in (("pipe", "not one line"), (".", "neither"), ("missing", "cannot be read")):
        with pytest.raises(SecretError, match=words):
            revealed(f"file:{folder}/{name}")


def test_a_rotation_is_seen(folder: Path) -> None:
    """As Kubernetes does it: the file is a link through a link, which is replaced."""
    text, seen = f"file:{folder}/secret", []
    seen.append(fingerprint(text))
    for version in ("one", "two"):
        (folder / version).mkdir()
        (folder / version / "secret").write_text(version)
        (folder / "next").symlink_to(version)
        (folder / "next").replace(folder / "now")
        if version == "one":
            (folder / "secret").symlink_to("now/secret")
        assert revealed(text) == version
        seen.append(fingerprint(text))
    (folder / "two/secret").write_text("2")
    seen.append(fingerprint(text))
    assert len(set(seen)) == 4
    assert fingerprint("password") == fingerprint("file:/etc/shadow") == ""


JUDGED = {
    ("auth_password", "env:NOT_SET"): "auth_password names a variable that is not set",
    ("auth_password", "file:/run/no-such-file"): "auth_password names a file that cannot be read",
    ("auth_ha1", "file:/etc/passwd"): "auth_ha1 is neither env:NAME nor file:/run/…",
    ("auth_ha1", "env:SOME"): "auth_ha1 is not 32 or 64 hex digits",
    ("auth_password", "env:SOME"): "",
}


@pytest.mark.parametrize(("column", "fault"), JUDGED.items())
def test_a_row_is_judged_by_the_secret_that_it_names(
    column: tuple[str, str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME", "s3cret")
    verdict = Rules(revealed=revealed).trunk(TRUNK | dict([column]))
    assert (verdict.fault, verdict.row[column[0]]) == (fault, column[1])


def test_every_column_that_may_be_named_is_looked_at() -> None:
    from kemi.trunks.tables import NAMES_SECRET

    assert tuple(NAMES_SECRET) == rows.SECRETS
