"""Where a trunk's carrier is: what may get its answers, and who may ask."""

from __future__ import annotations

import pytest

from kemi.trunks.hops import Hop, Target
from kemi.trunks.places import Listed, Place, Places, of_carrier

SBC = Place("192.0.2.50", 5060, "udp")
OVER_TCP = Place("192.0.2.51", 5060, "tcp")
PLACES = of_carrier(
    Target("sbc.test", 0, "udp"),
    (Hop(*SBC, name="sbc.test"), Hop(*OVER_TCP)),
    (),
    (Listed.of("198.51.100.9", 24, 0), Listed.of("2001:db8::9", 128, 5070)),
)

# place, may get an answer, may ask
CASES = [
    (SBC, True, True),
    (SBC._replace(port=5061), False, False),
    (SBC._replace(transport="tcp"), False, False),
    (SBC._replace(address="192.0.2.52"), False, False),
    (OVER_TCP, True, True),
    (OVER_TCP._replace(port=40000), False, True),  # it has connected to us
    (OVER_TCP._replace(transport="udp"), False, False),
    (Place("198.51.100.1", 1234, "tls"), True, True),
    (Place("198.51.101.1", 1234, "tls"), False, False),
    (Place("2001:db8::9", 5070, "udp"), True, True),
    (Place("2001:db8::9", 5060, "udp"), False, False),
    (Place("sbc.test", 5060, "udp"), False, False),
    (Place(), False, False),
]


@pytest.mark.parametrize(("place", "gets", "asks"), CASES, ids=str)
def test_who_may_ask_and_get_an_answer(place: Place, gets: bool, asks: bool) -> None:
    assert (PLACES.include(place), PLACES.can_be_source(place)) == (gets, asks)


def test_a_peer_is_one_place_more() -> None:
    peer = Place("203.0.113.5", 5080, "udp")
    assert Places().and_peer(Place()) == Places()
    with_peer = PLACES.and_peer(peer)
    assert with_peer.include(peer)
    assert with_peer.include(SBC)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sip:a@192.0.2.50", SBC),
        ("sip:192.0.2.50:5061;transport=TCP;lr", Place("192.0.2.50", 5061, "tcp")),
        ("sips:a@[2001:DB8:0::9]", Place("2001:db8::9", 5061, "tls")),
        ("sip:a@PBX.test.", Place("pbx.test", 5060, "udp")),
        ("tel:110", Place()),
        ("*", Place()),
        ("", Place()),
    ],
)
def test_the_place_of_a_uri(uri: str, place: Place) -> None:
    assert Place.of_uri(uri) == place


@pytest.mark.parametrize("place", [SBC, Place("2001:db8::9", 5061, "tls"), Place("pbx.test", 1, "tcp"), Place()])
def test_a_place_comes_back(place: Place) -> None:
    assert Place.of_text(place.text) == place


@pytest.mark.parametrize("text", ["", "203.0.113.5", "a b c", "\u00b2 \u00b2"])
def test_another_text_is_no_place(text: str) -> None:
    assert Place.of_text(text) == Place()
