"""The CSeqs that a carrier and a caller see, over the mocked KSR: kemi/dialog/cseq.py has the rules."""

from __future__ import annotations

import time

import pytest

from kemi.flow.dialogs import KEPT_ANSWERED, KEPT_RAISED
from kemi.handlers import Handlers
from kemi.health.standby import Standby
from tests.flow.scene import (
    FAILED,
    PBX,
    STALE,
    Marks,
    Send,
    another_worker,
    challenge,
    cseqs,
    fail,
    in_dialog,
    reply,
    request,
)
from tests.ksr.fixtures import installed
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

TOO_HIGH = Reply(500, "CSeq Too High")
HIGHEST = 2**31 - 1
KEPT = 360  # seconds, of the table `sequences`, with the settings as they come


# --- outside a dialog


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "MESSAGE", "OPTIONS", "PUBLISH"])
def test_a_resend_is_one_above(pbx: MockKSR, routes: Handlers, send: Send, method: str) -> None:
    send(request(method))
    challenge(pbx, routes)
    challenge(pbx, routes, STALE.replace("MD5", "SHA-256"))
    challenge(pbx, routes, STALE.replace("n2", "n3"))
    assert cseqs(pbx) == [f"{number} {method}" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
@pytest.mark.parametrize("code", [180, 200, 422, 503])
def test_the_caller_gets_his_cseq_back_as_he_wrote_it(
    pbx: MockKSR, routes: Handlers, send: Send, method: str, code: int
) -> None:
    send(request(method, cseq="0009"))
    challenge(pbx, routes)
    if code < 300:
        reply(pbx, routes, code)
    else:
        fail(pbx, routes, code)
    assert cseqs(pbx) == [f"0009 {method}", f"10 {method}"]
    assert [(one.code, one.cseq) for one in pbx.replies] == [(code, f"0009 {method}")]


def test_a_refusal_of_ours_has_the_callers_cseq(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request(cseq="0009"))
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert (pbx.replies, pbx.replies[0].cseq) == ([FAILED], "0009 INVITE")


def test_a_caller_who_tries_again_counts_on_from_what_he_knows(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    fail(pbx, routes, 422)
    send(request(cseq=2))
    challenge(pbx, routes)
    assert cseqs(pbx) == ["3 INVITE", "4 INVITE"]
    fail(pbx, routes, 422)
    send(request(cseq=9))
    assert cseqs(pbx) == ["9 INVITE"]


@pytest.mark.parametrize(("seconds", "sent"), [(KEPT, "3 INVITE"), (KEPT + 1, "2 INVITE")])
def test_what_was_sent_is_remembered_for_a_while(
    pbx: MockKSR, routes: Handlers, send: Send, seconds: int, sent: str
) -> None:
    send(request())
    challenge(pbx, routes)
    pbx.tables.pass_time(seconds)
    send(request(cseq=2))
    assert cseqs(pbx) == [sent]


def test_a_call_that_is_not_challenged_leaves_nothing_behind(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    reply(pbx, routes, 200)
    pbx.tables.pass_time(KEPT_ANSWERED + 1)
    assert pbx.tables.content("sequences") == {}


def test_the_numbers_of_a_fork_are_remembered_beyond_the_answer_to_another(
    pbx: MockKSR, routes: Handlers, send: Send
) -> None:
    send(request())
    with another_worker(pbx) as other:
        other.receive(request(), source=(PBX, 5060))
        routes.ksr_request_route(None)
    reply(pbx, routes, 200)
    pbx.tables.pass_time(KEPT_ANSWERED + 1)
    with installed(other):
        challenge(other, routes)
    assert (cseqs(pbx), cseqs(other)) == (["1 INVITE"], ["2 INVITE", "3 INVITE"])


@pytest.mark.parametrize(("cseq", "sent"), [(1, ["2 INVITE", "4 INVITE"]), (2, ["2 INVITE", "4 INVITE"])])
def test_two_requests_that_go_out_before_either_is_challenged_share_no_number(
    pbx: MockKSR, routes: Handlers, send: Send, cseq: int, sent: list[str]
) -> None:
    send(request())
    with another_worker(pbx) as other:
        other.receive(request(cseq=cseq), source=(PBX, 5060))
        routes.ksr_request_route(None)
    challenge(pbx, routes)
    with installed(other):
        challenge(other, routes)
    assert (cseqs(pbx), cseqs(other)) == (["1 INVITE", "3 INVITE"], sent)


@pytest.mark.parametrize(("tag", "sent"), [("a", "3 INVITE"), ("z", "2 INVITE")])
def test_invites_of_one_call_id_and_from_tag_share_their_numbers(
    pbx: MockKSR, routes: Handlers, send: Send, tag: str, sent: str
) -> None:
    send(request())
    challenge(pbx, routes)
    with another_worker(pbx) as other:
        other.receive(request(cseq=2).replace(";tag=a", f";tag={tag}"), source=(PBX, 5060))
        routes.ksr_request_route(None)
        assert cseqs(other) == [sent]
    challenge(pbx, routes, STALE)
    assert cseqs(pbx) == ["1 INVITE", "2 INVITE", "4 INVITE" if tag == "a" else "3 INVITE"]


def test_another_destination_starts_anew(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    fail(pbx, routes, 503)
    for trunk, sent in (("plain", "2 INVITE"), ("berlin", "3 INVITE")):
        send(request(cseq=2, headers=f"X-Trunk: {trunk}\r\n"))
        assert cseqs(pbx) == [sent]


def test_a_number_that_would_be_too_high_500(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request(cseq=HIGHEST - 1))
    challenge(pbx, routes)
    challenge(pbx, routes, STALE)
    assert (cseqs(pbx), pbx.replies) == ([f"{HIGHEST - 1} INVITE", f"{HIGHEST} INVITE"], [TOO_HIGH])
    send(request(cseq=HIGHEST))  # and no lock is left behind
    assert (pbx.relayed, pbx.replies) == ([], [TOO_HIGH])


@pytest.mark.parametrize("method", ["INFO", "BYE"])
def test_a_number_that_would_be_too_high_inside_a_dialog_500(
    pbx: MockKSR, send: Send, marks: Marks, method: str
) -> None:
    in_dialog(pbx)
    send(marks.request(method, marks.sealed(raised=1), cseq=HIGHEST))
    assert (pbx.relayed, pbx.replies) == ([], [TOO_HIGH])


# --- inside a dialog


@pytest.mark.parametrize("method", ["INVITE", "INFO", "BYE"])
def test_a_request_is_raised_as_its_dialog_was(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, method: str
) -> None:
    in_dialog(pbx)
    send(marks.request(method, marks.sealed(cseq=1, raised=2), cseq=2))
    challenge(pbx, routes)
    assert cseqs(pbx) == [f"4 {method}", f"5 {method}"]
    reply(pbx, routes, 200)
    assert pbx.replies[-1].cseq == f"2 {method}"


def test_a_request_follows_what_was_raised_inside(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    for method, cseq, sent in (("INFO", 2, [2, 3]), ("INFO", 3, [4, 5]), ("BYE", 4, [6, 7])):
        send(marks.request(method, cseq=cseq))
        challenge(pbx, routes)
        assert cseqs(pbx) == [f"{number} {method}" for number in sent]


def test_requests_that_overlap_have_numbers_of_their_own(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", cseq=2))
    with another_worker(pbx) as other:
        other.receive(marks.request("UPDATE", cseq=3), source=(PBX, 5060))
        routes.ksr_request_route(None)
    challenge(pbx, routes)
    with installed(other):
        challenge(other, routes)
    assert (cseqs(pbx), cseqs(other)) == (["2 INFO", "4 INFO"], ["3 UPDATE", "5 UPDATE"])


def test_a_dialog_that_has_ended_is_forgotten(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("INFO"))
    send(marks.request("BYE", marks.sealed(raised=1), cseq=2))
    reply(pbx, routes, 200)
    assert len(pbx.tables.content("sequences")) == 1  # a fork's other call is hung up at once
    pbx.tables.pass_time(KEPT_ANSWERED + 1)
    assert pbx.tables.content("sequences") == {}


def test_a_bye_of_one_call_of_a_fork_forgets_nothing_of_the_other(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    """One INVITE was answered twice: the dialogs differ in their To tags alone."""
    in_dialog(pbx)
    value = marks.sealed(raised=1)
    send(marks.request("PRACK", value, cseq=2, to_tag="b"))
    challenge(pbx, routes)
    send(marks.request("BYE", value, cseq=3, to_tag="c"))
    reply(pbx, routes, 200)
    pbx.tables.pass_time(KEPT_RAISED)
    send(marks.request("BYE", value, cseq=3, to_tag="b"))
    assert cseqs(pbx) == ["6 BYE"]


def test_a_challenged_bye_has_not_ended_its_dialog(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    value = marks.sealed(raised=1)
    send(marks.request("INFO", value, cseq=2))
    with another_worker(pbx) as other:
        other.receive(marks.request("BYE", value, cseq=3), source=(PBX, 5060))
        routes.ksr_request_route(None)
        reply(other, routes, 407)  # and its failure route has not been run yet
    challenge(pbx, routes)
    assert (cseqs(pbx), cseqs(other)) == (["3 INFO", "5 INFO"], ["4 BYE"])


def test_a_bye_of_a_dialog_that_was_not_raised_costs_nothing(pbx: MockKSR, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("BYE"))
    assert (pbx.tables.content("sequences"), pbx.called("htable.sht_lock")) == ({}, [])


def test_a_number_that_would_be_too_high_in_a_dialog_500(pbx: MockKSR, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", marks.sealed(raised=1), cseq=HIGHEST))
    assert (pbx.relayed, pbx.replies) == ([], [TOO_HIGH])
    send(marks.request("INFO", cseq=HIGHEST))
    assert cseqs(pbx) == [f"{HIGHEST} INFO"]


# --- after a restart, or on another node


@pytest.fixture
def clock(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the second in which the marks were sealed."""
    monkeypatch.setattr(time, "time", lambda: marks.now)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("method", ["INFO", "BYE"])
def test_after_a_restart_a_number_is_above_all_that_may_have_been_sent(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, method: str
) -> None:
    """It is the caller's, by how much the dialog was raised, 64, its age, and 8 for each request since the INVITE:
    5 + 2 + 64 + 100 + 8 * 4.
    """
    in_dialog(pbx)
    value = marks.sealed(raised=2, since=marks.now - 100, run=marks.mark.run ^ 1)
    send(marks.request(method, value, cseq=5))
    challenge(pbx, routes)
    assert cseqs(pbx) == [f"203 {method}", f"204 {method}"]
    send(marks.request(method, value, cseq=6))
    assert cseqs(pbx) == [f"212 {method}"]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("since", "number"), [(5, 137), (0, 137), (-5, 142)])
def test_a_clock_that_is_behind_takes_nothing_off(
    pbx: MockKSR, send: Send, marks: Marks, since: int, number: int
) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", marks.sealed(since=marks.now + since, run=0), cseq=9))
    assert cseqs(pbx) == [f"{number} INFO"]


@pytest.mark.usefixtures("clock")
def test_a_node_that_gets_its_address_back_passes_the_numbers_of_the_other(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    """What it has sent itself is not all that was sent: 3 + 64 + 8 * 2."""
    in_dialog(pbx)
    send(marks.request("INFO", cseq=2))
    challenge(pbx, routes)
    assert cseqs(pbx) == ["2 INFO", "3 INFO"]
    Standby(["192.0.2.1"], lambda: marks.mark.run ^ 1).look(frozenset())
    send(marks.request("INFO", cseq=3))  # the address is back, and we have not seen that yet
    assert cseqs(pbx) == ["83 INFO"]


@pytest.mark.usefixtures("clock")
def test_a_sender_who_counts_backwards_is_not_raised_for_it(pbx: MockKSR, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", marks.sealed(cseq=9, run=0), cseq=5))
    assert cseqs(pbx) == ["69 INFO"]


@pytest.mark.parametrize(("ago", "kept"), [(0, KEPT), (1, KEPT_RAISED)])
def test_what_the_mark_does_not_tell_is_remembered_for_a_day(
    pbx: MockKSR, send: Send, marks: Marks, ago: int, kept: int
) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", marks.sealed(run=marks.mark.run ^ ago), cseq=2))
    pbx.tables.pass_time(kept)
    assert len(pbx.tables.content("sequences")) == 1
    pbx.tables.pass_time(1)
    assert pbx.tables.content("sequences") == {}


def test_what_was_raised_inside_is_remembered_for_a_day(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", cseq=2))
    challenge(pbx, routes)
    pbx.tables.pass_time(KEPT_RAISED)
    send(marks.request("INFO", cseq=3))
    assert cseqs(pbx) == ["4 INFO"]


def test_what_was_raised_inside_is_remembered_beyond_a_request_that_was_not(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", cseq=2))
    challenge(pbx, routes)
    send(marks.request("INFO", cseq=3))
    assert cseqs(pbx) == ["4 INFO"]
    pbx.tables.pass_time(KEPT + 1)
    send(marks.request("INFO", cseq=4))
    assert cseqs(pbx) == ["5 INFO"]


# --- ACK and PRACK


@pytest.mark.parametrize(("raised", "cseq", "sent"), [(0, "01", "01 ACK"), (2, "1", "3 ACK"), (2, "7", "9 ACK")])
def test_the_ack_of_a_success_has_its_invites_number(
    pbx: MockKSR, send: Send, marks: Marks, raised: int, cseq: str, sent: str
) -> None:
    in_dialog(pbx)
    send(marks.request("ACK", marks.sealed(raised=raised), cseq=cseq))
    assert cseqs(pbx) == [sent]


def test_acks_of_re_invites_have_the_numbers_of_their_own(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    in_dialog(pbx)
    value = marks.sealed(raised=1)
    for method, number in (("INVITE", 2), ("INFO", 3), ("INVITE", 4)):  # sent as 3 and 4; 5 and 6; 7 and 8
        send(marks.request(method, value, cseq=number))
        challenge(pbx, routes)
    for cseq, sent in ((1, 2), (2, 4), (4, 8)):
        send(marks.request("ACK", value, cseq=cseq))
        assert cseqs(pbx) == [f"{sent} ACK"]


RACKS = {
    "as the caller knows it": ("7 1 INVITE", "7 3 INVITE"),
    "white space and leading zeros": ("7 \t 0001  INVITE", "7 3 INVITE"),
    "malformed": ("7 one INVITE", "7 one INVITE"),
    "none": (None, None),
}


@pytest.mark.parametrize(("value", "sent"), RACKS.values(), ids=RACKS)
def test_a_prack_names_the_invite_by_its_number(
    pbx: MockKSR, send: Send, marks: Marks, value: str | None, sent: str | None
) -> None:
    in_dialog(pbx)
    send(marks.request("PRACK", marks.sealed(raised=2), f"RAck: {value}\r\n" if value else "", cseq=2))
    assert (pbx.relayed[0].message.get("RAck"), cseqs(pbx)) == (sent, ["4 PRACK"])


def test_a_prack_of_a_re_invite_names_it_by_its_own(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("INVITE", cseq=2))
    challenge(pbx, routes)
    send(marks.request("PRACK", headers="RAck: 1 2 INVITE\r\n", cseq=3))
    assert (pbx.relayed[0].message.get("RAck"), cseqs(pbx)) == ("1 3 INVITE", ["4 PRACK"])
