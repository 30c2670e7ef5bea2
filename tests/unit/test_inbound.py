"""Which trunk a carrier's request finds, and which number was called, as a table."""

from __future__ import annotations

import pytest

from kemi.trunks.inbound import DISABLED, NO_PBX, NO_TRUNK, NOT_THE_CARRIERS, Called, find, number, request_uri
from kemi.trunks.selection import Candidates
from kemi.trunks.trunk import Policy, Trunk

OPEN = Policy(inbound_uri="sip:192.0.2.10")
ROWS = {  # l_uuid -> l_username, carrier, row
    "berlin": ("4930123", "a", Trunk("berlin", policy=OPEN)),
    "hamburg": ("4940123", "b", Trunk("hamburg", policy=OPEN)),
    "100": ("100", "b", Trunk("100", policy=OPEN)),
    "bremen-a": ("49421", "a", Trunk("bremen-a", policy=OPEN)),
    "bremen-b": ("49421", "b", Trunk("bremen-b", policy=OPEN)),
    "bremen-c": ("4943", "a", Trunk("bremen-c", policy=OPEN)),
    "off": ("off", "a", Trunk("off", policy=OPEN._replace(enabled=0))),
    "bad": ("bad", "a", Trunk("bad", fault="no password")),
    "no-pbx": ("no-pbx", "a", Trunk("no-pbx")),
    "phones-b": ("49621", "b", Trunk("phones-b")),
    "phones-a": ("49621", "a", Trunk("phones-a")),
}


CONTACT_USERS = {
    "4942": ("bremen-a", "bremen-b"),
    "berlin": ("hamburg",),
    "4943": ("berlin",),
    "4930123": ("hamburg",),
    "faulty": ("bad",),
}


class Rows:
    def by_name(self, uuid: str) -> Candidates:
        return (ROWS[uuid][2],) if uuid in ROWS else ()

    def by_contact_user(self, user: str) -> Candidates:
        return tuple(ROWS[uuid][2] for uuid in CONTACT_USERS.get(user, ()))

    def by_number(self, user: str) -> Candidates:
        return tuple(trunk for username, _, trunk in ROWS.values() if username == user)


PARTY = "sip:+4930123456@carrier.test"

FOUND = {  # R-URI, tag, carrier -> trunk, number
    "the contact's user": ("sip:berlin@192.0.2.1", "", "a", "berlin", "+4930123456"),
    "the parameter line": ("sip:dba@192.0.2.1;transport=udp;line=berlin", "", "a", "berlin", "+4930123456"),
    "line before the user": ("sip:hamburg@192.0.2.1;line=berlin", "", "a", "berlin", "+4930123456"),
    "a line of nobody's": ("sip:berlin@192.0.2.1;line=x", "", "a", "berlin", "+4930123456"),
    "contact_user": ("sip:4942@192.0.2.1", "", "a", "bremen-a", "+4930123456"),
    "of two with that contact_user this carrier's": ("sip:4942@192.0.2.1", "", "b", "bremen-b", "+4930123456"),
    "l_uuid before contact_user": ("sip:berlin@192.0.2.1", "", "a", "berlin", "+4930123456"),
    "contact_user before the tag and the number": ("sip:4943@192.0.2.1", "bremen-a", "a", "berlin", "+4930123456"),
    "the contact's user before the tag": ("sip:berlin@192.0.2.1", "bremen-a", "a", "berlin", "+4930123456"),
    "the tag": ("sip:+49307@192.0.2.1", "berlin", "a", "berlin", "+49307"),
    "the number, which is contact_user with another carrier": ("sip:4930123@192.0.2.1", "", "a", "berlin", "4930123"),
    "the tag before the number": ("sip:49421@192.0.2.1", "berlin", "a", "berlin", "49421"),
    "a tag of nobody's, and the number": ("sip:4930123@192.0.2.1", "x", "a", "berlin", "4930123"),
    "the number": ("sip:4930123@192.0.2.1", "", "a", "berlin", "4930123"),
    "the number, with parameters": ("sip:4930123;npdi;rn=+4930@192.0.2.1", "", "a", "berlin", "4930123;npdi;rn=+4930"),
    "of two with that number this carrier's": ("sip:49421@192.0.2.1", "", "b", "bremen-b", "49421"),
    "a tel URI": ("tel:4930123", "", "a", "berlin", "4930123"),
}

NOT_FOUND = {  # R-URI, tag, carrier -> row, why
    "of two with that number this carrier's": ("sip:49621@192.0.2.1", "", "a", "phones-a", NO_PBX),
    "a number of nobody's": ("sip:+49301@192.0.2.1", "", "a", "", NO_TRUNK),
    "no user at all": ("sip:192.0.2.1", "", "a", "", NO_TRUNK),
    "another one's contact": ("sip:hamburg@192.0.2.1", "", "a", "hamburg", NOT_THE_CARRIERS),
    "another one's line": ("sip:x@192.0.2.1;line=hamburg", "", "a", "hamburg", NOT_THE_CARRIERS),
    "another one's contact, though a tag is his": ("sip:hamburg@192.0.2.1", "berlin", "a", "hamburg", NOT_THE_CARRIERS),
    "a number that is another one's l_uuid": ("sip:100@192.0.2.1", "", "a", "100", NOT_THE_CARRIERS),
    "another one's number": ("sip:4940123@192.0.2.1", "", "a", "hamburg", NOT_THE_CARRIERS),
    "another one's tag": ("sip:+49307@192.0.2.1", "hamburg", "a", "hamburg", NOT_THE_CARRIERS),
    "a trunk that is off": ("sip:off@192.0.2.1", "", "a", "off", DISABLED),
    "a trunk with a fault": ("sip:bad@192.0.2.1", "", "a", "bad", "no password"),
    "a trunk with a fault, by contact_user": ("sip:faulty@192.0.2.1", "berlin", "a", "bad", "no password"),
    "a trunk without a PBX": ("sip:no-pbx@192.0.2.1", "", "a", "no-pbx", NO_PBX),
}


def of(carrier: str) -> dict[Trunk, bool]:
    return {trunk: owner == carrier for _, owner, trunk in ROWS.values()}


@pytest.mark.parametrize(("dialled", "tag", "carrier", "trunk", "called"), FOUND.values(), ids=FOUND)
def test_a_trunk_is_found(dialled: str, tag: str, carrier: str, trunk: str, called: str) -> None:
    found = find(Rows(), Called(dialled, PARTY, tag), of(carrier).__getitem__)
    assert found.trunk
    assert (found.trunk.uuid, found.number, found.fault) == (trunk, called, "")


@pytest.mark.parametrize(("dialled", "tag", "carrier", "name", "fault"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_no_trunk_is_found(dialled: str, tag: str, carrier: str, name: str, fault: str) -> None:
    found = find(Rows(), Called(dialled, PARTY, tag), of(carrier).__getitem__)
    assert (found.trunk, found.name, found.fault) == (None, name, fault)


@pytest.mark.parametrize(("uri", "expected"), [
    ("sip:+4930123@carrier.test;user=phone", "+4930123"),
    ("sip:4930123:secret@carrier.test", "4930123"),
    ("tel:+49-30-123;phone-context=x", "+49-30-123"),
    ("sip:0123;phone-context=+49@carrier.test", "0123;phone-context=+49"),
    ("sip:%2B4930@carrier.test", "%2B4930"),
    ("sip:*21#@carrier.test", "*21#"),
    ("sip:carrier.test", ""),
    ("sip:a b@carrier.test", ""),
    ("sip:a%@carrier.test", ""),
    ("sip:a>@carrier.test", ""),
    ("sip:a\r\nX: 1@carrier.test", ""),
    ("urn:service:sos", ""),
    ("", ""),
])  # fmt: skip
def test_a_number_is_read_if_it_can_stand_in_a_uri(uri: str, expected: str) -> None:
    assert number(uri) == expected


@pytest.mark.parametrize(("pbx", "called", "expected"), [
    ("sip:192.0.2.10", "4930123", "sip:4930123@192.0.2.10"),
    ("sips:[2001:db8::1]:5071;transport=tcp", "+49", "sips:+49@[2001:db8::1]:5071;transport=tcp"),
    ("sip:192.0.2.10:5062", "", "sip:192.0.2.10:5062"),
])  # fmt: skip
def test_the_r_uri_for_a_pbx(pbx: str, called: str, expected: str) -> None:
    assert request_uri(pbx, called) == expected


def test_several_pbxs_are_tried_in_their_order() -> None:
    assert Trunk("x", policy=Policy(inbound_uri="sip:a, sip:b:5062 ,,")).inbound == ("sip:a", "sip:b:5062")
