"""The process itself: whose rights it has, where it works, what it leaves when it crashes, and what it never prints."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.programs import Foreground
from tests.harness.carrier import Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Native, Options
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up
from tests.harness.verifier import Challenge

USER = "kamailio"  # made by Debian's package

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def processes(node: Kamailio) -> list[Path]:
    """Those of a Kamailio of this machine, the main one first, in /proc."""
    assert isinstance(node.program, Foreground)
    main = node.program.process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return [Path(f"/proc/{each}") for each in (main, *children)]


def cores() -> list[tuple[Path, float]]:
    """The dumps where Kamailio leaves them if nobody minds."""
    return [(file, file.stat().st_mtime) for file in Path("/").glob("core*")]


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that anybody can reach, and root's as it was made."""
    made = Path(tempfile.mkdtemp(prefix="kemi-state-"))
    yield made
    shutil.rmtree(made)


@as_root
def test_root_is_given_up_for_good(native: Native, state: Path) -> None:
    user = pwd.getpwnam(USER)
    with native.running(Options(gives_up_root=True, state=state)) as node, Scene(node) as scene:
        for process in processes(node):
            status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
            assert status["Uid"].split() == [str(user.pw_uid)] * 4, status["Name"]
            assert status["Gid"].split() == [str(user.pw_gid)] * 4
            assert int(status["CapPrm"], 16) == 0
        files = [state, *state.iterdir()]
        assert {(file.owner(), file.stat().st_mode & 0o077) for file in files} == {(USER, 0)}
        trunk = scene.trunk()
        talk_and_hang_up(trunk, scene.call(trunk))


@as_root
def test_root_that_has_been_asked_for_stays(native: Native) -> None:
    with native.running() as node:
        assert (processes(node)[0] / "status").owner() == "root"


def test_a_crash_leaves_no_memory_behind(native: Native) -> None:
    with native.running() as node:
        workers = processes(node)
        for process in workers:
            assert (process / "cwd").readlink() == node.state
            (limit,) = (each for each in (process / "limits").read_text().splitlines() if "core file" in each)
            assert limit.split()[4] == "0", limit
        before = cores()
        os.kill(int(workers[-1].name), signal.SIGABRT)
        node.wait_for("the end", lambda: not node.program.alive(), within=10)
        assert cores() == before
        assert not [*node.state.glob("core*")]


def test_the_most_talkative_log_there_may_be_holds_no_password(installation: Installation) -> None:
    """Which its end judges: calls answered by uac_auth() and by Python, and a registration whose row changes."""
    options = Options(modparams=REGISTERS_EVERY_SECOND, also={"TRUNKAUTH_LOG_LEVEL": "2"})
    with installation.running(options) as node, Scene(node) as scene:
        trunk = scene.trunk()
        talk_and_hang_up(trunk, scene.call(trunk))
        hashed = scene.trunk(auth_ha1="0" * 32)
        scene.call(hashed).expect(503)
        line = {"l_username": "line", "l_domain": "line.test", "r_username": "line"}
        registering = scene.trunk(Script(Challenge(401, requests=frozenset({"REGISTER"}))), expires=3600, **line)
        registering.carrier.expect("REGISTER", count=2)
        scene.change_row(registering, auth_password="another-password")
        registering.carrier.expect("REGISTER", count=3)
