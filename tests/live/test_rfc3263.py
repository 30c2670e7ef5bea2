"""RFC 3263 as a table: whichever way a carrier's name leads to it, over NAPTR, SRV, CNAME, A and AAAA, a call arrives
there. The name server is nsd; all of it runs in a network of its own, where every port is free.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import network, nsd
from tests.harness.agent import SDP
from tests.harness.carrier import Carrier, Script
from tests.harness.network import Network
from tests.harness.node import Kamailio, Native, Options
from tests.harness.scene import Scene
from tests.harness.steps import status, wait_until

SIP = ("127.0.0.1", 5060)
UDP, TCP = "udp 127.1.0.1 5060", "tcp 127.1.0.1 5060"
OTHER, FAR = "udp 127.1.0.2 5070", "udp fd00::9 5060"
OTHER_BY_TCP = "tcp 127.1.0.2 5070"
SPARE = "udp 127.1.0.3 5060"

ZONE = """
one A 127.1.0.1
two A 127.1.0.2
three A 127.1.0.3
six AAAA fd00::9
gone TXT "no address"
both A 127.1.0.1
both AAAA fd00::9
several A 127.1.0.1
several A 127.1.0.3
alias CNAME one
_sip._udp.port SRV 1 1 5070 two
port A 127.1.0.1
bytcp NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.port
_sip._tcp.bytcp SRV 1 1 5060 one
order NAPTR 20 1 "s" "SIP+D2U" "" _sip._udp.port
order NAPTR 10 9 "s" "SIP+D2T" "" _sip._tcp.bytcp
preference NAPTR 10 9 "s" "SIP+D2U" "" _sip._udp.port
preference NAPTR 10 1 "S" "sip+d2t" "" _sip._tcp.bytcp
secure NAPTR 1 1 "s" "SIPS+D2T" "" _sips._tcp.secure
secure NAPTR 2 1 "s" "SIP+D2U" "" _sip._udp.port
_sips._tcp.secure SRV 1 1 5061 three
others NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:x@three.test!" .
others NAPTR 2 1 "s" "SIP+D2U" "" _sip._udp.port
broken NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.nowhere
broken NAPTR 2 1 "s" "SIP+D2U" "" _sip._udp.port
services A 127.1.0.3
_sip._udp.services SRV 1 1 5070 two
_sip._tcp.services SRV 1 1 5060 one
onlytcp A 127.1.0.3
_sip._tcp.onlytcp SRV 1 1 5060 one
_sip._udp.twice SRV 1 1 5070 two
_sip._tcp.twice SRV 1 1 5070 two
_sip._udp.toalias SRV 1 1 5060 alias
_sip._udp.first SRV 1 0 5070 two
_sip._udp.first SRV 2 9 5060 one
_sip._udp.hole SRV 1 1 5060 gone
_sip._udp.hole SRV 2 1 5070 two
_sip._udp.mixed SRV 1 1 5060 six
_sip._udp.mixed SRV 2 1 5060 one
_sip._udp.weights SRV 1 1 5060 three
_sip._udp.weights SRV 1 3 5070 two
"""


@dataclass(frozen=True)
class Way:
    """A next hop, and where its calls arrive. down: nobody is there, though the name leads there first."""

    uri: str
    place: str
    down: tuple[str, ...] = ()


TABLE = {
    "an address without a port: 5060 and UDP": Way("sip:127.1.0.1", UDP),
    "an address and a transport": Way("sip:127.1.0.1;transport=tcp", TCP),
    "an IPv6 address": Way("sip:[fd00::9]", FAR),
    "a port: its addresses alone, over UDP": Way("sip:port.test:5060", UDP),
    "a port and a transport": Way("sip:one.test:5060;transport=tcp", TCP),
    "a transport: its SRV alone": Way("sip:services.test;transport=tcp", TCP),
    "a transport, and no NAPTR is looked at": Way("sip:bytcp.test;transport=tcp", TCP),
    "NAPTR, which may lead to another name": Way("sip:bytcp.test", OTHER),
    "NAPTR by its order": Way("sip:order.test", TCP),
    "NAPTR by its preference, in any case": Way("sip:preference.test", TCP),
    "NAPTR of a transport that there is no socket for": Way("sip:secure.test", OTHER),
    "NAPTR of another service": Way("sip:others.test", OTHER),
    "NAPTR with nothing behind it": Way("sip:broken.test", OTHER),
    "no NAPTR: SRV, UDP before TCP": Way("sip:services.test", OTHER),
    "no NAPTR: SRV of TCP alone": Way("sip:onlytcp.test", TCP),
    "neither: A": Way("sip:one.test", UDP),
    "neither: AAAA": Way("sip:six.test", FAR),
    "A and AAAA: IPv4 first": Way("sip:both.test", UDP),
    "A and AAAA: then IPv6": Way("sip:both.test", FAR, (UDP,)),
    "another address of the host": Way("sip:several.test", SPARE, (UDP,)),
    "a CNAME": Way("sip:alias.test", UDP),
    "SRV whose host is a CNAME": Way("sip:toalias.test", UDP),
    "SRV by its priority, whatever the weight": Way("sip:first.test", OTHER),
    "SRV: the next one": Way("sip:first.test", UDP, (OTHER,)),
    "SRV whose host has no address": Way("sip:hole.test", OTHER),
    "SRV of an IPv6 host": Way("sip:mixed.test", FAR),
    "SRV: from IPv6 to IPv4": Way("sip:mixed.test", UDP, (FAR,)),
}  # fmt: skip


@pytest.fixture(scope="module")
def own_network() -> Iterator[Network]:
    if missing := network.is_missing() or nsd.is_missing():
        pytest.skip(missing)
    with Network() as found:
        found.run("ip", "address", "add", "fd00::9/128", "dev", "lo", "nodad")
        with found.entered():
            yield found


@pytest.fixture(scope="module")
def resolv_conf(own_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with nsd.serving(own_network, tmp_path_factory.mktemp("nsd"), ZONE) as found:
        yield found


@pytest.fixture(scope="module")
def node(native: Native, own_network: Network, resolv_conf: Path) -> Iterator[Kamailio]:
    sockets = " ".join(f"{proto}:{host}" for host in ("127.0.0.1:5060", "[fd00::9]:5090") for proto in ("udp", "tcp"))
    also = {"TRUNKAUTH_LISTEN": sockets, "TRUNKAUTH_TRY_SECONDS": "1"}
    rows = tuple(row(f"way-{number}", way.uri) for number, way in enumerate(TABLE.values()))
    options = Options(
        sip=SIP, network=own_network, resolv_conf=resolv_conf, also=also,
        trunks=(*rows, row("weights", "sip:weights.test"), row("twice", "sip:twice.test")),
    )  # fmt: skip
    with native.running(options) as running:
        running.wait_for("every name was tried", lambda: names_of(running) >= names(TABLE), within=10)
        yield running


def row(uuid: str, uri: str) -> dict[str, str]:
    return {"l_uuid": uuid, "auth_proxy": uri, "auth_username": "u", "auth_password": "of no use here"}


def names(table: dict[str, Way]) -> set[str]:
    return {way.uri.split(":")[1].split(";")[0] for way in table.values() if ".test" in way.uri}


def names_of(node: Kamailio) -> set[str]:
    return {target.split(":")[0] for target in targets_of(node)}


def targets_of(node: Kamailio) -> set[str]:
    with contextlib.closing(sqlite3.connect(node.state / "names.sqlite")) as file:
        return {target for (target,) in file.execute("SELECT target FROM resolved_name")}


@contextlib.contextmanager
def carriers(scene: Scene, *places: str) -> Iterator[dict[str, Carrier]]:
    """Carriers at these places, which ask for nothing."""
    with contextlib.ExitStack() as stack:
        found = {}
        for place in places:
            transport, host, port = place.split()
            found[place] = stack.enter_context(Carrier(Script(), {}, host=host, transport=transport, port=int(port)))
        yield found
        assert [fault for each in found.values() for fault in each.faults] == []
    scene.agents.clear()
    scene.kamailio.wait_until_disconnected()


@pytest.mark.parametrize("name", TABLE)
def test_a_call_arrives_where_the_name_leads(node: Kamailio, name: str) -> None:
    way, number = TABLE[name], list(TABLE).index(name)
    everywhere = [place for place in (UDP, TCP, OTHER, FAR, SPARE) if place not in way.down]
    with Scene(node) as scene, carriers(scene, *everywhere) as found:
        assert status(scene, f"way-{number}") == 200
        assert [place for place, each in found.items() if each.received("INVITE")] == [way.place]


def test_srv_shares_calls_by_weight(node: Kamailio) -> None:
    with Scene(node) as scene, carriers(scene, SPARE, OTHER) as found:
        for _ in range(60):
            assert status(scene, "weights") == 200
        calls = Counter({place: len(each.received("INVITE")) for place, each in found.items()})
        assert calls.total() == 60
        assert calls[OTHER] > calls[SPARE] > 0, "3 to 1; it is the other way round once in 100,000 times"


def test_a_large_call_goes_to_the_service_by_tcp_once_somebody_has_asked_for_it(node: Kamailio) -> None:
    with Scene(node) as scene, carriers(scene, OTHER, OTHER_BY_TCP) as found:
        for place in (OTHER, OTHER_BY_TCP):
            call = scene.pbx.invite("sip:1@pbx.test", headers=[("X-Trunk", "twice")], body=SDP + b"a=x\r\n" * 200)
            call.expect(200)
            call.inside("BYE").expect(200)
            assert [one for one, each in found.items() if each.received("INVITE")][-1] == place
            node.wait_for("its services by TCP", lambda: "twice.test:0;tcp" in targets_of(node), within=5)
            node.wait_until_looked_at()
        assert [len(each.received("INVITE")) for each in found.values()] == [1, 1]


def test_a_carrier_of_another_kind_of_addresses_is_told_of(
    native: Native, own_network: Network, resolv_conf: Path
) -> None:
    rows = (row("named", "sip:six.test"), row("literal", "sip:[fd00::9]"))
    options = Options(sip=("127.0.0.1", 5080), network=own_network, resolv_conf=resolv_conf, trunks=rows)
    with native.running(options) as node, Scene(node) as scene:
        node.wait_for_log(
            'name=six.test outcome=unresolved reason="it has IPv6 addresses alone, and TRUNKAUTH_LISTEN no IPv6 socket '
            'with udp"'
        )
        node.wait_for_log(
            "trunk=literal outcome=unusable "
            'reason="auth_proxy is an IPv6 address, and no socket of TRUNKAUTH_LISTEN has one"'
        )
        wait_until(scene, "named", 503, within=5)
        assert status(scene, "literal") == 404
