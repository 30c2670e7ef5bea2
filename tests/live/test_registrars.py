"""A registrar that is away and one that refuses: the log names the trunk, and a row that was mended registers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kemi.line import word
from tests.harness.carrier import Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge

pytestmark = pytest.mark.long

SILENCE = (("tm", "fr_timer", 2000),)  # milliseconds after which a REGISTER without a reply has failed
FAILED_WITHIN = 10.0  # seconds
REGISTER = Challenge(401, requests=frozenset({"REGISTER"}))


@dataclass(frozen=True)
class Registrar:
    """How one is at first, and what the log says of it."""

    script: Script
    reason: str
    columns: dict[str, str] = field(default_factory=dict)


AWAY = {
    "silent": Registrar(Script(registrar=None), "the registrar is silent"),
    "failing": Registrar(Script(registrar=503), "the registrar says 503"),
}
REFUSING = {
    "forbidding": Registrar(Script(REGISTER, registrar=403), "the registrar refuses: 403"),
    "another password": Registrar(Script(REGISTER), "the registrar refuses: 401", {"auth_password": "not this one"}),
}
OPTIONS = Options(modparams=(*REGISTERS_EVERY_SECOND, *SILENCE))


def test_the_log_says_why_a_trunk_is_not_registered_and_a_row_that_was_mended_is(installation: Installation) -> None:
    with installation.running(OPTIONS) as node, Scene(node) as scene:
        trunks = {name: failing(scene, registrar) for name, registrar in {**AWAY, **REFUSING}.items()}
        mended = trunks["another password"]
        scene.change_row(mended, auth_password=mended.password)
        node.wait_for("its registration", lambda: is_registered(node, mended), FAILED_WITHIN)


def failing(scene: Scene, registrar: Registrar) -> Trunk:
    """A trunk whose registration has failed, and the log says so."""
    who = {"l_username": "line", "l_domain": "line.test", "r_username": "line"}
    trunk = scene.trunk(registrar.script, expires=3600, **who, **registrar.columns)
    told = f"trunk={trunk.uuid} outcome=unregistered reason={word(registrar.reason)} next-seconds="
    scene.kamailio.wait_for_log(told, FAILED_WITHIN)
    return trunk


def is_registered(node: Kamailio, trunk: Trunk) -> bool:
    return "flags: 20" in node.rpc("uac.reg_info", "l_uuid", trunk.uuid)  # initialised and online
