"""TCP connections that the other end closes."""

from __future__ import annotations

import pytest

from tests.harness.carrier import Script
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up
from tests.harness.verifier import Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_carrier_that_closes_the_connection_behind_its_challenge(scene: Scene, algorithm: str) -> None:
    challenge = Challenge(offers=(Offer(algorithm),), nonces=Nonces(ONE_REQUEST))
    trunk = scene.trunk(Script(challenge, ring=False, hangs_up=True), transport="tcp")
    for _ in range(5):
        talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 200] * 5
