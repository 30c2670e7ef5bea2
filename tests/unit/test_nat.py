"""What a Contact from behind a NAT is made to say, and the PBX's own URI made of it again."""

from __future__ import annotations

import pytest

from kemi.dialog import nat
from kemi.trunks.places import Place

OUTSIDE = Place("203.0.113.9", 20001, "udp")
BY_TCP = OUTSIDE._replace(transport="tcp")
MENDED = [
    ("<sip:100@192.168.7.2:5060>", OUTSIDE, "<sip:100@203.0.113.9:20001;tn=192.168.7.2~5060~>"),
    ("<sip:10.0.0.2>;expires=60", OUTSIDE, "<sip:203.0.113.9:20001;tn=10.0.0.2~~>;expires=60"),
    (
        '"Bo <x>" <sip:b@10.0.0.2;ob?Subject=a>;+sip.ice',
        OUTSIDE,
        '"Bo <x>" <sip:b@203.0.113.9:20001;tn=10.0.0.2~~;ob?Subject=a>;+sip.ice',
    ),
    (
        "<sip:b@10.0.0.2:5062;transport=TCP;ob>",
        BY_TCP,
        "<sip:b@203.0.113.9:20001;transport=tcp;tn=10.0.0.2~5062~TCP;ob>",
    ),
    ("<sip:b@10.0.0.2;transport=udp>", BY_TCP, "<sip:b@203.0.113.9:20001;transport=tcp;tn=10.0.0.2~~udp>"),
    ("sip:b@10.0.0.2:5062;q=1", OUTSIDE, "<sip:b@203.0.113.9:20001;tn=10.0.0.2~5062~>;q=1"),
    ("<sip:b@[fd00::2]:5060>", OUTSIDE, "<sip:b@203.0.113.9:20001;tn=[fd00::2]~5060~>"),
    ("<sip:b@10.0.0.2>", Place("2001:db8::9", 5070, "udp"), "<sip:b@[2001:db8::9]:5070;tn=10.0.0.2~~>"),
    ('"b"\t<sip:b@10.0.0.2>;\tq=1', OUTSIDE, '"b" <sip:b@203.0.113.9:20001;tn=10.0.0.2~~>; q=1'),
    ("b\r\n  <sip:b@10.0.0.2>", OUTSIDE, "b <sip:b@203.0.113.9:20001;tn=10.0.0.2~~>"),
]


@pytest.mark.parametrize(("contact", "source", "mended"), MENDED)
def test_a_contact_says_where_its_sender_is_seen(contact: str, source: Place, mended: str) -> None:
    assert nat.mended(contact, source) == mended


@pytest.mark.parametrize(("contact", "source", "mended"), MENDED)
def test_the_pbx_gets_the_uri_that_it_wrote(contact: str, source: Place, mended: str) -> None:
    seen, written = (text.partition("sip:")[2].partition(">")[0] for text in (mended, contact))
    own = nat.own(f"sip:{seen}")
    assert sorted(own.split(";")) == sorted(f"sip:{written.partition(';q=')[0]}".split(";"))
    assert nat.MENDED in f"sip:{seen}"
    assert nat.MENDED not in own


@pytest.mark.parametrize("contact", [
    "<sip:100@203.0.113.9:5060>", "<sip:100@198.51.100.4>", "<sip:100@pbx.example>", "<tel:100>", "*", "",
    "<sip:b@10.0.0.2",
    "<sip:a@10.0.0.2>, <sip:b@10.0.0.2>\x00", "<sip:b@10.0.0.2>;a\x01", "<sip:b@10.0.0.300>",
])  # fmt: skip
def test_a_contact_that_is_no_private_address_stays(contact: str) -> None:
    assert nat.mended(contact, Place("203.0.113.9", 5060, "udp")) == ""


@pytest.mark.parametrize("uri", [
    "sip:b@10.0.0.2", "sip:b@203.0.113.9:20001;tn=here~1~", "sip:b@h.example;tn=10.0.0.2~1~", "tel:1;tn=10.0.0.2~1~",
])  # fmt: skip
def test_another_uri_stays(uri: str) -> None:
    assert nat.own(uri) == uri


@pytest.mark.parametrize(("named", "source", "is_behind"), [
    ("10.0.0.2", "203.0.113.9", True), ("192.168.7.2", "10.0.0.5", True), ("100.64.0.1", "203.0.113.9", True),
    ("[fd00::2]", "2001:db8::9", True), ("[::1]", "::1", False),
    ("198.51.100.4", "203.0.113.9", False), ("10.0.0.2", "10.0.0.2", False),
    ("8.8.4.4", "8.8.8.8", False), ("pbx.local", "203.0.113.9", False),
])  # fmt: skip
def test_who_is_behind_a_nat(named: str, source: str, is_behind: bool) -> None:
    assert nat.is_behind(named, source) is is_behind


def test_what_is_too_long_for_an_address_is_not_remembered() -> None:
    nat._is_behind.cache_clear()
    assert not nat.is_behind("1" * 60_000, "203.0.113.9")
    assert nat.is_behind("10.0.0.2", "203.0.113.9")
    assert nat._is_behind.cache_info().currsize == 1
