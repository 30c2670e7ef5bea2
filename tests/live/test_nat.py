"""PBXs behind a NAT: replies, and requests of their carriers, reach them, though Via and Contact say where they are in
a network of their own. Here they only claim to be there; at the end there is a NAT indeed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.harness import network
from tests.harness.agent import SDP
from tests.harness.carrier import Script
from tests.harness.endpoint import Endpoint
from tests.harness.machine import SBIN
from tests.harness.message import address
from tests.harness.network import Network
from tests.harness.node import Native, Options
from tests.harness.scene import Scene
from tests.live.test_inbound import contact, open_to, pbx, up

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

INSIDE, PUBLIC, CARRIER = "192.168.7.2", "203.0.113.9", "203.0.113.1"


def requests(end: Endpoint) -> list[str]:
    """The R-URIs of the requests that came."""
    return [each.message.uri for each in end.trace if not (each.sent or each.message.is_response)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_requests_of_the_carrier_reach_the_pbx(scene: Scene, transport: str) -> None:
    """They have its own Contact as R-URI, as it wrote it."""
    caller, trunk = scene.caller(transport=transport), scene.trunk()
    caller.named = (INSIDE, 5060)
    call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    call.expect(200)
    trunk.carrier.in_call(call.request.call_id, "INVITE", SDP).expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)
    assert requests(caller) == [caller.uri] * 3


def test_replies_reach_a_pbx_that_asks_for_no_rport(scene: Scene) -> None:
    caller, trunk = scene.caller(), scene.trunk()
    caller.named, caller.rport = (INSIDE, 5060), ""
    host, port = scene.kamailio.sip
    caller.request("OPTIONS", f"sip:{host}:{port}").expect(200)
    caller.invite("sip:nobody@pbx.test").expect(404)
    call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    call.expect(180)
    call.expect(200)
    call.inside("BYE").expect(200)
    ringing = scene.trunk(Script(final=None))
    cancelled = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", ringing.uuid)])
    cancelled.expect(180)
    cancelled.cancel().expect(200)
    cancelled.expect(487)


def test_a_pbx_whose_nat_has_moved_it_is_found_by_its_last_contact(scene: Scene) -> None:
    trunk, before, after = scene.trunk(), scene.caller(), scene.caller()
    before.named = after.named = (INSIDE, 5060)
    call = before.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    call.expect(200)
    trunk.carrier.expect_acks()
    assert call.dialog
    after.inside(call.dialog, "INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    trunk.carrier.dialogs[call.request.call_id].target = address(trunk.carrier.received("INVITE")[-1].first("Contact"))
    trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)
    assert [each.split()[0] for each in requests(after)] == [after.uri]


def test_a_pbx_that_is_called_is_found_again(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(), there)
    there.named = (INSIDE, 5060)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    answer = call.inside("INVITE", body=SDP).expect(200)
    assert call.dialog
    call.dialog.target = address(answer.first("Contact"))
    call.inside("INFO").expect(200)
    there.in_call(call.request.call_id, "INFO").expect(200)
    call.inside("BYE").expect(200)
    assert set(requests(there)[1:]) == {there.uri}


@pytest.fixture(scope="module")
def networks() -> Iterator[tuple[Network, Network]]:
    """A private network, and the public one behind its NAT, which changes ports; this thread is in the latter."""
    if missing := network.is_missing():
        pytest.skip(missing)
    if not shutil.which("nft", path=SBIN):
        pytest.skip("no nft on this machine; `make test` installs Debian's nftables")
    with Network() as private, Network() as router, Network() as public:
        router.cable("192.168.7.1/24", private, f"{INSIDE}/24")
        router.cable(f"{PUBLIC}/24", public, f"{CARRIER}/24")
        private.run("ip", "route", "add", "default", "via", "192.168.7.1")
        router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        router.run("nft", "add table ip nat")
        router.run("nft", "add chain ip nat out { type nat hook postrouting priority 100; }")
        for protocol in ("udp", "tcp"):
            router.run(
                "nft", f"add rule ip nat out ip saddr 192.168.7.0/24 meta l4proto {protocol} masquerade to :20000-29999"
            )
        with public.entered():
            yield private, public


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_through_a_nat(native: Native, networks: tuple[Network, Network], transport: str) -> None:
    inside, public = networks
    options = Options(sip=(CARRIER, 5060), network=public, callers=(PUBLIC,))
    with native.running(options) as node, Scene(node) as scene:
        trunk = scene.trunk(host=CARRIER)
        with inside.entered():
            caller = scene.caller(host=INSIDE, transport=transport)
            call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        call.expect(200)
        assert trunk.carrier.expect("INVITE").vias[1].startswith(f"SIP/2.0/{transport.upper()} {INSIDE}:")
        trunk.carrier.in_call(call.request.call_id, "INVITE", SDP).expect(200)
        call.inside("INVITE", body=SDP).expect(200)
        trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)
        assert requests(caller) == [caller.uri] * 3
