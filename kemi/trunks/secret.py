"""Secrets that a row only names: `env:NAME`, a variable of Kamailio's environment, or `file:/run/…`, a file as systemd,
Docker and Kubernetes make them. What they hold is read when the row is, and lies in no copy of the row.

A file has to be under /run, which is memory: no worker waits for a disk, and no row can make one read anything else.
"""

from __future__ import annotations

import os
import re
import stat

LONGEST = 256  # octets

_NAMED = re.compile(r"(?:env|file):.*", re.DOTALL)
_VARIABLE = re.compile(r"env:(?!TRUNKAUTH_)(?P<name>[A-Za-z_][A-Za-z0-9_]{0,63})")
_FILE = re.compile(r"file:(?P<path>/run(?:/(?!\.\.?/)[A-Za-z0-9._@:-]+)+)(?<!/\.)(?<!/\.\.)")


class SecretError(ValueError):
    """A secret that cannot be had; the text says why and quotes nothing."""


def revealed(text: str) -> str:
    """Return the secret that the text names, or the text if it names none. Raises SecretError."""
    if not _NAMED.fullmatch(text):
        return text
    if variable := _VARIABLE.fullmatch(text):
        secret = os.environ.get(variable["name"], "")
        if not secret:
            raise SecretError("names a variable that is not set")
        return secret
    if file := _FILE.fullmatch(text):
        return _read(file["path"])
    raise SecretError("is neither env:NAME nor file:/run/…")


def fingerprint(text: str) -> str:
    """Return what moves when the file that the text names is written, replaced, or becomes readable, or when the
    variable is set.
    """
    if variable := _VARIABLE.fullmatch(text):
        return str(variable["name"] in os.environ)
    file = _FILE.fullmatch(text)
    if file is None:
        return ""
    try:
        found = os.stat(file["path"])  # noqa: PTH116  a Path costs more than the call
    except OSError:
        return ""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {os.access(file['path'], os.R_OK)}"


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not waited for
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
            octets = os.read(descriptor, LONGEST + 3) if is_file else b""
        finally:
            os.close(descriptor)
    except OSError:
        raise SecretError("names a file that cannot be read") from None
    line = octets.removesuffix(b"\n").removesuffix(b"\r")
    try:
        secret = line.decode()
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(line) > LONGEST or not secret.isprintable():
        raise SecretError(f"names a file that is not one line of at most {LONGEST} octets")
    return secret
