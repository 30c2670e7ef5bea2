"""Carriers whose nodes have realms of their own, and replies that want two: RFC 3261 22.3."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.carrier import Script
from tests.harness.message import auth_params
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import talk_and_hang_up
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

NOBODY = frozenset[str]()
OFFERS = {"uac_auth": Offer(), "our own digest": Offer("SHA-256")}


def realms(trunk: Trunk) -> list[list[str]]:
    """The realms of the credentials on each INVITE."""
    fields = (each.all("Proxy-Authorization") for each in trunk.carrier.received("INVITE"))
    return [[auth_params(value)["realm"] for value in values] for values in fields]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_node_of_another_realm_gets_a_response_for_its_own_alone(scene: Scene, offer: Offer) -> None:
    """It may read the first field only, and ask again for ever."""
    near, far = (Challenge(realm=realm, offers=(offer,)) for realm in ("near.test", "far.test"))
    trunk = scene.trunk(Script(near, behind=replace(far, requests=NOBODY)))
    talk_and_hang_up(trunk, scene.call(trunk))
    trunk.carrier.ask(replace(near, requests=NOBODY), far)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert realms(trunk) == [[], ["near.test"], ["near.test"], ["far.test"]]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_one_reply_that_wants_two_realms_gets_both(scene: Scene, offer: Offer) -> None:
    near, far = (Challenge(realm=realm, offers=(offer,)) for realm in ("near.test", "far.test"))
    trunk = scene.trunk(Script(near, behind=far, together=True))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 200]
    assert [verdict for *_, verdict in trunk.carrier.verdicts] == [MISSING, MISSING, ACCEPTED, ACCEPTED]
    assert realms(trunk) == [[], ["near.test", "far.test"]]
