"""A call goes on after Kamailio has ended and was started again: CSeq, challenges, trunk, from either side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.node import Native
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.restarts import ENDS, Stories, restarting
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge, Offer

pytestmark = [pytest.mark.every_kamailio, pytest.mark.long]

STORIES = Stories()
EVERY_REQUEST = frozenset({"INVITE", "re-INVITE", "INFO", "UPDATE", "BYE", "PRACK"})
INVITE_ALONE = frozenset({"INVITE"})


def up(scene: Scene, trunk: Trunk) -> Exchange:
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect_acks()
    return call


def goes_on(trunk: Trunk, call: Exchange) -> None:
    """Every kind of request passes, from either side, and the call ends."""
    call_id = call.request.call_id
    call.inside("INFO").expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    trunk.carrier.in_call(call_id, "INFO").expect(200)
    trunk.carrier.in_call(call_id, "INVITE", SDP).expect(200)
    call.inside("UPDATE", body=SDP).expect(200)
    call.inside("BYE").expect(200)


CARRIERS = {
    "INVITE is challenged": Challenge(requests=INVITE_ALONE),
    "every request is challenged": Challenge(requests=EVERY_REQUEST, nonces=Nonces(ONE_REQUEST)),
    "SHA-256, by the far end": Challenge(401, requests=EVERY_REQUEST, offers=(Offer("SHA-256"),)),
}


@STORIES.tell_each(CARRIERS)
def a_call_goes_on(scene: Scene, challenge: Challenge) -> Iterator[None]:
    trunk = scene.trunk(Script(challenge))
    call = up(scene, trunk)
    yield
    goes_on(trunk, call)


@STORIES.tell
def a_call_goes_on_after_a_stop(scene: Scene) -> Iterator[None]:
    yield
    trunk = scene.trunk()
    call = up(scene, trunk)
    yield
    goes_on(trunk, call)


@STORIES.tell
def requests_that_were_challenged_before_are_passed(scene: Scene) -> Iterator[None]:
    """Their raised numbers are in nobody's route set."""
    trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
    call = up(scene, trunk)
    for _ in range(3):
        call.inside("INFO").expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    yield
    goes_on(trunk, call)


@STORIES.tell
def a_call_survives_two_restarts(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
    call = up(scene, trunk)
    yield
    call.inside("INFO").expect(200)
    yield
    goes_on(trunk, call)


@STORIES.tell
def a_re_invite_is_cancelled(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
    call = up(scene, trunk)
    yield
    trunk.carrier.script = replace(trunk.carrier.script, final=None)
    again = call.inside("INVITE", body=SDP)
    again.expect(180)
    again.cancel().expect(200)
    again.expect(487)
    trunk.carrier.script = replace(trunk.carrier.script, final=200)
    goes_on(trunk, call)


@STORIES.tell
def the_carrier_hangs_up(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk()
    call = up(scene, trunk)
    yield
    trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)


@STORIES.tell
def an_ha1_for_sha_256_serves(scene: Scene) -> Iterator[None]:
    challenge = CARRIERS["SHA-256, by the far end"]
    trunk = scene.trunk(Script(challenge))
    ha1 = hashlib.sha256(f"{trunk.user}:{challenge.realm}:{trunk.password}".encode()).hexdigest()
    scene.change_row(trunk, auth_password="", auth_ha1=ha1)
    call = up(scene, trunk)
    yield
    goes_on(trunk, call)


@STORIES.tell
def a_row_that_leads_elsewhere_by_then_gives_no_response(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
    other = scene.trunk()
    call = up(scene, trunk)
    scene.change_row(trunk, auth_proxy=other.carrier.proxy_uri)
    yield
    call.inside("BYE").expect(503)
    assert not other.carrier.trace


@pytest.mark.parametrize("story", STORIES.told)
def test_over_restarts(ended: dict[str, Exception | None], story: str) -> None:
    if fault := ended[story]:
        raise fault


def test_a_call_goes_on_after_restarts_by_a_service_manager(native: Native) -> None:
    """Natively: in a container, the process group is its engine's to signal."""
    with restarting(native) as restarts, Scene(restarts.kamailio) as scene:
        trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
        calls = [up(scene, trunk) for _ in range(2)]
        for end in ("SIGTERM to all", "SIGINT to all"):
            restarts.restart(scene, end=ENDS[end])
            goes_on(trunk, calls.pop())


def test_a_forged_mark_opens_nothing(native: Native) -> None:
    """Made with another key: the deployment's was lost."""
    with restarting(native) as restarts, Scene(restarts.kamailio) as scene:
        trunk = scene.trunk()
        call = up(scene, trunk)
        (scene.kamailio.state / "key").write_text(f"{'0' * 64}\n")
        restarts.restart(scene)
        call.inside("BYE").expect(481)
        assert not trunk.carrier.received("BYE")
