"""Every command line of the README's section about the command, run as it stands there, but for the carrier's
address.
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

LINES = re.findall(r"^    kemi-trunkauth (.*)$", (PROJECT / "README.md").read_text(), re.MULTILINE)
CARRIER = re.compile(r"sip:192\.0\.2\.[0-9]+")
PASSWORD = "the-password"
CHALLENGE = Challenge(realm="carrier.example", requests=frozenset({"REGISTER", "INVITE"}))


def test_every_command_of_the_readme_works(
    native: Native, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = sorted(map(shlex.split, LINES), key=lambda line: line[0] == "remove")  # which has to be the last
    assert {line[0] for line in words} == set(COMMANDS)
    (tmp_path / "calls.csv").write_text("from,to\n100,4930123456\n")
    monkeypatch.chdir(tmp_path)
    with Carrier(Script(challenge=CHALLENGE), {"u4711": PASSWORD}) as carrier, native.running() as kamailio:
        url = URL.create("sqlite", database=str(kamailio.database.path))
        for operator in shell(url, tmp_path, monkeypatch, capsys):
            operator.set(STATE_DIR=str(kamailio.state), DB_URL="", LISTEN="udp:{}:{}".format(*kamailio.sip))
            for line in words:
                arguments = [CARRIER.sub(carrier.proxy_uri, word) for word in line]
                done = operator.run(*arguments, stdin=PASSWORD)
                assert (done.status, done.errors) == (0, ""), (line, done)
                kamailio.wait_until_looked_at()
