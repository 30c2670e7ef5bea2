"""A PBX behind a NAT over the mocked KSR: its Contact, and the requests that come back by it."""

from __future__ import annotations

import pytest

from kemi.dialog.mark import fingerprint
from kemi.handlers import Handlers
from tests.flow.scene import PBX, Marks, Send, in_dialog, request
from tests.ksr.mock import MockKSR

INSIDE, PORT = "192.168.7.2", 20001
CONTACT = f"<sip:alice@{INSIDE}:5060>"
MENDED = f"sip:alice@{PBX}:{PORT};tn={INSIDE}~5060~"


@pytest.fixture
def send_from_inside(pbx: MockKSR, routes: Handlers) -> Send:
    pbx.handlers = routes

    def send(message: str | bytes) -> None:
        octets = message.encode() if isinstance(message, str) else message
        via = octets.replace(f"UDP {PBX}".encode(), f"UDP {INSIDE}:5060".encode(), 1)
        pbx.receive(via, source=(PBX, PORT))
        assert routes.ksr_request_route(None) == 1

    return send


def contact(pbx: MockKSR) -> str | None:
    return pbx.relayed[0].message.get("Contact")


def asked_for_rport(pbx: MockKSR) -> bool:
    return "force_rport" in [name for name, _ in pbx.calls]


def test_the_contact_says_where_the_pbx_is_seen(pbx: MockKSR, send_from_inside: Send) -> None:
    send_from_inside(request(headers=f"Contact: {CONTACT}\r\n"))
    assert contact(pbx) == f"<{MENDED}>"
    assert asked_for_rport(pbx)


@pytest.mark.parametrize("value", [f"<sip:alice@{PBX}:5060>", "<sip:alice@pbx.test>", "*", "<sip:\xff@10.0.0.1>"])
def test_another_contact_passes(pbx: MockKSR, send_from_inside: Send, value: str) -> None:
    send_from_inside(request(headers=f"Contact: {value}\r\n").encode("latin-1"))
    assert pbx.relayed[0].message.values("Contact") == [value.encode("latin-1")]


def test_a_pbx_that_is_where_it_says_gets_replies_as_it_asks(pbx: MockKSR, send: Send) -> None:
    send(request(headers=f"Contact: {CONTACT}\r\n"))
    assert contact(pbx) == CONTACT
    assert not asked_for_rport(pbx)


def test_a_later_contact_is_mended_as_well(pbx: MockKSR, send_from_inside: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send_from_inside(marks.request("INVITE", headers=f"Contact: {CONTACT}\r\n"))
    assert contact(pbx) == f"<{MENDED}>"


@pytest.mark.parametrize(("next_route", "ruri", "next_hop"), [
    (None, f"sip:alice@{INSIDE}:5060", MENDED),
    (f"sip:{PBX}:{PORT};lr;x=1", f"sip:alice@{INSIDE}:5060", MENDED),
    (f"sip:{PBX}:5062;lr", MENDED, f"sip:{PBX}:5062;lr"),
])  # fmt: skip
def test_the_pbx_sees_its_own_contact(
    pbx: MockKSR, send: Send, marks: Marks, next_route: str | None, ruri: str, next_hop: str
) -> None:
    """Unless another proxy is next, which may have mended it."""
    in_dialog(pbx)
    pbx.world.route_leads_to = next_route
    there = fingerprint(marks.key, f"{PBX} {PORT if next_hop == MENDED else 5062} udp")
    text = marks.request("INVITE", marks.sealed(pbx=there), uri=MENDED)
    send(text.replace(";tag=a", ";tag=x").replace(";tag=b", ";tag=a").replace(";tag=x", ";tag=b"), source="203.0.113.5")
    assert (pbx.relayed[0].ruri, pbx.relayed[0].next_hop) == (ruri, next_hop)


def test_a_phone_with_a_sips_contact_is_reached_by_tls(pbx: MockKSR, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    there = fingerprint(marks.key, "198.51.100.77 5061 tls")
    text = marks.request("BYE", marks.sealed(pbx=there), uri="sips:alice@198.51.100.77")
    send(text.replace(";tag=a", ";tag=x").replace(";tag=b", ";tag=a").replace(";tag=x", ";tag=b"), source="203.0.113.5")
    assert [relayed.next_hop for relayed in pbx.relayed] == ["sips:alice@198.51.100.77"]
