"""Requests inside dialogs over the mocked KSR: whose mark serves, which way they go, and who is answered for."""

from __future__ import annotations

import time

import pytest

from kemi.dialog import mark
from kemi.dialog.mark import LONGEST_LIFE
from kemi.handlers import Handlers
from kemi.settings import Settings
from kemi.trunks.tables import open_file
from tests.flow.scene import (
    BERLIN,
    CALLEE,
    CALLER,
    FAILED,
    HOSTS,
    PBX,
    Marks,
    Send,
    challenge,
    cseqs,
    execute,
    in_dialog,
    reply,
    request,
    routes_with,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

STRANGER = "203.0.113.9"
NO_DIALOG = Reply(481, "Call/Transaction Does Not Exist")


# --- the mark that a request comes with


def sent_mark(ksr: MockKSR, marks: Marks, number: int = -1) -> mark.Mark | None:
    """The mark in the Record-Route of a message that left."""
    route = ksr.relayed[number].message.get("Record-Route") or ""
    return mark.unseal(marks.key, route.partition(";ta=")[2].rstrip(">"), mark.dialog_id("call-1", "a"))


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER"])
def test_the_mark_says_how_the_dialog_was_set_up(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: marks.now)
    send(request(method))
    challenge(pbx, routes)
    assert [sent_mark(pbx, marks, number) for number in (0, 1)] == [marks.mark, marks.mark._replace(raised=1)]


def is_refused(ksr: MockKSR, send: Send, marks: Marks, value: str, uri: str = CALLEE, source: str = PBX) -> None:
    """Every request with this mark gets 481, and ACK silence; nothing is looked for."""
    for method in ("INVITE", "BYE", "NOTIFY", "INFO"):
        send(marks.request(method, value, uri=uri), source=source)
        assert (ksr.relayed, ksr.replies) == ([], [NO_DIALOG])
    send(marks.request("ACK", value, uri=uri), source=source)
    assert (ksr.relayed, ksr.replies) == ([], [])
    assert ksr.tables.content("wanted_names") == {}


def wrong_marks(marks: Marks) -> dict[str, str]:
    other = Marks(bytes(32), marks.mark.run)
    ours = marks.sealed()
    return {
        "none": "",
        "no base64": "=",
        "cut": ours[:-1],
        "with a tail": f"{ours}.x",
        "forged": ("B" if ours[0] == "A" else "A") + ours[1:],
        "another deployment's": other.sealed(),
        "another Call-ID's": marks.sealed(call_id="call-2"),
        "another tag's": marks.sealed(tag="c"),
        "a day old": marks.sealed(since=marks.now - LONGEST_LIFE),
    }


@pytest.mark.parametrize("name", wrong_marks(Marks(bytes(32), 0)))
@pytest.mark.parametrize("source", [PBX, "203.0.113.9"])
def test_without_a_mark_that_serves_481_whoever_sends(
    pbx: MockKSR, send: Send, marks: Marks, name: str, source: str
) -> None:
    pbx.world.loose_route = 1
    value = wrong_marks(marks)[name]
    is_refused(pbx, send, marks, value, source=source)


def test_a_mark_is_read_from_the_route_that_is_ours(pbx: MockKSR, send: Send, marks: Marks) -> None:
    send(marks.request("INVITE"))  # loose_route() finds that its top Route is another proxy's
    assert pbx.replies == [NO_DIALOG]


@pytest.mark.parametrize(("age", "known"), [(LONGEST_LIFE - 60, False), (LONGEST_LIFE, True), (9 * LONGEST_LIFE, True)])
def test_an_old_mark_serves_in_a_dialog_that_is_tracked(
    pbx: MockKSR, send: Send, marks: Marks, age: int, known: bool
) -> None:
    in_dialog(pbx)
    pbx.world.dialog = {} if known else None
    send(marks.request("BYE", marks.sealed(since=marks.now - age)))
    assert (cseqs(pbx), pbx.replies) == (["1 BYE"], [])


def test_the_mark_is_one_parameter_among_others(pbx: MockKSR, send: Send, marks: Marks) -> None:
    pbx.world.loose_route = 1
    route = f"Route: <sip:192.0.2.1;r2=on;lr;xta=1;ta={marks.sealed()};did=1.2>, <sip:192.0.2.60;lr>\r\n"
    send(request("BYE", to_tag="b", headers=route))
    assert len(pbx.relayed) == 1


# --- which way it goes


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "PRACK", "ACK"])
def test_what_comes_from_the_trunk_is_passed_on_as_it_is(pbx: MockKSR, send: Send, marks: Marks, method: str) -> None:
    in_dialog(pbx)
    value = marks.sealed(tag="b", raised=5, run=0)
    send(marks.request(method, value, "RAck: 1 1 INVITE\r\n", uri=CALLER), source="203.0.113.9")
    assert (cseqs(pbx), pbx.relayed[0].message.get("RAck")) == ([f"1 {method}"], "1 1 INVITE")
    assert pbx.called("tm.t_on_failure") == pbx.called("tm.t_on_branch") == []
    assert pbx.tables.content("sequences") == {}


@pytest.mark.parametrize("tag", ["a", "b"])
def test_a_next_hop_that_cannot_be_sent_to_in_a_dialog_503(pbx: MockKSR, send: Send, marks: Marks, tag: str) -> None:
    pbx.world.loose_route = 1
    pbx.world.unreachable.add(f"sip:{HOSTS['far.test']}:5060;transport=udp")
    value = marks.sealed(tag=tag, pbx=mark.fingerprint(marks.key, "far.test 5060 udp"))
    send(marks.request("BYE", value, uri="sip:callee@far.test"))
    assert pbx.replies == [Reply(503, "Next Hop Unreachable")]


PBX_2 = "sip:alice@192.0.2.11"
OTHERS = {"another port": f"sip:alice@{STRANGER}:5061", "a host": f"sip:{STRANGER}", "a name": "sip:alice@far.test"}


@pytest.mark.parametrize("uri", OTHERS.values(), ids=OTHERS)
def test_from_the_trunk_a_request_goes_to_nobody_but_the_caller(
    pbx: MockKSR, send: Send, marks: Marks, uri: str
) -> None:
    in_dialog(pbx)
    is_refused(pbx, send, marks, marks.sealed(tag="b"), uri, STRANGER)
    pbx.world.route_leads_to = uri
    is_refused(pbx, send, marks, marks.sealed(tag="b"), CALLER, STRANGER)


@pytest.mark.parametrize(("place", "uri"), [
    (f"{'a' * 300} 5060 udp", f"sip:alice@{'a' * 300}"), (" 0 ", f'sip:alice@{STRANGER};transport="udp"'),
])  # fmt: skip
def test_a_place_that_cannot_be_read_is_no_pbxs(pbx: MockKSR, send: Send, marks: Marks, place: str, uri: str) -> None:
    """Not even that of a PBX whose own Contact could not be read; and a name that is too long is compared with none."""
    in_dialog(pbx)
    value = marks.sealed(tag="b", pbx=mark.fingerprint(marks.key, place))
    is_refused(pbx, send, marks, value, uri, STRANGER)


@pytest.mark.parametrize("uri", [CALLER, f"{CALLER}:5060;transport=udp;x=y", f"{CALLER}:5080", PBX_2])
def test_from_the_trunk_a_request_goes_to_the_caller_or_another_that_is_listed(
    pbx: MockKSR, send: Send, marks: Marks, uri: str
) -> None:
    in_dialog(pbx)
    pbx.trust("192.0.2.11/32")
    send(marks.request("BYE", marks.sealed(tag="b"), uri=uri), source=STRANGER)
    assert [relayed.ruri for relayed in pbx.relayed] == [uri]


def test_a_caller_behind_a_proxy_that_stays_in_the_path_is_reached_through_it(
    pbx: MockKSR, send: Send, marks: Marks
) -> None:
    send(request(headers="Record-Route: <sip:192.0.2.30:5070;lr>, <sip:192.0.2.31;lr>\r\n"))
    sealed = sent_mark(pbx, marks)
    assert sealed
    assert sealed.pbx == mark.fingerprint(marks.key, "192.0.2.30 5070 udp")


def test_a_contact_that_is_not_utf_8_is_no_way_back(pbx: MockKSR, send: Send, marks: Marks) -> None:
    send(request().encode().replace(b"<sip:alice@192.0.2.10>\r", b"<sip:\xff@192.0.2.10>\r"))
    assert len(pbx.relayed) == 1


@pytest.mark.parametrize("source", [STRANGER, "203.0.113.5"])
def test_to_the_trunk_a_request_goes_from_listed_sources_alone(
    pbx: MockKSR, send: Send, marks: Marks, source: str
) -> None:
    in_dialog(pbx)
    is_refused(pbx, send, marks, marks.sealed(), source=source)


def test_a_register_is_never_relayed(pbx: MockKSR, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    for source, code in ((PBX, 405), (STRANGER, 403)):
        for value in (marks.sealed(), marks.sealed(tag="b")):
            send(marks.request("REGISTER", value), source=source)
            assert (pbx.relayed, [each.code for each in pbx.replies]) == ([], [code])


def test_private_headers_go_no_further_in_a_dialog(pbx: MockKSR, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("INFO", headers="Authorization: Digest x\r\nX-Trunk: y\r\n"))
    assert not {"Authorization", "X-Trunk", "Route"} & set(pbx.relayed[0].message.names)


def test_an_ack_that_only_fits_a_transaction_goes_nowhere(pbx: MockKSR, send: Send) -> None:
    pbx.world.transaction_known = 1
    send(request("ACK", to_tag="b"))
    assert (pbx.relayed, pbx.replies) == ([], [])


# --- who is answered for


@pytest.mark.parametrize("method", ["INVITE", "BYE", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "MESSAGE"])
def test_a_challenge_in_a_dialog_is_answered(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, method: str
) -> None:
    in_dialog(pbx)
    send(marks.request(method))
    challenge(pbx, routes)
    assert [relayed.message.get("Proxy-Authorization") is not None for relayed in pbx.relayed] == [False, True]
    assert pbx.relayed[1].ruri == CALLEE


def no_answer(ksr: MockKSR, routes: Handlers) -> bool:
    challenge(ksr, routes)
    return (len(ksr.relayed), ksr.replies) == (1, [FAILED])


def test_who_is_not_the_dialogs_peer_gets_no_answer(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("BYE"))
    pbx.world.carrier = "203.0.113.66"
    assert no_answer(pbx, routes)


def test_who_asks_from_another_port_than_the_peers_gets_no_answer(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    in_dialog(pbx)
    send(marks.request("BYE"))
    pbx.world.carrier_port = 5061
    assert no_answer(pbx, routes)


ELSEWHERE = {
    "another port": f"{CALLEE[:-5]}:5061",
    "another transport": f"{CALLEE};transport=tcp",
    "a host": "sip:x@[::1]",
}


@pytest.mark.parametrize("uri", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_request_that_goes_past_the_peer_gets_no_answer(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, uri: str
) -> None:
    in_dialog(pbx)
    send(marks.request("BYE", uri=uri))
    assert no_answer(pbx, routes)


@pytest.mark.parametrize(
    ("row", "destination", "uri", "carrier", "is_answered"),
    [
        (10, "sip:203.0.113.5", "sip:x@203.0.113.5", "203.0.113.5", True),
        (10, "sip:203.0.113.5", "sip:x@203.0.113.5", "203.0.113.66", False),
        (1, BERLIN, "sip:x@192.0.2.50", "192.0.2.50", True),  # the address of its name (scene.HOSTS)
        (1, BERLIN, "sip:x@192.0.2.50", "203.0.113.5", False),
    ],
)
def test_after_a_restart_the_peer_is_whom_the_rows_next_hop_resolves_to(
    pbx: MockKSR,
    routes: Handlers,
    send: Send,
    marks: Marks,
    row: int,
    destination: str,
    uri: str,
    carrier: str,
    is_answered: bool,
) -> None:
    pbx.world.loose_route = 1
    pbx.world.carrier = carrier
    sealed = marks.sealed(row=row, destination=mark.fingerprint(marks.key, destination), run=0)
    send(marks.request("BYE", sealed, uri=uri))
    assert no_answer(pbx, routes) is not is_answered


def test_a_row_that_is_gone_gives_no_answer(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("BYE", marks.sealed(row=99)))
    assert no_answer(pbx, routes)


def test_a_row_that_leads_elsewhere_by_now_gives_no_answer(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    """The one who asks is the carrier that the dialog was set up with; the row's password is for another one."""
    in_dialog(pbx)
    former = mark.fingerprint(marks.key, "sip:former.carrier.test carrier.test")
    send(marks.request("BYE", marks.sealed(destination=former)))
    assert no_answer(pbx, routes)


def test_the_peer_is_who_answered_the_first_invite(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    reply(pbx, routes, 100)
    assert pbx.state.dialog == {}
    reply(pbx, routes, 180)
    assert pbx.state.dialog == {"peer": "203.0.113.5 5060 udp"}


INSERT = (
    "INSERT INTO uacreg (id, l_uuid, r_domain, realm, auth_username, auth_password)"
    " VALUES (50, 'new', 'carrier.test', 'carrier', 'u', 'p')"
)


@pytest.mark.parametrize("inside", [False, True])
def test_a_row_that_another_worker_has_seen_first_is_looked_for(
    pbx: MockKSR, database: Settings, marks: Marks, inside: bool
) -> None:
    """By the failure route of a call, or by a request inside its dialog."""
    first, second = routes_with(database), routes_with(database)
    assert (second.trunks.by_uuid("new"), second.trunks.by_row(50)) == (None, None)
    engine = open_file(database.local_file)
    execute(engine, INSERT)
    first.trunks.look_again()
    pbx.handlers = first
    if inside:
        in_dialog(pbx)
        pbx.handlers = second
        value = marks.sealed(row=50, destination=mark.fingerprint(marks.key, "carrier.test"))
        pbx.receive(marks.request("BYE", value), source=(PBX, 5060))
        second.ksr_request_route(None)
    else:
        pbx.receive(request(headers="X-Trunk: new\r\n"), source=(PBX, 5060))
        first.ksr_request_route(None)
        pbx.handlers = second
    challenge(pbx, second)
    execute(engine, "DELETE FROM uacreg WHERE l_uuid = 'new'")
    engine.dispose()
    first.trunks.close()
    second.trunks.close()
    assert len(pbx.relayed) == 2


@pytest.mark.parametrize(("tag", "relayed", "replies"), [("b", 1, []), ("a", 0, [NO_DIALOG])])
def test_a_cancel_in_a_dialog_is_the_far_ends_or_a_listed_sources(
    pbx: MockKSR, send: Send, marks: Marks, tag: str, relayed: int, replies: list[Reply]
) -> None:
    pbx.world.transaction_known = 1
    send(marks.request("CANCEL", marks.sealed(tag=tag)), source=STRANGER)
    assert (len(pbx.relayed), pbx.replies) == (relayed, replies)


@pytest.mark.parametrize(
    ("method", "port", "passes"),
    [("BYE", 5060, True), ("ACK", 5060, True), ("INFO", 5060, False), ("BYE", 5061, False)],
)
def test_a_caller_who_is_not_listed_any_more_can_end_his_call(
    pbx: MockKSR, routes: Handlers, marks: Marks, method: str, port: int, passes: bool
) -> None:
    in_dialog(pbx)
    pbx.handlers = routes
    back = mark.fingerprint(marks.key, f"{STRANGER} 5060 udp")
    pbx.receive(marks.request(method, marks.sealed(pbx=back)), source=(STRANGER, port))
    routes.ksr_request_route(None)
    assert len(pbx.relayed) == passes
    assert pbx.replies == ([] if passes else [NO_DIALOG])


def test_a_carrier_within_a_callers_network_does_not_speak_for_the_pbx(pbx: MockKSR, send: Send, marks: Marks) -> None:
    """It knows the mark of each call that it has, and the caller's tag."""
    carrier = "192.0.2.99"
    pbx.trust("192.0.2.0/24")
    pbx.trust(f"{carrier}/32", 2)
    in_dialog(pbx)
    send(marks.request("INVITE", uri="sip:x@198.51.100.66"), source=carrier)
    assert (pbx.relayed, pbx.replies) == ([], [NO_DIALOG])


def test_a_pbx_within_a_network_of_carriers_goes_on_with_its_call(pbx: MockKSR, send: Send, marks: Marks) -> None:
    pbx.trust(f"{PBX}/32", 2)
    in_dialog(pbx)
    send(marks.request("INFO"))
    assert len(pbx.relayed) == 1
