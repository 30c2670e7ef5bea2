"""Large requests on the wire: by TCP to a carrier that has it, by UDP to one that has not (RFC 3261 18.1.1)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Carrier
from tests.harness.endpoint import Address
from tests.harness.scene import CHALLENGING, Scene, Trunk
from tests.harness.steps import talk_and_hang_up
from tests.harness.verifier import ACCEPTED, MISSING

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

LARGE = SDP + b"a=candidate:1 1 UDP 2130706431 192.0.2.1 40000 typ host\r\n" * 105  # 6 kB
BACKLOG = 8  # connections, more than wait for one that nobody accepts


@contextlib.contextmanager
def also_by_tcp(trunk: Trunk) -> Iterator[Carrier]:
    """The trunk's carrier at the same port by TCP."""
    host, port = trunk.carrier.address
    with Carrier(CHALLENGING, {trunk.user: trunk.password}, host=host, transport="tcp", port=port) as carrier:
        yield carrier
        if carrier.received("INVITE"):
            carrier.expect_acks()
        assert carrier.faults == []


@contextlib.contextmanager
def by_tcp_silent(address: Address) -> Iterator[None]:
    """Nobody answers a SYN to this address: the connections that wait there are too many already."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(address, backlog=0))
        for _ in range(BACKLOG):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield


def invites(carrier: Carrier) -> list[int]:
    return [invite.cseq[0] for invite in carrier.received("INVITE")]


def lines(scene: Scene, call: Exchange) -> list[str]:
    """Those of the log that say that a place has no TCP."""
    return [
        line for line in scene.kamailio.log().splitlines() if "outcome=by-udp" in line and call.request.call_id in line
    ]


def test_a_large_call_goes_by_tcp_to_its_end(scene: Scene) -> None:
    trunk = scene.trunk()
    with also_by_tcp(trunk) as carrier:
        call = scene.call(trunk, body=LARGE)
        call.expect(200)
        carrier.expect("ACK")
        assert [verdict for _, _, verdict in carrier.verdicts] == [MISSING, ACCEPTED]
        assert {invite.body for invite in carrier.received("INVITE")} == {LARGE}
        assert {invite.all("Via")[0].split()[0] for invite in carrier.received("INVITE")} == {"SIP/2.0/TCP"}
        call.inside("INVITE", body=LARGE).expect(200)
        carrier.in_call(call.request.call_id, "INVITE", LARGE).expect(200)
        call.inside("BYE").expect(200)
        assert invites(carrier) == [1, 2, 3]
        assert len(carrier.received("BYE")) == 1
    assert trunk.carrier.trace == []
    assert lines(scene, call) == []


def test_a_carrier_hangs_up_by_tcp(scene: Scene) -> None:
    trunk = scene.trunk()
    with also_by_tcp(trunk) as carrier:
        call = scene.call(trunk, body=LARGE)
        call.expect(200)
        carrier.expect("ACK")
        carrier.in_call(call.request.call_id, "BYE").expect(200)


def test_a_refused_tcp_costs_nothing_and_is_tried_once(scene: Scene) -> None:
    trunk = scene.trunk()
    first = scene.call(trunk, body=LARGE)
    talk_and_hang_up(trunk, first)
    assert invites(trunk.carrier) == [2, 3]
    (line,) = lines(scene, first)
    assert f"trunk={trunk.uuid} outcome=by-udp carrier={trunk.carrier.place} reason=refused" in line
    with also_by_tcp(trunk) as carrier:
        talk_and_hang_up(trunk, second := scene.call(trunk, body=LARGE))
        assert carrier.trace == []
    assert lines(scene, second) == []


def test_a_silent_tcp_is_left_soon_and_tried_once(scene: Scene) -> None:
    trunk = scene.trunk()
    with by_tcp_silent(trunk.carrier.address):
        first = scene.call(trunk, body=LARGE)
        talk_and_hang_up(trunk, first)
        assert invites(trunk.carrier) == [2, 3]
        (line,) = lines(scene, first)
        assert "reason=silent" in line
        second = scene.call(trunk, body=LARGE)
        talk_and_hang_up(trunk, second)
        assert invites(trunk.carrier) == [2, 3, 1]
        assert lines(scene, second) == []


def test_small_calls_and_rows_that_say_udp_stay_on_udp(scene: Scene) -> None:
    trunk = scene.trunk()
    said = scene.another_row(trunk, auth_proxy=f"{trunk.carrier.proxy_uri};transport=udp")
    with also_by_tcp(trunk) as carrier:
        talk_and_hang_up(trunk, scene.call(trunk))
        talk_and_hang_up(trunk, scene.call(said, body=LARGE))
        assert carrier.trace == []
