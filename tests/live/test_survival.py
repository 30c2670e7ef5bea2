"""A call goes on after Kamailio has ended and was started again: CSeq, challenges, trunk, from either side."""

from __future__ import annotations

import contextlib
import hashlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from lab.programs import Foreground
from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.node import AS_IT_COMES, Installation, Kamailio, Native, Options
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.long]

EVERY_REQUEST = frozenset({"INVITE", "re-INVITE", "INFO", "UPDATE", "BYE", "PRACK"})
INVITE_ALONE = frozenset({"INVITE"})


def signalled(number: int) -> Callable[[Kamailio], None]:
    """Send a signal to the whole process group, and wait for the end."""

    def end(kamailio: Kamailio) -> None:
        assert isinstance(kamailio.program, Foreground)
        kamailio.program.signal_all(number)
        kamailio.wait_for("the end", lambda: not kamailio.program.alive(), within=10)

    return end


ENDS: dict[str, Callable[[Kamailio], None]] = {
    "stopped": lambda kamailio: None,  # by its context: SIGTERM to the main process
    "killed": lambda kamailio: kamailio.program.kill(),
    "SIGTERM to all": signalled(signal.SIGTERM),
    "SIGINT to all": signalled(signal.SIGINT),
}


@dataclass
class Restarts:
    """A scene whose Kamailio can be ended and started again at the same address, with the same state directory."""

    installation: Installation
    options: Options
    stack: contextlib.ExitStack
    scene: Scene

    def restart(self, end: Callable[[Kamailio], None] = ENDS["killed"]) -> None:
        end(self.scene.kamailio)
        self.stack.close()
        self.scene.kamailio = self.stack.enter_context(self.installation.running(self.options))


@pytest.fixture
def restarts(installation: Installation) -> Iterator[Restarts]:
    with restarting(installation) as restarts:
        yield restarts


@contextlib.contextmanager
def restarting(installation: Installation) -> Iterator[Restarts]:
    with contextlib.ExitStack() as outer:
        stack = outer.enter_context(contextlib.ExitStack())
        kamailio = stack.enter_context(installation.running(AS_IT_COMES))
        options = replace(AS_IT_COMES, state=kamailio.state, sip=kamailio.sip)
        scene = outer.enter_context(Scene(kamailio))
        yield Restarts(installation, options, stack, scene)


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


@pytest.mark.parametrize("challenge", CARRIERS.values(), ids=CARRIERS)
def test_a_call_goes_on_after_a_kill(restarts: Restarts, challenge: Challenge) -> None:
    trunk = restarts.scene.trunk(Script(challenge))
    call = up(restarts.scene, trunk)
    restarts.restart(ENDS["killed"])
    goes_on(trunk, call)


def test_a_call_goes_on_after_a_stop(restarts: Restarts) -> None:
    trunk = restarts.scene.trunk()
    call = up(restarts.scene, trunk)
    restarts.restart(ENDS["stopped"])
    goes_on(trunk, call)


@pytest.mark.parametrize("end", ["SIGTERM to all", "SIGINT to all"])
def test_a_call_goes_on_after_a_restart_by_a_service_manager(native: Native, end: str) -> None:
    """Natively: in a container, the process group is its engine's to signal."""
    with restarting(native) as restarts:
        trunk = restarts.scene.trunk(Script(CARRIERS["every request is challenged"]))
        call = up(restarts.scene, trunk)
        restarts.restart(ENDS[end])
        goes_on(trunk, call)


def test_requests_that_were_challenged_before_the_restart_are_passed(restarts: Restarts) -> None:
    """Their raised numbers are in nobody's route set."""
    trunk = restarts.scene.trunk(Script(CARRIERS["every request is challenged"]))
    call = up(restarts.scene, trunk)
    for _ in range(3):
        call.inside("INFO").expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    restarts.restart()
    goes_on(trunk, call)


def test_a_call_survives_two_restarts(restarts: Restarts) -> None:
    trunk = restarts.scene.trunk(Script(CARRIERS["every request is challenged"]))
    call = up(restarts.scene, trunk)
    restarts.restart()
    call.inside("INFO").expect(200)
    restarts.restart()
    goes_on(trunk, call)


def test_the_carrier_hangs_up_after_a_restart(restarts: Restarts) -> None:
    trunk = restarts.scene.trunk()
    call = up(restarts.scene, trunk)
    restarts.restart()
    trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)


def test_an_ha1_for_sha_256_serves_after_a_restart(restarts: Restarts) -> None:
    challenge = CARRIERS["SHA-256, by the far end"]
    trunk = restarts.scene.trunk(Script(challenge))
    ha1 = hashlib.sha256(f"{trunk.user}:{challenge.realm}:{trunk.password}".encode()).hexdigest()
    restarts.scene.change_row(trunk, auth_password="", auth_ha1=ha1)
    call = up(restarts.scene, trunk)
    restarts.restart()
    goes_on(trunk, call)


def test_a_row_that_leads_elsewhere_after_the_restart_gives_no_response(restarts: Restarts) -> None:
    trunk = restarts.scene.trunk(Script(CARRIERS["every request is challenged"]))
    other = restarts.scene.trunk()
    call = up(restarts.scene, trunk)
    restarts.scene.change_row(trunk, auth_proxy=other.carrier.proxy_uri)
    restarts.restart()
    call.inside("BYE").expect(503)
    assert not other.carrier.trace


def test_a_forged_mark_opens_nothing(restarts: Restarts) -> None:
    """Made with another key: the deployment's was lost."""
    trunk = restarts.scene.trunk()
    call = up(restarts.scene, trunk)
    (restarts.scene.kamailio.state / "key").write_text(f"{'0' * 64}\n")
    restarts.restart()
    call.inside("BYE").expect(481)
    assert not trunk.carrier.received("BYE")
