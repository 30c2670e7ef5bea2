"""The systemd unit: as closed as systemd itself finds it, and it starts what an operator starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.harness.machine import PROJECT

UNIT = PROJECT / "kamailio/kemi-trunkauth.service"
MOST_EXPOSED = 2.0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze; apt-get install systemd")
def test_systemd_finds_it_closed() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=20)
    found = re.search(r"Overall exposure level for kemi-trunkauth.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) < MOST_EXPOSED, done.stdout


def test_it_starts_the_command_as_kamailio() -> None:
    lines = UNIT.read_text().splitlines()
    assert "ExecStart=/usr/bin/kemi-trunkauth run" in lines
    assert "User=kamailio" in lines
