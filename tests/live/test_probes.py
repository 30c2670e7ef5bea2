"""Trunks that are probed by OPTIONS: what their carriers see, and what calls do when one does not answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.carrier import Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

DOWN_WITHIN = 20.0  # seconds: three probes of a second, each unanswered for one, and the first of them


@pytest.fixture(scope="module")
def quick(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio that waits a second for a reply."""
    with installation.running(Options(also={"TRUNKAUTH_TRY_SECONDS": "1"})) as running:
        yield running


@pytest.fixture
def scene(quick: Kamailio) -> Iterator[Scene]:
    with Scene(quick) as stage:
        yield stage


def probed(scene: Scene, trunk: Trunk) -> Trunk:
    scene.kamailio.database.execute("INSERT INTO trunk (l_uuid, probe) VALUES (?, 1)", (trunk.uuid,))
    return trunk


def wait_until(scene: Scene, trunk: Trunk, outcome: str, after: int = 0) -> str:
    scene.kamailio.wait_for_log(f"trunk={trunk.uuid} outcome={outcome}", DOWN_WITHIN, after)
    lines = scene.kamailio.log()[after:].splitlines()
    return next(line for line in lines if f"trunk={trunk.uuid} outcome={outcome}" in line)


def call(scene: Scene, *trunks: Trunk) -> None:
    headers = [("X-Trunk", ", ".join(trunk.uuid for trunk in trunks))]
    made = scene.pbx.invite("sip:5551234@pbx.test", headers=headers)
    made.expect(200)
    made.inside("BYE").expect(200)


def test_whatever_a_carrier_answers_it_is_there(scene: Scene) -> None:
    host, port = scene.kamailio.sip
    asking = Challenge(requests=frozenset({"INVITE", "OPTIONS"}))
    trunks = [
        probed(scene, trunk)
        for trunk in (
            scene.trunk(Script(), socket=f"udp:{host}:{port}"),
            scene.trunk(Script(asking)),
            scene.trunk(Script(probed=486), transport="tcp"),
        )
    ]
    for trunk in trunks:
        probe = trunk.carrier.expect("OPTIONS", count=4, within=DOWN_WITHIN)
        assert probe.uri == f"sip:{trunk.domain}"
        assert not probe.has("Proxy-Authorization")  # a challenge is an answer, and gets none
        assert len({each.call_id for each in trunk.carrier.received("OPTIONS")}) >= 4
        assert f"trunk={trunk.uuid} outcome=down" not in scene.kamailio.log()
    assert trunks[0].carrier.received("OPTIONS")[0].vias[0].startswith(f"SIP/2.0/UDP {host}:{port}")


def test_a_trunk_that_does_not_answer_is_left_out_until_it_does(scene: Scene) -> None:
    silent, full = probed(scene, scene.trunk(Script(probed=None))), probed(scene, scene.trunk(Script(probed=503)))
    over_tcp = probed(scene, scene.trunk(Script(probed=None), transport="tcp"))
    refused = probed(scene, scene.trunk(Script(), auth_proxy="sip:127.0.0.1:9;transport=tcp"))
    there = scene.trunk(Script())
    for trunk, reason in ((silent, "silent"), (full, "503"), (over_tcp, "silent"), (refused, "")):
        line = wait_until(scene, trunk, "down")
        assert (f'reason="{reason}' in line, ' to OPTIONS" call-id=' in line) == (True, True)
    call(scene, silent, full, over_tcp, refused, there)
    assert not any(trunk.carrier.received("INVITE") for trunk in (silent, full, over_tcp))
    silent.carrier.answer_probes(404)  # it is there, whatever it thinks of OPTIONS
    wait_until(scene, silent, "up-again seconds=")
    call(scene, silent, there)
    silent.carrier.expect("INVITE")


def test_a_trunk_that_is_disabled_is_probed_no_more(scene: Scene) -> None:
    first, second = (probed(scene, scene.trunk(Script())) for _ in range(2))
    first.carrier.expect("OPTIONS", within=DOWN_WITHIN)
    scene.kamailio.database.execute("UPDATE trunk SET enabled = 0 WHERE l_uuid = ?", (first.uuid,))
    scene.kamailio.wait_until_looked_at()
    seen = len(second.carrier.received("OPTIONS"))
    second.carrier.expect("OPTIONS", count=seen + 2, within=DOWN_WITHIN)  # by then the other would have been asked
    before = len(first.carrier.received("OPTIONS"))
    second.carrier.expect("OPTIONS", count=seen + 4, within=DOWN_WITHIN)
    assert len(first.carrier.received("OPTIONS")) == before
