"""Credentials go to their carrier alone: by address, port and transport, and only as it asks for them itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import message
from tests.harness.agent import Exchange
from tests.harness.carrier import Carrier, Script
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import credentials, list_carrier, policy, refused, refused_because, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

MACHINE = "127.0.0.7"  # another one of the carrier's, or not
ASKING = frozenset({"INVITE", "re-INVITE", "INFO", "BYE"})
NOT_THE_CARRIERS = "not asked by the trunk's carrier"
NOT_SO = "not as the trunk's carrier asks"
OFFERS = {"uac_auth": Offer(), "our own digest": Offer("SHA-256")}


def up(scene: Scene, trunk: Trunk) -> Exchange:
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect_acks()
    return call


def another(trunk: Trunk, host: str, transport: str = "udp") -> Carrier:
    """A server that knows the trunk's user and password, so that it would take an answer."""
    return Carrier(Script(Challenge(requests=ASKING)), {trunk.user: trunk.password}, host=host, transport=transport)


def saw_none(carrier: Carrier) -> None:
    """It has asked, and got no credentials."""
    assert {verdict for *_, verdict in carrier.verdicts} == {MISSING}
    assert not [each for each in carrier.received("INFO") if credentials(each)]


def led_to(scene: Scene, trunk: Trunk, other: Carrier, way: str) -> Exchange:
    """An INFO in a call whose Contact, or Route, leads to another server."""
    if way == "Contact":
        trunk.carrier.contact = other.uri
    call = scene.call(trunk)
    call.expect(200)
    if way == "Contact":
        trunk.carrier.acknowledged_elsewhere(other.expect("ACK"))
    trunk.carrier.expect_acks()
    assert call.dialog
    if way == "Route":
        call.dialog.routes += (f"<{other.uri};lr>",)
    return call.inside("INFO")


@pytest.mark.parametrize("way", ["Contact", "Route"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_another_port_or_transport_of_the_carriers_address(scene: Scene, way: str, transport: str) -> None:
    trunk = scene.trunk(Script(Challenge()))
    with another(trunk, "127.0.0.1", transport) as other:
        refused_because(scene, trunk, NOT_THE_CARRIERS, led_to(scene, trunk, other, way))
        saw_none(other)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("way", ["Contact", "Route"])
@pytest.mark.parametrize("any_port", [False, True])
def test_a_machine_that_is_listed_for_the_trunk_is_answered(scene: Scene, way: str, any_port: bool) -> None:
    trunk = scene.trunk(Script(Challenge()))
    with another(trunk, MACHINE) as other:
        list_carrier(scene.kamailio, MACHINE, 0 if any_port else other.address[1], trunk.uuid)
        led_to(scene, trunk, other, way).expect(200)
        assert [verdict for kind, _, verdict in other.verdicts if kind == "INFO"] == [MISSING, ACCEPTED]


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("wrong", ["another trunk's", "nobody's", "another port"])
def test_a_machine_that_is_listed_otherwise_is_not(scene: Scene, wrong: str) -> None:
    trunk, rival = scene.trunk(Script(Challenge())), scene.trunk()
    with another(trunk, MACHINE) as other:
        tag = {"another trunk's": rival.uuid, "nobody's": "", "another port": trunk.uuid}[wrong]
        list_carrier(scene.kamailio, MACHINE, 9 if wrong == "another port" else 0, tag)
        refused_because(scene, trunk, NOT_THE_CARRIERS, led_to(scene, trunk, other, "Contact"))
        saw_none(other)


@pytest.mark.parametrize("host", ["127.0.0.1", MACHINE])
def test_a_challenge_that_comes_from_elsewhere_is_not_believed(scene: Scene, host: str) -> None:
    """From another address than the one that the request went to, or another port of it."""
    trunk = scene.trunk(Script(Challenge()))
    call = up(scene, trunk)
    trunk.carrier.hold()
    info = call.inside("INFO")
    received = trunk.carrier.expect("INFO")
    asked = [("Proxy-Authenticate", 'Digest realm="carrier.test", nonce="n", algorithm=MD5, qop="auth"')]
    with another(trunk, host) as other:
        reply = message.response(received, 407, "Asked", message.new_tag(), headers=asked)
        other.send(reply, scene.kamailio.sip)
        refused_because(scene, trunk, NOT_THE_CARRIERS, info)
    assert len(trunk.carrier.received("INFO")) == 1
    trunk.carrier.release()
    call.inside("BYE").expect(200)


def test_a_carrier_over_tcp_is_answered_in_its_calls(scene: Scene) -> None:
    trunk = scene.trunk(Script(Challenge(requests=ASKING)), transport="tcp")
    call = up(scene, trunk)
    call.inside("INFO").expect(200)
    call.inside("BYE").expect(200)
    assert [verdict for *_, verdict in trunk.carrier.verdicts][:2] == [MISSING, ACCEPTED]


# --- a row that names no carrier


def dialled(scene: Scene, trunk: Trunk) -> Exchange:
    host, port = trunk.carrier.address
    return scene.pbx.invite(f"sip:5551234@{host}:{port}", headers=[("X-Trunk", trunk.uuid)])


def test_without_a_realm_it_is_unusable(scene: Scene) -> None:
    trunk = scene.trunk(auth_proxy="", r_domain="")
    dialled(scene, trunk).expect(404)
    scene.kamailio.wait_for_log(
        f'trunk={trunk.uuid} outcome=unusable reason="realm, auth_proxy and r_domain are empty"'
    )
    assert not trunk.carrier.trace


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("tag", ["", "its own"])
def test_it_answers_a_listed_carrier_alone(scene: Scene, tag: str) -> None:
    script = Script(Challenge(requests=ASKING))
    trunk = scene.trunk(script, auth_proxy="", r_domain="", realm="carrier.test")
    refused_because(scene, trunk, NOT_THE_CARRIERS, dialled(scene, trunk))
    saw_none(trunk.carrier)
    list_carrier(scene.kamailio, "127.0.0.1", trunk.carrier.address[1], trunk.uuid if tag else "")
    talk_and_hang_up(trunk, dialled(scene, trunk))


@pytest.mark.usefixtures("listed")
def test_it_does_not_answer_another_trunks_carrier(scene: Scene) -> None:
    trunk, other = scene.trunk(auth_proxy="", r_domain="", realm="carrier.test"), scene.trunk()
    list_carrier(scene.kamailio, "127.0.0.1", trunk.carrier.address[1], other.uuid)
    refused(dialled(scene, trunk))
    saw_none(trunk.carrier)


# --- who asks as the carrier does


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("realm", ["carrier.test", ""])
def test_a_far_end_that_asks_for_the_trunks_own_realm_gets_nothing(scene: Scene, offer: Offer, realm: str) -> None:
    """Its carrier asks as a proxy, was content with the answer in a call before, and relays the far end's 401."""
    near = Challenge(407, offers=(offer,))
    far = Challenge(401, offers=(offer,), requests=frozenset())
    trunk = scene.trunk(Script(near, behind=far), realm=realm)
    talk_and_hang_up(trunk, scene.call(trunk))
    trunk.carrier.ask(near, replace(far, requests=ASKING))
    refused_because(scene, trunk, NOT_SO, scene.call(trunk))
    assert not [each for each in trunk.carrier.received("INVITE") if each.has("Authorization")]
    trunk.carrier.ask(near, far)
    talk_and_hang_up(trunk, scene.call(trunk))


def test_a_far_end_with_a_realm_of_its_own_gets_nothing_behind_the_carriers_challenge(scene: Scene) -> None:
    """Over a row that answers any realm."""
    near, far = Challenge(407), Challenge(401, realm="far.test", requests=frozenset())
    trunk = scene.trunk(Script(near, behind=far))
    talk_and_hang_up(trunk, scene.call(trunk))
    trunk.carrier.ask(near, replace(far, requests=ASKING))
    refused_because(scene, trunk, NOT_SO, scene.call(trunk))
    assert not [each for each in trunk.carrier.received("INVITE") if each.has("Authorization")]


def test_a_row_may_have_far_ends_answered_for_its_realm(scene: Scene) -> None:
    near, far = Challenge(407), Challenge(401, requests=frozenset())
    trunk = scene.trunk(Script(near, behind=far), realm="carrier.test")
    policy(scene, trunk, answers_far_end=1)
    talk_and_hang_up(trunk, scene.call(trunk))
    trunk.carrier.ask(near, replace(far, requests=ASKING))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE")[-2:] == [401, 200]


@pytest.mark.parametrize("realm", ["carrier.test", "far.test"])
def test_behind_a_carrier_that_asks_alone_nobody_gets_an_answer_in_the_first_call(scene: Scene, realm: str) -> None:
    trunk = scene.trunk(Script(Challenge(407), behind=Challenge(401, realm=realm)))
    policy(scene, trunk, asks_alone=1)
    refused_because(scene, trunk, NOT_SO, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 401]
    assert not [each for each in trunk.carrier.received("INVITE") if each.has("Authorization")]


def test_a_call_answers_four_challenges_in_all(scene: Scene) -> None:
    near, far = Challenge(407, stale=1), Challenge(401, realm="far.test", stale=9)
    trunk = scene.trunk(Script(near, behind=far))
    refused_because(scene, trunk, "too many challenges", scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 407, 401, 401, 401]
