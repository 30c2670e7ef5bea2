"""The SIP flow over the strict mocked KSR of each Kamailio version: every branch, every row of the reply table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kemi import schema
from kemi.auth.session import MOST_AGAIN
from kemi.flow import TrunkAuth
from kemi.replica import copy as replica
from kemi.settings import Settings
from kemi.trunks.tables import open_file
from tests.flow.scene import (
    CHALLENGE,
    FAILED,
    PASSWORD,
    PBX,
    STALE,
    Send,
    challenge,
    credential_avps,
    dialog_trunk,
    execute,
    fail,
    in_dialog,
    reply,
    request,
    routes_with,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

# --- a new request


def test_a_call_goes_to_its_trunk(pbx: MockKSR, send: Send) -> None:
    send(request())
    [relayed] = pbx.relayed
    assert relayed.ruri == "sip:4930123@carrier.test"
    assert relayed.next_hop == "sip:sbc.carrier.test"
    assert "Record-Route" in relayed.message.names
    assert pbx.state.dialog == {"trunk": dialog_trunk("berlin")}
    assert pbx.replies == []


SELECTED = {
    "X-Trunk": (request(headers="X-Trunk: plain\r\n"), "plain"),
    "X-Trunk before the caller": (request(headers="X-Trunk:  any-domain \r\n"), "any-domain"),
    "X-Trunk that no row has": (request(headers="X-Trunk: none\r\n"), "berlin"),
    "caller's user and domain": (request(), "berlin"),
    "caller's domain in capitals": (request(caller="<sip:alice@PBX.Test>"), "berlin"),
    "caller's user, any domain": (request(caller="<sip:bob@anywhere.test>"), "any-domain"),
    "R-URI's domain": (request(caller="<sip:nobody@x.test>", uri="sip:1@bobs.test"), "any-domain"),
    "no user in From": (request(caller="<sip:pbx.test>", uri="sip:1@bobs.test"), "any-domain"),
    "the default": (request(caller="<sip:nobody@x.test>"), "plain"),
}


@pytest.mark.parametrize(("message", "trunk"), SELECTED.values(), ids=SELECTED)
def test_the_first_rule_that_hits_selects_the_trunk(pbx: MockKSR, database: Settings, message: str, trunk: str) -> None:
    routes = routes_with(database, {"TRUNKAUTH_DEFAULT_TRUNK": "plain"})
    pbx.receive(message, source=(PBX, 5060))
    routes.ksr_request_route(None)
    routes.trunks.close()
    assert (pbx.state.dialog or {})["trunk"].partition("\n")[0] == trunk


def test_without_a_trunk_404(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:nobody@x.test>"))
    assert pbx.replies == [Reply(404, "No Trunk")]
    assert pbx.relayed == []


def test_an_unlisted_source_403(pbx: MockKSR, send: Send) -> None:
    send(request(headers="X-Trunk: berlin\r\n"), source="198.51.100.7")
    assert pbx.replies == [Reply(403, "Forbidden")]
    assert pbx.relayed == []


def test_private_headers_and_routes_go_no_further(pbx: MockKSR, send: Send) -> None:
    private = ("X-Trunk", "Authorization", "Proxy-Authorization", "P-K-CSeq-Auth", "P-K-CSeq-Refresh", "Route")
    send(request(headers="".join(f"{name}: <sip:elsewhere.test;lr>\r\n" for name in private) + "X-Kept: yes\r\n"))
    assert not set(private) & set(pbx.relayed[0].message.names)
    assert "X-Kept" in pbx.relayed[0].message.names


def test_without_r_domain_the_dialled_domain_is_kept(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:carol@x.test>", uri="sip:4930123@dialled.test"))
    assert (pbx.relayed[0].ruri, pbx.relayed[0].next_hop) == ("sip:4930123@dialled.test", "sip:sbc.carrier.test")


def test_without_auth_proxy_the_r_uri_is_the_next_hop(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:bob@x.test>"))
    assert pbx.relayed[0].next_hop == "sip:4930123@bobs.test"


def test_a_trunk_that_leads_back_to_us_is_no_trunk(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:erin@x.test>"))
    assert pbx.replies == [Reply(404, "No Trunk")]
    assert any("trunk=no-next-hop" in line for _, line in pbx.log)


def test_the_rows_socket_sends(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:grace@x.test>"))
    assert pbx.relayed[0].socket == "udp:192.0.2.1:5060"


def test_a_socket_that_is_not_ours_is_no_trunk(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:frank@x.test>"))
    assert pbx.replies == [Reply(404, "No Trunk")]


def test_a_next_hop_that_cannot_be_sent_to_503(pbx: MockKSR, send: Send) -> None:
    pbx.world.unreachable.add("sip:sbc.carrier.test")
    send(request())
    assert pbx.replies == [Reply(503, "Next Hop Unreachable")]


@pytest.mark.parametrize("method", ["MESSAGE", "PUBLISH", "OPTIONS"])
def test_a_request_that_starts_no_dialog_is_relayed_without_record_route(pbx: MockKSR, send: Send, method: str) -> None:
    send(request(method))
    assert pbx.relayed[0].ruri == "sip:4930123@carrier.test"
    assert "Record-Route" not in pbx.relayed[0].message.names
    assert pbx.state.dialog is None


def test_register_405_names_what_is_served(pbx: MockKSR, send: Send) -> None:
    send(request("REGISTER", uri="sip:192.0.2.1"))
    assert pbx.replies == [Reply(405, "Method Not Allowed")]
    assert pbx.called("hdr.append_to_reply")[0][0].startswith("Allow: INVITE, ")


def test_options_to_the_proxy_200_for_everyone(pbx: MockKSR, send: Send) -> None:
    send(request("OPTIONS", uri="sip:192.0.2.1:5060"), source="198.51.100.7")
    assert pbx.replies == [Reply(200, "OK")]


def test_too_many_hops_483(pbx: MockKSR, send: Send) -> None:
    send(request().replace("Max-Forwards: 70", "Max-Forwards: 0"))
    assert pbx.replies == [Reply(483, "Too Many Hops")]
    assert pbx.relayed == []


def test_what_is_not_sane_goes_no_further(pbx: MockKSR, send: Send) -> None:
    pbx.world.sane = False
    send(request())
    assert [reply.code for reply in pbx.replies] == [400]
    assert pbx.relayed == []


def test_what_is_not_utf8_400(pbx: MockKSR, routes: TrunkAuth) -> None:
    pbx.receive(request(headers="X-Trunk: @\r\n").encode().replace(b"@\r\n", b"\xff\r\n"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    assert pbx.replies == [Reply(400, "Not UTF-8")]


def test_a_retransmission_is_left_to_its_transaction(pbx: MockKSR, send: Send) -> None:
    pbx.world.transaction_known = 0
    send(request())
    assert (pbx.relayed, pbx.replies) == ([], [])


def test_a_cancel_follows_its_invite(pbx: MockKSR, send: Send) -> None:
    pbx.world.transaction_known = 1
    send(request("CANCEL"))
    assert len(pbx.relayed) == 1


def test_a_cancel_of_nothing_is_dropped(pbx: MockKSR, send: Send) -> None:
    send(request("CANCEL"))
    assert (pbx.relayed, pbx.replies) == ([], [])


def test_an_ack_of_nothing_is_dropped(pbx: MockKSR, send: Send) -> None:
    send(request("ACK"))
    send(request("ACK", to_tag="b"))
    assert (pbx.relayed, pbx.replies) == ([], [])


# --- inside a dialog


@pytest.mark.parametrize("method", ["INVITE", "BYE", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "MESSAGE"])
def test_a_challenge_in_a_dialog_is_answered(pbx: MockKSR, routes: TrunkAuth, send: Send, method: str) -> None:
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


def test_a_source_that_may_not_call_gets_no_answer_in_a_dialog(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    in_dialog(pbx)
    send(request("INVITE", to_tag="b"), source="203.0.113.9")
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_who_is_not_the_trunks_carrier_gets_no_answer_in_a_dialog(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    in_dialog(pbx)
    pbx.world.carrier = "203.0.113.66"
    send(request("BYE", to_tag="b"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_trunk_that_leads_elsewhere_by_now_gives_no_answer_in_a_dialog(
    pbx: MockKSR, routes: TrunkAuth, send: Send
) -> None:
    """The one who asks is the carrier that the dialog was set up with; the row's password is for another one."""
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog["trunk"] = dialog_trunk("berlin", "sip:former.carrier.test carrier.test")
    send(request("BYE", to_tag="b"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_the_carrier_is_who_answered_the_first_invite(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    reply(pbx, routes, 100)
    assert pbx.state.dialog == {"trunk": dialog_trunk("berlin")}
    reply(pbx, routes, 180)
    assert pbx.state.dialog == {"trunk": dialog_trunk("berlin"), "carrier": pbx.world.carrier}


def test_a_listed_source_in_an_unknown_dialog_sees_no_challenge(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    pbx.world.loose_route = 1
    send(request("SUBSCRIBE", to_tag="b"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_raised_cseq_is_not_ordered_twice(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
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
    pbx.receive(request(headers="X-Trunk: new\r\n"), source=(PBX, 5060))
    first.ksr_request_route(None)
    challenge(pbx, second)
    assert len(pbx.relayed) == 2
    execute(engine, "DELETE FROM uacreg WHERE l_uuid = 'new'")
    engine.dispose()
    first.trunks.close()
    second.trunks.close()


RACKS = {
    "as the callee knows it": ({"invites": "1:2"}, "RAck: 7 1 INVITE", "7 3 INVITE"),
    "another INVITE": ({"invites": "7:2"}, "RAck: 7 1 INVITE", "7 1 INVITE"),
    "nothing was raised": ({}, "RAck: 7 1 INVITE", "7 1 INVITE"),
    "none": ({"invite_diff": "2"}, "X: y", None),
    "one that cannot be read": ({"invites": "1:2"}, "RAck: 7 one INVITE", "7 one INVITE"),
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


def test_a_reinvite_is_named_by_its_own_cseq(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog["cseq_diff"] = "1"
    send(request(to_tag="b"))
    assert pbx.world.dialog["invites"] == "1:1"
    challenge(pbx, routes)
    assert pbx.world.dialog["invites"] == "1:2"


def test_the_last_invites_of_a_dialog_are_remembered(pbx: MockKSR, send: Send) -> None:
    in_dialog(pbx)
    assert pbx.world.dialog is not None
    pbx.world.dialog |= {"cseq_diff": "9", "invites": "2:1 3:1 4:2 5:2"}
    send(request(to_tag="b"))
    assert pbx.world.dialog["invites"] == "3:1 4:2 5:2 1:9"


@pytest.mark.parametrize(
    ("raised", "sent"),
    [
        ({"cseq_diff": "2", "invites": "1:1"}, "2 ACK"),
        ({"cseq_diff": "1", "invites": "1:1"}, "2 ACK"),
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


# --- TRUNKAUTH


@pytest.mark.parametrize(("code", "field"), [(401, "Authorization"), (407, "Proxy-Authorization")])
def test_a_challenge_is_answered(pbx: MockKSR, routes: TrunkAuth, send: Send, code: int, field: str) -> None:
    send(request())
    challenge(pbx, routes, code=code)
    first, second = pbx.relayed
    assert first.message.get(field) is None
    assert 'username="u4711"' in (second.message.get(field) or "")
    assert (second.ruri, second.next_hop) == (first.ruri, first.next_hop)
    assert pbx.replies == []
    level, line = pbx.log[-1]
    assert (level, line) == ("notice", "trunk=berlin realm='carrier' algorithm='MD5' outcome=answered call-id=call-1\n")


def test_credentials_are_gone_once_they_are_used(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    assert credential_avps(pbx) == []


def test_a_second_challenge_without_stale_gives_up(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (2, [FAILED])
    level, line = pbx.log[-1]
    assert level == "warn"
    assert "outcome=refused reason='credentials refused' call-id=call-1" in line


def test_stale_is_answered_again_but_not_for_ever(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    for number in range(1 + MOST_AGAIN):
        challenge(pbx, routes, STALE.replace("n2", f"n{number}"))
    assert pbx.replies == []
    challenge(pbx, routes, STALE)
    assert (len(pbx.relayed), pbx.replies) == (2 + MOST_AGAIN, [FAILED])


NOT_ANSWERED = {
    "another realm": 'Digest realm="elsewhere", nonce="n"',
    "an unknown algorithm": 'Digest realm="carrier", nonce="n", algorithm=SHA3-512',
    "an unknown qop": 'Digest realm="carrier", nonce="n", qop="token"',
    "no nonce": 'Digest realm="carrier"',
    "Bearer": 'Bearer realm="carrier"',
}


@pytest.mark.parametrize("value", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
def test_what_cannot_be_answered_503(pbx: MockKSR, routes: TrunkAuth, send: Send, value: str) -> None:
    send(request())
    challenge(pbx, routes, value)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])
    assert pbx.called("uac.uac_auth") == []
    assert "outcome=refused" in pbx.log[-1][1]


def test_a_row_without_a_secret_503(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request(caller="<sip:heidi@x.test>"))
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_row_that_cannot_be_used_is_no_trunk(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:ivan@x.test>"))
    assert pbx.replies == [Reply(404, "No Trunk")]


def test_what_uac_auth_turns_down_is_answered_all_the_same(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    pbx.world.uac_answers = False
    send(request())
    challenge(pbx, routes)
    assert 'username="u4711"' in (pbx.relayed[1].message.get("Proxy-Authorization") or "")
    assert credential_avps(pbx) == []


DIGESTS = {
    "SHA-256": ("alice", 'Digest realm="carrier", nonce="n", algorithm=SHA-256, qop="auth"'),
    "auth-int": ("alice", 'Digest realm="carrier", nonce="n", qop="auth-int"'),
    "two in one field": ("alice", f"{CHALLENGE}, {CHALLENGE.replace('MD5', 'SHA-256')}"),
    "HA1": ("dave", CHALLENGE),
}


@pytest.mark.parametrize(("caller", "value"), DIGESTS.values(), ids=DIGESTS)
def test_what_uac_auth_gets_wrong_is_answered_in_python(
    pbx: MockKSR, routes: TrunkAuth, send: Send, caller: str, value: str
) -> None:
    send(request(caller=f"<sip:{caller}@pbx.test>"))
    challenge(pbx, routes, value)
    assert pbx.called("uac.uac_auth") == []
    first, second = pbx.relayed
    assert f'uri="{first.ruri}"' in (second.message.get("Proxy-Authorization") or "")
    assert (second.ruri, second.next_hop) == (first.ruri, first.next_hop)
    assert [relayed.message.get("CSeq") for relayed in pbx.relayed] == ["1 INVITE", "2 INVITE"]
    assert pbx.replies == []


def test_cseq_rises_with_every_resend_whichever_way_it_was_answered(
    pbx: MockKSR, routes: TrunkAuth, send: Send
) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes, STALE.replace("MD5", "SHA-256"))
    challenge(pbx, routes, STALE.replace("n2", "n3"))
    assert [relayed.message.get("CSeq") for relayed in pbx.relayed] == [f"{n} INVITE" for n in (1, 2, 3, 4)]


def test_without_a_dialog_cseq_stays(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request("MESSAGE", caller="<sip:dave@x.test>"))
    challenge(pbx, routes)
    assert [relayed.message.get("CSeq") for relayed in pbx.relayed] == ["1 MESSAGE", "1 MESSAGE"]
    assert "P-K-CSeq-Auth" not in pbx.relayed[1].message.names


def test_a_proxy_and_the_far_end_both_get_their_answer(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes, CHALLENGE.replace("n1", "m1"), code=401)
    last = pbx.relayed[2].message
    assert "nc=00000002" in (last.get("Proxy-Authorization") or "")
    assert "nc=00000001" in (last.get("Authorization") or "")


@pytest.mark.parametrize("size", [0, 5, 32767, 32768])
def test_a_body_that_cannot_be_had_is_no_wrong_digest(pbx: MockKSR, routes: TrunkAuth, send: Send, size: int) -> None:
    send(request() + "\xff" * size)
    challenge(pbx, routes, CHALLENGE.replace('"auth"', '"auth-int"'))
    had = 2 * size <= 32767  # each of these characters is two bytes of UTF-8
    assert (len(pbx.relayed), pbx.replies) == ((2, []) if had else (1, [FAILED]))


def test_a_trunk_that_is_gone_503(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    in_dialog(pbx, trunk="deleted")
    send(request("BYE", to_tag="b"))
    challenge(pbx, routes)
    assert pbx.replies == [FAILED]


def test_a_trunk_that_leads_elsewhere_by_now_503(
    pbx: MockKSR, routes: TrunkAuth, send: Send, database: Settings
) -> None:
    send(request())
    changed(database.state_dir, "UPDATE uacreg SET auth_proxy = 'sip:elsewhere.test' WHERE l_uuid = 'berlin'")
    challenge(pbx, routes)
    changed(database.state_dir, "UPDATE uacreg SET auth_proxy = 'sip:sbc.carrier.test' WHERE l_uuid = 'berlin'")
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_challenge_that_is_not_utf8_503(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    with pbx.failure_route(407, "No", [b'Proxy-Authenticate: Digest realm="\xff", nonce="n"']) as route:
        getattr(routes, route)(None)
    assert pbx.replies == [FAILED]


def test_a_next_hop_that_has_gone_away_meanwhile_503(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    pbx.world.unreachable.add("sip:sbc.carrier.test")
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_cancelled_call_is_left_alone(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    pbx.world.cancelled = True
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [Reply(487, "Request Terminated")])


@pytest.mark.parametrize("code", [404, 486, 503, 603])
def test_anything_else_is_passed_on(pbx: MockKSR, routes: TrunkAuth, send: Send, code: int) -> None:
    send(request())
    fail(pbx, routes, code)
    assert pbx.replies == [Reply(code, "No", passed_on=True)]


def test_a_silent_carrier_408(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    with pbx.timeout() as route:
        getattr(routes, route)(None)
    assert [reply.code for reply in pbx.replies] == [408]


def test_before_the_first_copy_503_retry_after(pbx: MockKSR, tmp_path: Path) -> None:
    settings = Settings.from_environment({
        "TRUNKAUTH_STATE_DIR": str(tmp_path), "TRUNKAUTH_DB_URL": "postgresql+psycopg://u@h/d",
    })  # fmt: skip
    replica.prepare(settings.local_file, settings.db_url)
    routes = TrunkAuth(settings)
    routes.child_init(1)
    pbx.receive(request(), source=(PBX, 5060))
    routes.ksr_request_route(None)
    routes.trunks.close()
    assert pbx.replies == [Reply(503, "Service Unavailable", headers=("Retry-After: 10\r\n",))]


# --- the process that keeps the copy


@pytest.fixture
def commands(pbx: MockKSR) -> list[tuple[str, list[str]]]:
    """The RPC commands that are run, in order; each is answered with 200 unless a test says otherwise."""
    run: list[tuple[str, list[str]]] = []

    def exec_(command: str) -> int:
        asked = json.loads(command)
        run.append((asked["method"], asked["params"]))
        return 1

    pbx.answer("jsonrpcs.exec", exec_)
    pbx.world.rpc_code = 200
    pbx.receive(request())  # rtimer gives its routes a message of its own
    return run


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrunkAuth]:
    """The routes in the rtimer's process, over a database of their own; the tests' own process keeps its priority."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    settings = Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(tmp_path)})
    engine = open_file(settings.local_file)
    schema.create(engine)
    routes = TrunkAuth(settings)
    yield routes
    engine.dispose()


ROW = (
    "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, auth_username, auth_proxy, expires) "
    "VALUES ('t', 'a', 'b', 'c', 'd', 'u', 'sip:c', 60)"
)


RELOAD: tuple[str, list[str]] = ("permissions.addressReload", [])  # at the first look, and where addresses changed


def changed(path: Path, statement: str) -> None:
    engine = open_file(path / "trunkauth.sqlite")
    execute(engine, statement)
    engine.dispose()


def test_a_change_is_passed_on_to_kamailios_modules(
    keeper: TrunkAuth, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    assert keeper.REPLICA(None, None) == 1
    assert commands == [RELOAD]
    changed(tmp_path, ROW)
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands[1:] == [("uac.reg_refresh", ["t"])]
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands[2:] == [RELOAD]


def test_a_registration_that_is_gone_is_removed(
    pbx: MockKSR, keeper: TrunkAuth, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    changed(tmp_path, ROW)
    keeper.REPLICA(None, None)
    changed(tmp_path, "DELETE FROM uacreg")
    pbx.world.rpc_code = 404
    keeper.REPLICA(None, None)
    assert commands == [RELOAD, ("uac.reg_refresh", ["t"]), ("uac.reg_remove", ["t"])]


def test_what_a_module_refuses_is_tried_again_or_named(
    pbx: MockKSR, keeper: TrunkAuth, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    keeper.REPLICA(None, None)
    changed(tmp_path, ROW)
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    pbx.world.rpc_code = 500
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands.count(RELOAD) == 3
    assert ("warn", "trunk='t' outcome=unregistered reason='uac.reg_refresh failed'\n") in pbx.log


def test_a_row_that_cannot_be_used_is_named_once(
    pbx: MockKSR, keeper: TrunkAuth, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    changed(tmp_path, "INSERT INTO uacreg (l_uuid, auth_username, auth_password) VALUES ('t', 'u', 'a' || char(10))")
    keeper.REPLICA(None, None)
    changed(tmp_path, "INSERT INTO uacreg (l_uuid, auth_username) VALUES ('good', 'u')")
    keeper.REPLICA(None, None)
    assert pbx.log == [("warn", "trunk='t' outcome=unusable reason='auth_password has a control character'\n")]
    assert commands == [RELOAD]


def test_a_fault_in_the_keeper_is_logged_and_it_goes_on(
    pbx: MockKSR, keeper: TrunkAuth, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    keeper.REPLICA(None, None)
    changed(tmp_path, ROW)
    pbx.answer("jsonrpcs.exec", raising(ValueError(PASSWORD)))
    assert keeper.REPLICA(None, None) == 1
    level, line = pbx.log[-1]
    assert (level, line.startswith("fault=ValueError@"), PASSWORD in line) == ("err", True, False)


# --- faults


def test_a_fault_in_the_request_route_500(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    pbx.answer("maxfwd.process_maxfwd", raising(ValueError(PASSWORD)))
    send(request())
    assert pbx.replies == [Reply(500, "Internal Server Error")]
    level, line = pbx.log[-1]
    assert level == "err"
    assert line.startswith("fault=ValueError@")
    assert line.endswith(" call-id=call-1\n")
    assert PASSWORD not in line


def test_a_fault_in_the_failure_route_500(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    pbx.answer("uac.uac_auth", raising(ValueError(PASSWORD)))
    challenge(pbx, routes)
    assert pbx.replies == [Reply(500, "Internal Server Error")]
    assert credential_avps(pbx) == []


def test_system_exit_is_the_way_out_and_passes(pbx: MockKSR, routes: TrunkAuth) -> None:
    pbx.answer("maxfwd.process_maxfwd", raising(SystemExit()))
    pbx.receive(request(), source=(PBX, 5060))
    with pytest.raises(SystemExit):
        routes.ksr_request_route(None)
    assert pbx.replies == []


def test_a_process_that_is_no_sip_worker_has_no_trunks(pbx: MockKSR, database: Settings) -> None:
    routes = TrunkAuth(database)
    assert [routes.child_init(rank) for rank in (0, -1, -2)] == [0, 0, 0]
    pbx.receive(request(), source=(PBX, 5060))
    routes.ksr_request_route(None)
    assert pbx.replies == [Reply(500, "Internal Server Error")]


def test_replies_and_sent_messages_pass(routes: TrunkAuth) -> None:
    assert (routes.ksr_reply_route(None), routes.ksr_onsend_route(None)) == (1, 1)


def test_no_log_line_holds_a_password(pbx: MockKSR, routes: TrunkAuth, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert pbx.log
    assert not any(PASSWORD in line for _, line in pbx.log)


def raising(error: BaseException) -> Callable[..., None]:
    def answer(*_: object) -> None:
        raise error

    return answer
