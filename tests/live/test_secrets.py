"""Passwords that rows only name: where they may come from, when a new one is seen, and where they never lie."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.carrier import Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import place, status, wait_until
from tests.harness.verifier import ACCEPTED, Challenge

SEEN_WITHIN = 5.0  # seconds; the files are looked at once a second
LINE = {"l_username": "line", "l_domain": "line.test", "r_username": "line"}
REGISTER = Script(Challenge(401, requests=frozenset({"REGISTER"})))
PASSWORD = "pw-in-a-variable"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory, as systemd, Docker and Kubernetes mount it, which a container's user can read."""
    user = Path(f"/run/user/{os.geteuid()}")
    with tempfile.TemporaryDirectory(prefix="kemi-", dir=user if user.is_dir() else "/run") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def node(installation: Installation, folder: Path) -> Iterator[Kamailio]:
    options = Options(
        modparams=REGISTERS_EVERY_SECOND, also={"BERLIN_PASSWORD": PASSWORD}, secrets=folder, preemptive="off"
    )
    with installation.running(options) as running:
        yield running


@pytest.fixture
def scene(node: Kamailio) -> Iterator[Scene]:
    with Scene(node) as stage:
        yield stage


def write(file: Path, secret: str) -> None:
    file.write_text(f"{secret}\n")
    file.chmod(0o644)


def in_a_file(scene: Scene, file: Path, script: Script) -> Trunk:
    """A trunk whose password is in this file alone."""
    trunk = scene.trunk(script, auth_password=f"file:{file}")
    scene.kamailio.database.secrets.add(trunk.password)
    scene.kamailio.database.secrets.discard(f"file:{file}")
    write(file, trunk.password)
    return trunk


def local_files_with(node: Kamailio, secret: str) -> set[str]:
    """The files of the state directory that hold this text, without their logs' endings."""
    return {file.name.split("-")[0] for file in node.state.glob("*.sqlite*") if secret.encode() in file.read_bytes()}


def test_a_password_in_a_file_answers_and_a_new_one_is_seen(scene: Scene, folder: Path) -> None:
    node, file = scene.kamailio, folder / "berlin"
    trunk = in_a_file(scene, file, Script(Challenge()))
    wait_until(scene, trunk.uuid, 200, SEEN_WITHIN)
    write(file, "not-this-one")
    wait_until(scene, trunk.uuid, 503, SEEN_WITHIN, before=(200,))
    write(file, trunk.password)
    wait_until(scene, trunk.uuid, 200, SEEN_WITHIN, before=(503,))
    file.unlink()
    wait_until(
        scene, trunk.uuid, 404, SEEN_WITHIN, before=(200, 503)
    )  # 503: it went between a challenge and its answer
    gone = f'trunk={trunk.uuid} outcome=unusable reason="auth_password names a file that cannot be read"'
    node.wait_for_log(gone)
    write(file, trunk.password)
    wait_until(scene, trunk.uuid, 200, SEEN_WITHIN)
    assert local_files_with(node, trunk.password) == set()


def test_a_password_in_a_variable(scene: Scene) -> None:
    named = scene.trunk(Script(Challenge()), auth_password="env:BERLIN_PASSWORD")
    assert status(scene, named.uuid) == 503  # it is another one than the carrier's, and was sent
    unset = scene.trunk(Script(Challenge()), auth_password="env:HAMBURG_PASSWORD")
    assert status(scene, unset.uuid) == 404
    unset_line = f'trunk={unset.uuid} outcome=unusable reason="auth_password names a variable that is not set"'
    scene.kamailio.wait_for_log(unset_line)
    assert "env:" not in place(scene, named.uuid).request.start
    assert PASSWORD not in scene.kamailio.log()


def test_a_registration_takes_its_password_from_a_file_and_a_new_one(scene: Scene, folder: Path) -> None:
    """It lies in the file that the uac module reads, as long as the row registers."""
    node, file = scene.kamailio, folder / "bremen"
    write(file, "not-this-one")
    trunk = scene.trunk(REGISTER, auth_password=f"file:{file}", expires=3600, **LINE)
    trunk.carrier.expect("REGISTER", count=2)
    assert local_files_with(node, "not-this-one") == {"names.sqlite"}
    write(file, trunk.password)
    node.wait_for("the registration", lambda: registered(trunk), SEEN_WITHIN * 2)
    assert local_files_with(node, trunk.password) == {"names.sqlite"}
    node.database.delete_trunk(trunk.uuid)
    node.wait_for("nothing left", lambda: not local_files_with(node, trunk.password), SEEN_WITHIN)


def registered(trunk: Trunk) -> bool:
    return ACCEPTED in [verdict for kind, _, verdict in trunk.carrier.verdicts if kind == "REGISTER"]


def test_a_password_in_the_database_is_gone_from_the_local_files_with_its_row(scene: Scene) -> None:
    node = scene.kamailio
    trunk = scene.trunk(REGISTER, expires=3600, **LINE)
    node.wait_for("the registration", lambda: registered(trunk), SEEN_WITHIN * 2)
    assert local_files_with(node, trunk.password) == {"trunkauth.sqlite", "replica.sqlite", "names.sqlite"}
    node.database.delete_trunk(trunk.uuid)

    def is_gone() -> bool:
        return not local_files_with(node, trunk.password) & {"replica.sqlite", "names.sqlite"}

    node.wait_for("nothing left", is_gone, SEEN_WITHIN)
