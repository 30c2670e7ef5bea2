"""Dialogs that a carrier has started, over the mocked KSR: the PBX is called, and the trunk's carrier is the caller."""

from __future__ import annotations

import time

import pytest

from kemi.dialog import mark
from kemi.dialog.cseq import MOST_AT_ONCE
from kemi.handlers import Handlers
from tests.flow.scene import FAILED, PBX, Marks, Send, challenge, cseqs, in_dialog, reply, request
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

CARRIER = "192.0.2.50"  # berlin's next hop
CONTACT = f"sip:carrier@{CARRIER}"
PBX_CONTACT = f"sip:4930123@{PBX}"
UNLISTED = "192.0.2.77"  # a PBX that may not place calls
STRANGER = "203.0.113.9"
OURS = "192.0.2.1"
NO_DIALOG = Reply(481, "Call/Transaction Does Not Exist")


@pytest.fixture
def inbound(pbx: MockKSR, marks: Marks) -> Marks:
    """Marks of dialogs that berlin's carrier has started. The tag of request(), a, is that of the PBX if the mark is
    sealed for the tag b, of the carrier otherwise.
    """
    in_dialog(pbx)
    pbx.world.dialog = {}
    pbx.world.carrier = CARRIER
    pbx.answer("permissions.allow_address", lambda group, one, _port: 1 if pbx.state.is_trusted(group, one) else -1)
    marks.mark = marks.mark._replace(is_inbound=True, cseq=7, pbx=mark.fingerprint(marks.key, f"{UNLISTED} 5060 udp"))
    return marks


def of_pbx(marks: Marks, method: str, **others: int) -> str:
    """A request of the PBX, towards the carrier."""
    return marks.request(method, marks.sealed(tag="b"), uri=CONTACT, **others)  # type: ignore[arg-type]


def of_carrier(marks: Marks, method: str, uri: str = PBX_CONTACT) -> str:
    return marks.request(method, marks.sealed(tag="a"), uri=uri)


# --- the PBX speaks


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "REFER", "INVITE"])
@pytest.mark.parametrize("code", [401, 407])
def test_the_pbxs_request_is_answered_for(
    pbx: MockKSR, routes: Handlers, send: Send, inbound: Marks, method: str, code: int
) -> None:
    send(of_pbx(inbound, method))
    challenge(pbx, routes, code=code)
    reply(pbx, routes, 200)
    assert cseqs(pbx) == [f"1 {method}", f"2 {method}"]
    name = {401: "Authorization", 407: "Proxy-Authorization"}[code]
    assert [name in sent.message.names for sent in pbx.relayed] == [False, True]
    assert (pbx.replies[-1].code, pbx.replies[-1].cseq) == (200, f"1 {method}")


def test_credentials_stay_with_the_carrier_though_its_contact_leads_elsewhere(
    pbx: MockKSR, routes: Handlers, send: Send, inbound: Marks
) -> None:
    send(inbound.request("BYE", inbound.sealed(tag="b"), uri=f"sip:x@{STRANGER}"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_the_pbx_counts_on_from_its_own_numbers(pbx: MockKSR, routes: Handlers, send: Send, inbound: Marks) -> None:
    send(of_pbx(inbound, "INVITE", cseq=7))
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    send(of_pbx(inbound, "ACK", cseq=7))  # 7 is the carrier's INVITE as well
    assert cseqs(pbx) == ["8 ACK"]
    send(of_pbx(inbound, "BYE", cseq=8))
    assert cseqs(pbx) == ["9 BYE"]


def test_after_a_restart_the_numbers_are_above_all_that_may_have_been_sent(
    pbx: MockKSR, send: Send, inbound: Marks, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbound.mark = inbound.mark._replace(run=inbound.mark.run ^ 1)
    monkeypatch.setattr(time, "time", lambda: inbound.now + 10)
    send(of_pbx(inbound, "BYE"))
    assert cseqs(pbx) == [f"{1 + 10 + MOST_AT_ONCE} BYE"]


@pytest.mark.parametrize(("source", "passes"), [(PBX, True), (UNLISTED, True), (STRANGER, False), (CARRIER, False)])
@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO"])
def test_who_may_speak_for_the_pbx(
    pbx: MockKSR, send: Send, inbound: Marks, source: str, passes: bool, method: str
) -> None:
    send(of_pbx(inbound, method), source=source)
    assert (len(pbx.relayed), pbx.replies) == ((1, []) if passes else (0, [NO_DIALOG]))


# --- the carrier speaks


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "PRACK", "ACK"])
def test_the_carriers_request_goes_to_the_pbx_as_it_is(pbx: MockKSR, send: Send, inbound: Marks, method: str) -> None:
    send(of_carrier(inbound, method), source=STRANGER)  # another machine of the carrier's
    assert cseqs(pbx) == [f"1 {method}"]
    assert pbx.armed == {}


@pytest.mark.parametrize(("uri", "passes"), [
    (PBX_CONTACT, True), (f"sip:x@{UNLISTED}", True), (f"sip:x@{UNLISTED}:5066", False), (f"sip:x@{STRANGER}", False),
    ("sip:x@name.test", False), ("sip:x@far.test", False), ("sip:x@bobs.test", True),
])  # fmt: skip
def test_the_carriers_request_goes_nowhere_else(
    pbx: MockKSR, send: Send, inbound: Marks, uri: str, passes: bool
) -> None:
    """A PBX may have given a name in its Contact."""
    pbx.trust("192.0.2.52/32")  # what bobs.test resolves to; far.test to another, name.test was never asked for
    send(of_carrier(inbound, "BYE", uri), source=CARRIER)
    assert (len(pbx.relayed), pbx.replies) == ((1, []) if passes else (0, [NO_DIALOG]))
    assert pbx.tables.content("wanted_names") == {}


@pytest.mark.parametrize(("source", "method", "replies"), [
    (STRANGER, "INFO", []), (OURS, "INFO", [Reply(482, "Loop Detected")]), (OURS, "ACK", []),
])  # fmt: skip
def test_the_carriers_request_comes_to_us_once_more_and_no_oftener(
    pbx: MockKSR, send: Send, inbound: Marks, source: str, method: str, replies: list[Reply]
) -> None:
    """Our own address may be among the callers'."""
    pbx.trust(f"{OURS}/32")
    send(of_carrier(inbound, method, f"sip:{OURS}:5060"), source=source)
    assert (len(pbx.relayed), pbx.replies) == (int(source == STRANGER), replies)


def test_the_pbxs_request_does_not_go_round_either(pbx: MockKSR, send: Send, inbound: Marks) -> None:
    pbx.trust(f"{OURS}/32")
    send(inbound.request("INFO", inbound.sealed(tag="b"), uri=f"sip:{OURS}:5060"), source=OURS)
    assert (len(pbx.relayed), pbx.replies) == (0, [Reply(482, "Loop Detected")])


# --- cancelling


@pytest.mark.parametrize(("source", "groups", "passes"), [
    (CARRIER, set(), True), (STRANGER, {2}, True), (STRANGER, set(), False),
])  # fmt: skip
def test_a_carrier_cancels_its_own_call(pbx: MockKSR, send: Send, source: str, groups: set[int], passes: bool) -> None:
    for group in groups:
        pbx.trust(f"{source}/32", group)
    pbx.world.transaction_known = 1
    send(request("CANCEL", uri="sip:berlin@192.0.2.1"), source=source)
    assert (len(pbx.relayed), pbx.replies) == ((1, []) if passes else (0, [NO_DIALOG]))


@pytest.mark.parametrize(("source", "passes"), [(PBX, True), (UNLISTED, True), (STRANGER, False)])
def test_the_pbx_cancels_its_re_invite(pbx: MockKSR, send: Send, inbound: Marks, source: str, passes: bool) -> None:
    pbx.world.transaction_known = 1
    send(of_pbx(inbound, "CANCEL"), source=source)
    assert (len(pbx.relayed), pbx.replies) == ((1, []) if passes else (0, [NO_DIALOG]))
