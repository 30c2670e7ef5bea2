"""Requests inside dialogs over the mocked KSR: who is answered for, and which CSeq they have."""

from __future__ import annotations

import pytest

from kemi.handlers import Handlers
from kemi.settings import Settings
from kemi.trunks.tables import open_file
from tests.flow.scene import (
    FAILED,
    PBX,
    Send,
    challenge,
    dialog_route,
    execute,
    in_dialog,
    reply,
    request,
    routes_with,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply


@pytest.mark.parametrize("method", ["INVITE", "BYE", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "MESSAGE"])
def test_a_challenge_in_a_dialog_is_answered(pbx: MockKSR, routes: Handlers, send: Send, method: str) -> None:
    in_dialog(pbx)
    send(request(method, uri="sip:callee@far.test", to_tag="b"))
    challenge(pbx, routes)
    assert [relayed.message.get("Proxy-Authorization") is not None for relayed in pbx.relayed] == [False, True]
    assert pbx.relayed[1].ruri == "sip:callee@far.test"


def test_the_caller_is_not_answered_for_by_the_callee(pbx: MockKSR, send: Send) -> None:
    in_dialog(pbx, from_tag="the caller's")
    send(request("BYE", to_tag="b"), source="203.0.113.9")
    assert len(pbx.relayed) == 1
    assert pbx.called("tm.t_on_failure") == []


def test_a_source_that_may_not_call_gets_no_answer_in_a_dialog(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    in_dialog(pbx)
    send(request("INVITE", to_tag="b"), source="203.0.113.9")
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_who_is_not_the_trunks_carrier_gets_no_answer_in_a_dialog(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    in_dialog(pbx)
    pbx.world.carrier = "203.0.113.66"
    send(request("BYE", to_tag="b"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_trunk_that_leads_elsewhere_by_now_gives_no_answer_in_a_dialog(
    pbx: MockKSR, routes: Handlers, send: Send
) -> None:
    """The one who asks is the carrier that the dialog was set up with; the row's password is for another one."""
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog["trunk"] = dialog_route("berlin", "sip:former.carrier.test carrier.test")
    send(request("BYE", to_tag="b"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_the_carrier_is_who_answered_the_first_invite(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    reply(pbx, routes, 100)
    assert pbx.state.dialog == {"trunk": dialog_route("berlin")}
    reply(pbx, routes, 180)
    assert pbx.state.dialog == {"trunk": dialog_route("berlin"), "peer": pbx.world.carrier}


def test_a_listed_source_in_an_unknown_dialog_sees_no_challenge(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    pbx.world.loose_route = 1
    send(request("SUBSCRIBE", to_tag="b"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_raised_cseq_is_not_ordered_twice(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog["cseq_diff"] = "1"
    send(request("BYE", to_tag="b"))
    challenge(pbx, routes)
    assert [relayed.message.get("CSeq") for relayed in pbx.relayed] == ["2 BYE", "3 BYE"]
    assert not any("P-K-CSeq-Refresh" in relayed.message.names for relayed in pbx.relayed)


def test_a_row_that_another_worker_has_seen_first_is_looked_for(pbx: MockKSR, database: Settings) -> None:
    first, second = routes_with(database), routes_with(database)
    assert second.trunks.by_uuid("new") is None
    engine = open_file(database.local_file)
    execute(engine, "INSERT INTO uacreg (l_uuid, r_domain, realm, auth_username, auth_password)"
                    " VALUES ('new', 'carrier.test', 'carrier', 'u', 'p')")  # fmt: skip
    first.trunks.look_again()
    pbx.handlers = first
    pbx.receive(request(headers="X-Trunk: new\r\n"), source=(PBX, 5060))
    first.ksr_request_route(None)
    pbx.handlers = second
    challenge(pbx, second)
    assert len(pbx.relayed) == 2
    execute(engine, "DELETE FROM uacreg WHERE l_uuid = 'new'")
    engine.dispose()
    first.trunks.close()
    second.trunks.close()


RACKS = {
    "as the callee knows it": ({"invites": "[1,[1,2]]"}, "RAck: 7 1 INVITE", "7 3 INVITE"),
    "another INVITE": ({"invites": "[1,[7,2]]"}, "RAck: 7 1 INVITE", "7 1 INVITE"),
    "nothing was raised": ({}, "RAck: 7 1 INVITE", "7 1 INVITE"),
    "none": ({"invite_diff": "2"}, "X: y", None),
    "one that cannot be read": ({"invites": "[1,[1,2]]"}, "RAck: 7 one INVITE", "7 one INVITE"),
}


@pytest.mark.parametrize(("raised", "field", "sent"), RACKS.values(), ids=RACKS)
def test_a_prack_names_the_invite(
    pbx: MockKSR, send: Send, raised: dict[str, str], field: str, sent: str | None
) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog |= raised
    send(request("PRACK", to_tag="b", headers=f"{field}\r\n"))
    assert pbx.relayed[0].message.get("RAck") == sent


def test_a_reinvite_is_named_by_its_own_cseq(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog["cseq_diff"] = "1"
    send(request(to_tag="b"))
    assert pbx.world.dialog["invites"] == "[1,[1,1]]"
    challenge(pbx, routes)
    assert pbx.world.dialog["invites"] == "[1,[1,2]]"


def test_the_last_invites_of_a_dialog_are_remembered(pbx: MockKSR, send: Send) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog |= {"cseq_diff": "9", "invites": "[1,[2,1],[3,1],[4,2],[5,2]]"}
    send(request(to_tag="b"))
    assert pbx.world.dialog["invites"] == "[1,[3,1],[4,2],[5,2],[1,9]]"


@pytest.mark.parametrize(
    ("raised", "sent"),
    [
        ({"cseq_diff": "2", "invites": "[1,[1,1]]"}, "2 ACK"),
        ({"cseq_diff": "1", "invites": "[1,[1,1]]"}, "2 ACK"),
        ({"cseq_diff": "1"}, "1 ACK"),
        ({}, "1 ACK"),
    ],
)
def test_the_ack_of_a_success_has_its_invites_cseq(pbx: MockKSR, send: Send, raised: dict[str, str], sent: str) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog |= raised
    send(request("ACK", to_tag="b"))
    assert pbx.relayed[0].message.get("CSeq") == sent


def test_private_headers_go_no_further_in_a_dialog(pbx: MockKSR, send: Send) -> None:
    in_dialog(pbx)
    send(request("INFO", to_tag="b", headers="P-K-CSeq-Auth: 9\r\nAuthorization: Digest x\r\nX-Trunk: y\r\n"))
    assert not {"P-K-CSeq-Auth", "Authorization", "X-Trunk"} & set(pbx.relayed[0].message.names)


def test_the_ack_of_a_success_follows_its_route(pbx: MockKSR, send: Send) -> None:
    in_dialog(pbx)
    send(request("ACK", to_tag="b"))
    assert len(pbx.relayed) == 1


def test_a_strangers_ack_is_dropped(pbx: MockKSR, send: Send) -> None:
    pbx.world.loose_route = 1
    send(request("ACK", to_tag="b"), source="203.0.113.9")
    assert (pbx.relayed, pbx.replies) == ([], [])


def test_the_ack_of_a_failure_ends_in_its_transaction(pbx: MockKSR, send: Send) -> None:
    pbx.world.transaction_known = 1
    send(request("ACK", to_tag="b"))
    assert len(pbx.relayed) == 1


def test_a_to_tag_without_our_route_481(pbx: MockKSR, send: Send) -> None:
    send(request("INVITE", to_tag="b"))
    assert pbx.replies == [Reply(481, "Call/Transaction Does Not Exist")]


@pytest.mark.parametrize(
    ("method", "source", "passes"),
    [
        ("INVITE", "203.0.113.9", False),
        ("BYE", "203.0.113.9", True),
        ("NOTIFY", "203.0.113.9", True),
        ("INFO", PBX, True),
    ],
)
def test_in_an_unknown_dialog_a_stranger_can_start_nothing(
    pbx: MockKSR, send: Send, method: str, source: str, passes: bool
) -> None:
    pbx.world.loose_route = 1
    send(request(method, to_tag="b"), source=source)
    assert len(pbx.relayed) == passes
    assert pbx.replies == ([] if passes else [Reply(481, "Call/Transaction Does Not Exist")])


def test_a_next_hop_that_cannot_be_sent_to_in_a_dialog_503(pbx: MockKSR, send: Send) -> None:
    pbx.world.loose_route = 1
    pbx.world.unreachable.add("sip:callee@far.test")
    send(request("BYE", uri="sip:callee@far.test", to_tag="b"))
    assert pbx.replies == [Reply(503, "Next Hop Unreachable")]
