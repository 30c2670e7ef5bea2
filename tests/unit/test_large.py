"""Where large requests may go by TCP: RFC 3261 18.1.1, RFC 3263 4.1."""

from __future__ import annotations

import pytest

from kemi.trunks.hops import Hop, Hops, literal, target_of
from kemi.trunks.large import by_tcp
from kemi.trunks.places import Place, of_carrier

HOST = Hop("192.0.2.50", 5060, "udp", "sbc.test")
SERVICE = Hop("192.0.2.51", 5070, "udp", "one.test", 1, 1)
BY_TCP = SERVICE._replace(port=5080, transport="tcp")
FAR = BY_TCP._replace(address="192.0.2.99")
OF_HOST = Hop("192.0.2.51", 5060, "tcp", "sbc.test")  # the host's own address, because there are no services by TCP

WAYS: dict[str, tuple[str, Hop, Hops, str]] = {  # the next hop, one hop of it, its services by TCP -> by TCP
    "an address": ("sip:192.0.2.9", literal(target_of("sip:192.0.2.9", ""))[0], (), "sip:192.0.2.9:5060;transport=tcp"),
    "a port": ("sip:sbc.test:5070", HOST._replace(port=5070), (), "sip:192.0.2.50:5070;transport=tcp"),
    "a host alone": ("sip:sbc.test", HOST, (), "sip:192.0.2.50:5060;transport=tcp"),
    "it says UDP": ("sip:sbc.test;transport=udp", HOST, (), ""),
    "an address and UDP": ("sip:192.0.2.9;transport=UDP", HOST, (), ""),
    "it is by TCP already": ("sip:sbc.test", OF_HOST, (), ""),
    "a service by UDP alone": ("sip:sbc.test", SERVICE, (), ""),
    "a service, and the host's own address": ("sip:sbc.test", SERVICE, (OF_HOST,), ""),
    "a service, and one by TCP elsewhere": ("sip:sbc.test", SERVICE, (FAR,), ""),
    "services of both": ("sip:sbc.test", SERVICE, (FAR, BY_TCP), "sip:192.0.2.51:5080;transport=tcp"),
}


@pytest.mark.parametrize(("next_hop", "hop", "services", "expected"), WAYS.values(), ids=WAYS)
def test_by_tcp(next_hop: str, hop: Hop, services: Hops, expected: str) -> None:
    found = by_tcp(target_of(next_hop, ""), hop, services)
    assert (found.uri if found else "") == expected


def test_inside_a_dialog_the_place_by_tcp_is_the_carriers_and_not_for_what_comes_in() -> None:
    places = of_carrier(target_of("sip:sbc.test", ""), (HOST,), (), ())
    large, peer = Place("192.0.2.50", 5060, "tcp"), Place("192.0.2.60", 5060, "udp")
    assert not places.can_be_source(large)
    assert places.and_peer(Place()).include(large)
    assert places.and_peer(peer).exact == {Place.of_hop(HOST), large, peer}
    assert not places.and_peer(Place.of_hop(HOST)).include(large)
