"""Nothing overtakes inside a dialog: messages sent back to back arrive in their order, over UDP and TCP, whatever
TRUNKAUTH_WORKERS is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.agent import Agent, Exchange
from tests.harness.carrier import Script
from tests.harness.dialog import Dialog
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene, Trunk

PAIRS = 100  # four workers on one UDP socket let about one pair in six cross, whichever way it goes

pytestmark = pytest.mark.every_kamailio

BOTH_ENDS = pytest.mark.parametrize(
    ("pbx", "carrier"), [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp"), ("tcp", "tcp")]
)


@pytest.fixture(scope="module")
def four_workers(installation: Installation) -> Iterator[Kamailio]:
    with installation.running(Options(workers=4)) as running:
        yield running


@pytest.fixture
def scene(four_workers: Kamailio) -> Iterator[Scene]:
    with Scene(four_workers) as stage:
        yield stage


def call_over(scene: Scene, trunk: Trunk, transport: str) -> Exchange:
    """A call from a PBX with this transport, once it is up."""
    call = scene.caller(transport=transport).invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    call.expect(200)
    trunk.carrier.expect("ACK")
    return call


def order_of_pairs(sender: Agent, dialog: Dialog, receiver: Agent) -> list[int]:
    """CSeq numbers in the order in which they arrived, of requests that were sent two at a time."""
    for _ in range(PAIRS):
        pair = [sender.inside(dialog, "INFO") for _ in range(2)]
        for each in pair:
            each.expect(200)
    with receiver.changed:
        received = [seen.message for seen in receiver.trace if not seen.sent and seen.message.start.startswith("INFO ")]
    return [each.cseq[0] for each in dict.fromkeys(received)]


@BOTH_ENDS
def test_requests_of_the_carrier(scene: Scene, pbx: str, carrier: str) -> None:
    trunk = scene.trunk(Script(), transport=carrier)
    call = call_over(scene, trunk, pbx)
    numbers = order_of_pairs(trunk.carrier, trunk.carrier.dialogs[call.request.call_id], call.agent)
    assert numbers == list(range(1, 1 + 2 * PAIRS))


@BOTH_ENDS
def test_requests_of_the_pbx(scene: Scene, pbx: str, carrier: str) -> None:
    trunk = scene.trunk(Script(), transport=carrier)
    call = call_over(scene, trunk, pbx)
    assert call.dialog
    assert order_of_pairs(call.agent, call.dialog, trunk.carrier) == list(range(2, 2 + 2 * PAIRS))


@BOTH_ENDS
def test_180_and_200(scene: Scene, pbx: str, carrier: str) -> None:
    trunk = scene.trunk(Script(), transport=carrier)
    caller = scene.caller(transport=pbx)
    for _ in range(PAIRS):
        call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        call.expect(200)
        assert [each.status for each in call.responses if each.status > 100] == [180, 200]
