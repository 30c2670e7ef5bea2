"""Sockets that advertise another address than their own, and several networks."""

from __future__ import annotations

import pytest

from lab.programs import free_port
from tests.harness.agent import SDP
from tests.harness.network import Network, is_missing
from tests.harness.node import Installation, Native, Options, own_address
from tests.harness.scene import Scene
from tests.harness.steps import policy, wait_until_next_hop

pytestmark = pytest.mark.once

PUBLIC = "203.0.113.5"
TEST_NETWORK = ("198.51.100.1", 9)  # nothing is sent there: the route to it tells this machine's own address


def test_the_advertised_address_is_in_every_message(installation: Installation) -> None:
    sip = ("127.0.0.1", free_port())
    listen = {"TRUNKAUTH_LISTEN": f"udp:127.0.0.1:{sip[1]}/{PUBLIC}"}
    with installation.running(Options(sip=sip, also=listen)) as kamailio, Scene(kamailio) as scene:
        trunk = scene.trunk()
        for end in (scene.pbx, trunk.carrier):
            end.nat[PUBLIC, sip[1]] = sip
        call = scene.call(trunk)
        call.expect(200)
        for invite in trunk.carrier.received("INVITE"):
            assert invite.vias[0].startswith(f"SIP/2.0/UDP {PUBLIC}:{sip[1]}")
            assert f"<sip:{PUBLIC}:{sip[1]};" in invite.all("Record-Route")[0]
        call.inside("INVITE", body=SDP).expect(200)
        trunk.carrier.in_call(call.request.call_id, "INFO").expect(200)
        call.inside("BYE").expect(200)
        assert trunk.carrier.expect("BYE").vias[0].startswith(f"SIP/2.0/UDP {PUBLIC}:{sip[1]}")


def test_a_trunk_leaves_from_the_socket_of_the_route_to_its_carrier(installation: Installation) -> None:
    sip, outside = ("127.0.0.1", free_port()), own_address(TEST_NETWORK)
    listen = {"TRUNKAUTH_LISTEN": f"udp:127.0.0.1:{sip[1]} udp:{outside}:{sip[1]}"}
    with installation.running(Options(sip=sip, also=listen)) as kamailio, Scene(kamailio) as scene:
        near, far = scene.trunk(), scene.trunk(host=outside)
        for trunk, address in ((near, "127.0.0.1"), (far, outside)):
            call = scene.call(trunk)
            call.expect(200)
            call.inside("BYE").expect(200)
            for method in ("INVITE", "BYE"):
                assert trunk.carrier.expect(method).vias[0].startswith(f"SIP/2.0/UDP {address}:{sip[1]}")


def test_a_trunk_leaves_from_the_address_of_the_route_of_an_interface_that_has_several(native: Native) -> None:
    if missing := is_missing():
        pytest.skip(missing)
    sip, outside = ("127.0.0.1", 5060), TEST_NETWORK[0]
    with Network() as own, own.entered():
        own.run("ip", "address", "add", f"{outside}/32", "dev", "lo")
        listen = {"TRUNKAUTH_LISTEN": "udp:lo:5060"}
        with native.running(Options(sip=sip, network=own, also=listen)) as node, Scene(node) as scene:
            trunk = scene.trunk(host=outside)
            call = scene.call(trunk)
            call.expect(200)
            call.inside("BYE").expect(200)
            for method in ("INVITE", "BYE"):
                assert trunk.carrier.expect(method).vias[0].startswith(f"SIP/2.0/UDP {outside};")


SOCKETS = {"IPv6 alone": ("[::1]",), "IPv4 and IPv6": ("127.0.0.1", "[::1]")}
WAYS = [("IPv6 alone", "::1", "::1"), ("IPv4 and IPv6", "127.0.0.1", "::1"), ("IPv4 and IPv6", "::1", "127.0.0.1")]


@pytest.mark.parametrize(("sockets", "pbx", "carrier"), WAYS)
def test_calls_from_one_ip_version_to_the_other(
    installation: Installation, sockets: str, pbx: str, carrier: str
) -> None:
    """A challenged call, requests of both ends inside it, and a call of the carrier."""
    sip = (pbx, free_port())
    listen = {"TRUNKAUTH_LISTEN": " ".join(f"udp:{host}:{sip[1]}" for host in SOCKETS[sockets])}
    with installation.running(Options(sip=sip, also=listen, callers=(pbx,))) as kamailio, Scene(kamailio) as scene:
        caller, trunk = scene.caller(host=pbx), scene.trunk(host=carrier)
        call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        call.expect(200)
        call.inside("INVITE", body=SDP).expect(200)
        trunk.carrier.in_call(call.request.call_id, "INVITE", SDP).expect(200)
        trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)
        policy(scene, trunk, inbound_uri=f"sip:{caller.place}")
        wait_until_next_hop(kamailio, trunk.carrier.address)  # or it is the PBX's address that calls
        inbound = trunk.carrier.outside(
            (carrier, sip[1]), "MESSAGE", f"sip:{trunk.uuid}@carrier.test", sender="sip:1@c.test"
        )
        inbound.expect(481)  # of the PBX: it takes requests of its dialogs alone
