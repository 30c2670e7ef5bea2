"""The Debian package, from an empty Debian on: installed, called over, upgraded with a call up, removed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi import VERSION
from kemi.health.options import ask
from lab.programs import Foreground, free_port
from tests.harness import package
from tests.harness.carrier import Script
from tests.harness.machine import NO_DOCKER, PROJECT, docker_is_missing
from tests.harness.node import AS_IT_COMES, Kamailio, Native, settings
from tests.harness.package import COMMAND, SERVICE, InDebian
from tests.harness.restarts import restarting
from tests.harness.scene import Scene
from tests.live.test_survival import CARRIERS, goes_on, up

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(NO_DOCKER, reason="TRUNKAUTH_NO_DOCKER=1"),
]

NEXT = f"{VERSION}+next"
Packages = tuple[Path, Path]

DPKGS = "/var/lib/dpkg/*"
PLACES = ("/etc", "/usr", "/var/lib")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """This version's package, and one that upgrades it."""
    return (
        package.build(tmp_path_factory.mktemp("package"), VERSION),
        package.build(tmp_path_factory.mktemp("package"), NEXT),
    )


@pytest.fixture(params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InDebian]:
    if missing := docker_is_missing():
        pytest.skip(missing)
    found = InDebian(tmp_path_factory.mktemp("deb"), request.param)
    yield found
    found.close()


def test_it_is_installed_upgraded_with_a_call_up_and_removed(debian: InDebian, packages: Packages) -> None:
    first, second = packages

    def upgrade(_: Kamailio) -> None:
        debian.install(second)

    debian.install(first)
    assert debian.run(COMMAND, "--version") == f"kemi-trunkauth {VERSION}\n"
    with restarting(debian) as restarts, Scene(restarts.kamailio) as scene:
        trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
        call = up(scene, trunk)
        restarts.restart(scene, end=upgrade)
        goes_on(trunk, call)
        scene.call(trunk).expect(200)
        trunk.carrier.expect_acks()
    assert NEXT in debian.run("dpkg-query", "--show", "kemi-trunkauth")
    debian.run("dpkg", "--remove", "kemi-trunkauth")
    assert found(debian) == {"/etc/default/kemi-trunkauth", "/var/lib/kemi-trunkauth"}
    debian.run("dpkg", "--purge", "kemi-trunkauth")
    assert found(debian) == set()


@pytest.mark.parametrize("debian", ["trixie"], indirect=True)
def test_systemd_starts_it_starts_it_again_when_it_dies_and_stops_it(debian: InDebian, packages: Packages) -> None:
    port = free_port()

    def answers() -> bool:
        return " 200 " in ask("udp", "127.0.0.1", port, 1.0)

    def main_pid() -> str:
        return debian.says("systemctl", "show", "--property", "MainPID", "--value", SERVICE)

    debian.install(packages[0])
    debian.start_systemd()
    debian.run("sh", "-c", f"echo TRUNKAUTH_LISTEN=udp:127.0.0.1:{port} >> /etc/default/kemi-trunkauth")
    debian.run(COMMAND, "db")
    debian.run("systemctl", "enable", "--now", SERVICE)
    debian.wait_for("it answers OPTIONS", answers)
    before = main_pid()
    debian.run("systemctl", "kill", "--signal", "KILL", SERVICE)
    debian.wait_for("it was started again", lambda: main_pid() not in (before, "0") and answers())
    debian.run("systemctl", "restart", SERVICE)
    debian.wait_for("it answers OPTIONS", answers)
    debian.run("systemctl", "stop", SERVICE)
    assert debian.says("systemctl", "is-active", SERVICE) == "inactive"
    assert debian.says("systemctl", "show", "--property", "Result", "--value", SERVICE) == "success"
    assert "Listening on" in debian.run("journalctl", "--no-pager", "--unit", SERVICE)


def test_the_wheel_alone_starts_kamailio(native: Native, packages: Packages, tmp_path: Path) -> None:
    """Beside it there are only the libraries of this Python."""
    wheel = next(packages[0].parent.glob("*.whl"))
    shipped = {f"kemi/{file.relative_to(PROJECT)}" for file in (PROJECT / "kamailio").rglob("*.cfg")}
    assert shipped | {"kemi/kamailio/examples/phones.py"} <= set(zipfile.ZipFile(wheel).namelist())
    library, state, sip = tmp_path / "library", tmp_path / "state", ("127.0.0.1", free_port())
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(library), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    program = [sys.executable, "-m", "kemi"]
    environment = {**os.environ, **settings(state, sip, AS_IT_COMES), "PYTHONPATH": str(library)}
    subprocess.run([*program, "db"], check=True, capture_output=True, timeout=30, env=environment, cwd=tmp_path)
    command = [*program, "run", "-u", str(os.geteuid())]
    kamailio = Foreground("Kamailio", command, tmp_path / "log", environment=environment, folder=tmp_path)
    try:
        kamailio.wait_until_it_answers("{}:{}".format(*sip))
    finally:
        kamailio.stop()


def found(debian: InDebian) -> set[str]:
    """Return what there is in the file system with the package's name."""
    return set(debian.run("find", *PLACES, "-name", "*kemi[-_]trunkauth*", "-not", "-path", DPKGS).split())
