"""Every command line of the README and of docs/command.md, and the README's SQL, run as they stand there, but for the
carrier's address.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.command import COMMANDS
from kemi.settings import PROJECT
from tests.harness.carrier import Carrier, Script
from tests.harness.node import Native
from tests.harness.shell import shell
from tests.harness.verifier import Challenge

LINE = re.compile(r"^    kemi-trunkauth (.*)$", re.MULTILINE)
SQL = re.compile(r"^    (INSERT .*;)$", re.MULTILINE)
CARRIER = re.compile(r"sip:192\.0\.2\.[0-9]+")
PASSWORD = "the-password"
CHALLENGE = Challenge(realm="carrier.example", requests=frozenset({"REGISTER", "INVITE"}))


@pytest.mark.parametrize(("document", "statements"), [("README.md", 1), ("docs/command.md", 0)])
def test_every_command_works(
    native: Native,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    document: str,
    statements: int,
) -> None:
    text = (PROJECT / document).read_text()
    words = list(map(shlex.split, LINE.findall(text)))
    words.sort(key=lambda line: line[0] == "remove")  # which has to be the last
    assert document == "README.md" or {line[0] for line in words} == set(COMMANDS)
    assert len(SQL.findall(text)) == statements
    (tmp_path / "calls.csv").write_text("from,to\n100,4930123456\n")
    monkeypatch.chdir(tmp_path)
    with Carrier(Script(challenge=CHALLENGE), {"u4711": PASSWORD}) as carrier, native.running() as kamailio:
        for statement in SQL.findall(text):
            kamailio.database.execute(statement)
        url = URL.create("sqlite", database=str(kamailio.database.path))
        for operator in shell(url, tmp_path, monkeypatch, capsys):
            operator.set(STATE_DIR=str(kamailio.state), DB_URL="", LISTEN="udp:{}:{}".format(*kamailio.sip))
            for line in words:
                arguments = [CARRIER.sub(carrier.proxy_uri, word) for word in line]
                done = operator.run(*arguments, stdin=PASSWORD)
                assert (done.status, done.errors) == (0, ""), (line, done)
                kamailio.wait_until_looked_at()
