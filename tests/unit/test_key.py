"""The deployment's key: made once, its owner's alone, and refused with one line if it is not."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from kemi.dialog.mark import KEY_BYTES
from kemi.start import key
from kemi.start.key import KeyFileError


def test_a_missing_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = key.load(path)
    assert (len(made), path.stat().st_mode & 0o777) == (KEY_BYTES, 0o600)
    assert path.read_text() == f"{made.hex()}\n"
    assert key.load(path) == made != key.load(tmp_path / "other")


@pytest.mark.parametrize("text", ["ab" * KEY_BYTES, f"{'AB' * KEY_BYTES}\r\n"])
def test_a_key_may_be_brought_along(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o400)
    assert key.load(path) == b"\xab" * KEY_BYTES


@pytest.mark.parametrize(
    "content",
    [b"", b"secret", b"a" * 63, b"a" * 65, b"g" * 64, b" " + b"a" * 64, b"a" * 64 + b"\na", b"\xff" * 64],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="does not hold 64 hex digits"):
        key.load(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_is_not_its_owners_alone_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    key.load(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"others can read .*: chmod 600 {path}"):
        key.load(path)


def test_a_disk_that_is_full_leaves_nothing_that_a_later_start_refuses(tmp_path: Path) -> None:
    path = tmp_path / "key"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(KeyFileError, match=f"TRUNKAUTH_KEY_FILE: {path}: File too large"):
            key.load(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    assert len(key.load(path)) == KEY_BYTES
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_hard_links_holds_a_key_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", link)
    path = tmp_path / "key"
    assert key.load(path) == key.load(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_that_cannot_be_made_or_read_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none" / "key", "No such file or directory"), (tmp_path, "Is a directory")):
        for mode in (0o700, 0o755):
            tmp_path.chmod(mode)
            with pytest.raises(KeyFileError, match=f"^TRUNKAUTH_KEY_FILE: {path}: {reason}$"):
                key.load(path)
