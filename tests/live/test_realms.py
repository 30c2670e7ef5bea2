"""Carriers whose nodes have realms of their own, replies that want two, headers that are mixed up: RFC 3261 22.3."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness.carrier import Script
from tests.harness.message import auth_params
from tests.harness.nonces import ONCE, Nonces
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
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 200, 200]
    assert realms(trunk) == [[], *[["near.test", "far.test"]] * 2]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize(("first", "second"), [(401, 407), (407, 401)])
def test_one_reply_that_asks_by_both_headers_gets_both(scene: Scene, first: int, second: int, offer: Offer) -> None:
    trunk = scene.trunk(
        Script(Challenge(first, offers=(offer,)), behind=Challenge(second, offers=(offer,)), together=True)
    )
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [first, 200]
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [first, 200, 200]
    assert [verdict for *_, verdict in trunk.carrier.verdicts] == [*[MISSING] * 2, *[ACCEPTED] * 4]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize(("reply", "status"), [(401, 407), (407, 401)])
def test_the_header_that_was_asked_for_is_sent(scene: Scene, reply: int, status: int, offer: Offer) -> None:
    trunk = scene.trunk(Script(Challenge(status, offers=(offer,), reply=reply)))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [reply, 200]
    talk_and_hang_up(trunk, scene.call(trunk))
    assert [verdict for *_, verdict in trunk.carrier.verdicts] == [MISSING, ACCEPTED, ACCEPTED]


def test_a_proxy_may_name_its_next_nonce_as_a_server_does(scene: Scene) -> None:
    """Kamailio does; each nonce serves once, so that nothing else would do."""
    trunk = scene.trunk(Script(Challenge(nonces=Nonces(ONCE, named=True), info="Authentication-Info")))
    for _ in range(3):
        talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 200, 200, 200]
