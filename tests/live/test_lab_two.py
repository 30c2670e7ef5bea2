"""The lab with two nodes behind one address, which keepalived moves when one of them is killed under load."""

from __future__ import annotations

import re

import pytest

from tests.harness.machine import NO_DOCKER, docker_is_missing
from tests.live.test_lab import LAB_WITHIN, Lab

pytestmark = pytest.mark.long


class TwoNodes(Lab):
    PROJECT = "kemi-lab-two-test"


@pytest.mark.skipif(NO_DOCKER, reason="TRUNKAUTH_NO_DOCKER=1")
def test_no_call_that_is_up_is_lost_when_the_active_node_is_killed() -> None:
    if missing := docker_is_missing():
        pytest.skip(missing)
    lab = TwoNodes()
    try:
        done = lab.engine("lab-two", within=LAB_WITHIN)
        logs = "".join(map(lab.log, lab.containers()))
    finally:
        lab.engine("lab-down")
        remains = lab.remains()
        lab.docker.close()
    output = done.stdout[done.stdout.find("has the address; 80 calls") :]
    assert done.returncode == 0, output
    killed, taken = re.findall(r"(?m)^lab/engine: (?:killing (\w+)|(\w+) has the address)$", output)
    assert {killed[0], taken[1]} == {"kamailio", "other"}, output
    assert "unable to find dialog for BYE" in logs  # calls of the other node's went on through this one
    assert "Traceback" not in logs
    assert remains == []
