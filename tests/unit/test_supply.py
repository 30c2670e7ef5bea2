"""What is installed from PyPI: every release by its hash, and what the audit says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab.audit import LOCKS, judged, main
from tests.harness.machine import PROJECT

BAD = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.11.3"]}]}
GOOD = {"name": "sqlalchemy", "version": "2.1.9", "vulns": []}
UNKNOWN = {"name": "sippy", "skip_reason": "not found"}

VERDICTS: dict[str, tuple[list[dict[str, Any]], str, bool]] = {
    "clean": ([GOOD], "1 releases have no known vulnerability", False),
    "one unknown": ([GOOD, UNKNOWN], "1 releases have no known vulnerability; not audited: sippy", False),
    "vulnerable": ([GOOD, BAD, UNKNOWN], "jinja2 2.4.1: PYSEC-1, fixed in 2.11.3", True),
    "no service": ([UNKNOWN], "NOT AUDITED: the vulnerability service knows none of 1 releases", False),
}


@pytest.mark.parametrize(("dependencies", "line", "fails"), VERDICTS.values(), ids=VERDICTS)
def test_the_audit_says_what_was_and_was_not_audited(
    dependencies: list[dict[str, Any]], line: str, fails: bool
) -> None:
    said, has_failed = judged(dependencies)
    assert said.startswith(line)
    assert has_failed is fails


@pytest.mark.parametrize(("script", "line", "status"), [
    ("""echo '{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}'""", "1 releases have no known", 0),
    ("echo 'asking' >&2; echo 'ERROR: no route to host' >&2; exit 1", "NOT AUDITED: ERROR: no route to host", 0),
    ("exit 1", "NOT AUDITED: pip-audit has said nothing", 0),
    ("echo 'error: unrecognized arguments: --x' >&2; exit 2", "NOT AUDITED: error: unrecognized arguments: --x", 1),
], ids=["answered", "not reached", "silent", "asked wrongly"])  # fmt: skip
def test_whatever_keeps_it_from_being_audited_is_said(
    script: str, line: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert main(str(program)) == status
    assert all(said.partition(": ")[2].startswith(line) for said in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda lock: lock.stem)
def test_every_release_is_pinned_by_its_hash(lock: Any) -> None:
    releases = re.split(r"(?m)^(?=[a-z0-9])", lock.read_text())[1:]
    assert releases
    for release in releases:
        assert re.match(r"[a-z0-9-]+==\S+.*\\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+$", release), release


def test_nothing_is_installed_but_by_its_hash() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    installs = [
        line for line in makefile.splitlines() if line.startswith("\t") and re.search("pip install|INSTALL", line)
    ]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
