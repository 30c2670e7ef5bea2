"""The deployment's key: what dialogs' marks are sealed with (mark.py). Nodes that share it can go on with each other's
calls.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from kemi.dialog.mark import KEY_BYTES

_HEX = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}\s*")


class KeyFileError(RuntimeError):
    """A key file that cannot be used; the text is one line for the operator."""


def load(path: Path) -> bytes:
    """Return the key in this file, which is made if it is missing: hex digits, readable by its owner alone. Raises
    KeyFileError.
    """
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(errors="replace")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFileError(f"TRUNKAUTH_KEY_FILE: others can read {path}: chmod 600 {path}")
    except OSError as error:  # its own text names the file that was being made
        raise KeyFileError(f"TRUNKAUTH_KEY_FILE: {path}: {error.strerror}") from None
    if not _HEX.fullmatch(text):
        raise KeyFileError(f"TRUNKAUTH_KEY_FILE: {path} does not hold {2 * KEY_BYTES} hex digits; openssl rand -hex 32")
    return bytes.fromhex(text.strip())


def _make(path: Path) -> None:
    """Make a key, unless somebody else has meanwhile. It gets its name once all of it is on disk: half of one, which
    a full disk or a power cut leaves, would stop every start.
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as made:
            made.write(f"{secrets.token_hex(KEY_BYTES)}\n")
            made.flush()
            os.fsync(descriptor)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
