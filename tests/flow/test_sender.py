"""From towards a carrier, by the row of its trunk; the PBX sees its own again, in replies and inside the dialog."""

from __future__ import annotations

import pytest

from kemi.handlers import Handlers
from kemi.settings import Settings
from tests.flow.scene import PBX, challenge, copied, fail, request, routes_with
from tests.ksr.message import Edits
from tests.ksr.mock import MockKSR

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password)
VALUES
 ('one', 'alice', 'one.test', 'carrier', 'sip:203.0.113.5', 'u1', 'p1'),
 ('two', 'alice', 'two.test', 'carrier', 'sip:203.0.113.6', 'u2', 'p2'),
 ('plain', 'bob', 'plain.test', 'carrier', 'sip:203.0.113.7', 'u3', 'p3')
"""
POLICIES = """
INSERT INTO trunk (l_uuid, priority, from_user, from_domain)
VALUES ('one', 1, 'u4711', 'one.test'), ('two', 2, '$', 'two.test')
"""
OWN = '"Alice" <sip:alice@pbx.test>;tag=a'
SEEN = '"Alice" <sip:u4711@one.test>;tag=a'
NAMED = '"Alice" <sip:alice@pbx.test>'
CARRIER = "203.0.113.5"


def send(pbx: MockKSR, routes: Handlers, message: str, source: str = PBX) -> None:
    pbx.receive(message, source=(source, 5060))
    assert routes.ksr_request_route(None) == 1


def froms(pbx: MockKSR) -> list[str | None]:
    return [sent.message.get("From") for sent in pbx.relayed]


def replied(pbx: MockKSR, name: str) -> str:
    """A field of the last reply as it went on, after the reply route's edits."""
    assert pbx.state.reply is not None
    return pbx.state.reply_edits.apply(pbx.state.reply, pbx.state.reply.start_line).get(name) or ""


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_each_attempt_says_what_its_trunk_wants(pbx: MockKSR, routes: Handlers, method: str) -> None:
    send(pbx, routes, request(method, caller=NAMED))
    challenge(pbx, routes)
    fail(pbx, routes, 503)
    assert froms(pbx) == [SEEN, SEEN, '"Alice" <sip:alice@two.test>;tag=a']
    with pbx.reply_route(180) as route:
        getattr(routes, route)(None)
        assert replied(pbx, "From") == OWN


def test_the_pbx_sees_its_own_if_nothing_else_is_to_be_learned_of_a_reply(
    pbx: MockKSR, settings: Settings, routes: Handlers
) -> None:
    plain = routes_with(settings, {"TRUNKAUTH_PREEMPTIVE": "off"})
    pbx.handlers = plain
    send(pbx, plain, request("MESSAGE", caller=NAMED))
    with pbx.reply_route(200) as route:
        getattr(plain, route)(None)
        assert replied(pbx, "From") == OWN
    plain.trunks.close()


def test_a_row_that_says_nothing_leaves_it(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller="<sip:bob@pbx.test>"))
    assert froms(pbx) == ["<sip:bob@pbx.test>;tag=a"]
    assert ";tf=" not in (pbx.relayed[0].message.get("Record-Route") or "")


def test_an_anonymous_caller_stays_anonymous(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller='"Anonymous" <sip:anonymous@anonymous.invalid>', headers="X-Trunk: one\r\n"))
    assert froms(pbx) == ['"Anonymous" <sip:anonymous@anonymous.invalid>;tag=a']


def route(pbx: MockKSR) -> str:
    """The Route that the dialog's requests come with."""
    return (pbx.relayed[-1].message.get("Record-Route") or "").replace("<sip:", "Route: <sip:") + "\r\n"


def test_inside_the_dialog_either_end_sees_what_it_knows(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller=NAMED))
    back = route(pbx)
    assert ";tf=" in back
    assert "alice" not in back
    pbx.world.loose_route = 1
    for method in ("BYE", "INFO", "INVITE", "ACK"):
        send(pbx, routes, request(method, uri=f"sip:x@{CARRIER}", caller=NAMED, to_tag="b", headers=back))
        assert froms(pbx) == [SEEN]
    send(pbx, routes, request("INFO", uri=f"sip:x@{CARRIER}", caller=NAMED, to_tag="b", headers=back))
    with pbx.reply_route(200) as name:
        getattr(routes, name)(None)
        assert replied(pbx, "From") == OWN
    sent = request("INFO", uri=f"sip:alice@{PBX}", caller="<sip:4930123@one.test>", to_tag="a", headers=back)
    sent = sent.replace("one.test>;tag=a", "one.test>;tag=b").replace("4930123@192.0.2.1>", "u4711@one.test>")
    send(pbx, routes, sent, CARRIER)
    assert [relayed.message.get("To") for relayed in pbx.relayed] == [OWN]
    with pbx.reply_route(200) as name:
        getattr(routes, name)(None)
        assert replied(pbx, "To") == "<sip:u4711@one.test>;tag=a"


def test_a_parameter_that_is_not_ours_changes_nothing(pbx: MockKSR, routes: Handlers, settings: Settings) -> None:
    send(pbx, routes, request(caller=NAMED))
    back = route(pbx)
    pbx.world.loose_route = 1
    value = back.partition(";tf=")[2].rstrip(">\r\n")
    forged = back.replace(value, value[::-1])
    sent = request("INFO", uri=f"sip:alice@{PBX}", caller="<sip:x@one.test>", to_tag="a", headers=forged)
    send(pbx, routes, sent.replace("one.test>;tag=a", "one.test>;tag=b"), CARRIER)
    assert [relayed.message.get("To") for relayed in pbx.relayed] == ["<sip:4930123@192.0.2.1>;tag=a"]


def test_diversion_and_history_info_pass(pbx: MockKSR, routes: Handlers) -> None:
    fields = "Diversion: <sip:100@pbx.test>;reason=unconditional\r\nHistory-Info: <sip:100@pbx.test>;index=1\r\n"
    send(pbx, routes, request(caller=NAMED, headers=fields))
    message = pbx.relayed[0].message
    assert message.get("Diversion") == "<sip:100@pbx.test>;reason=unconditional"
    assert message.get("History-Info") == "<sip:100@pbx.test>;index=1"


@pytest.mark.parametrize("octet", ["\0", "\x7f"])
def test_a_name_that_no_function_of_kamailio_takes_comes_back_without_it(
    pbx: MockKSR, routes: Handlers, octet: str
) -> None:
    send(pbx, routes, request(caller=NAMED.replace("Al", f"Al{octet}")))
    with pbx.reply_route(180) as route:
        getattr(routes, route)(None)
        assert replied(pbx, "From") == OWN.replace("Al", "Al ")


# --- identity

SAYS = "P-Asserted-Identity: <sip:+4930@pbx.test>\r\nRemote-Party-ID: <sip:x@pbx.test>\r\n"
FIELDS = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Privacy")


def identities(pbx: MockKSR) -> list[dict[str, str | None]]:
    return [{name: sent.message.get(name) for name in FIELDS if name in sent.message.names} for sent in pbx.relayed]


@pytest.fixture
def asserting(changing: Settings, routes: Handlers) -> None:
    copied(
        changing,
        "UPDATE trunk SET identity = 'pai' WHERE l_uuid = 'one'",
        "UPDATE trunk SET identity = 'rpid' WHERE l_uuid = 'two'",
        "INSERT INTO trunk (l_uuid, identity) VALUES ('plain', 'none')",
    )
    routes.trunks.look_again()


@pytest.mark.usefixtures("asserting")
def test_each_carrier_gets_the_identity_that_it_wants(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller=NAMED, headers=SAYS))
    challenge(pbx, routes)
    fail(pbx, routes, 503)
    first = {"P-Asserted-Identity": "<sip:+4930@one.test>"}
    second = {"Remote-Party-ID": "<sip:+4930@two.test>;party=calling;screen=yes;privacy=off"}
    assert identities(pbx) == [first, first, second]
    send(pbx, routes, request(caller="<sip:bob@pbx.test>", headers=SAYS))
    assert identities(pbx) == [{}]


def test_without_an_order_what_the_pbx_says_passes(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller="<sip:bob@pbx.test>", headers=SAYS))
    assert list(identities(pbx)[0]) == ["P-Asserted-Identity", "Remote-Party-ID"]


@pytest.mark.usefixtures("asserting")
def test_the_identity_of_a_private_call_is_in_pai_alone(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller=NAMED, headers=f"{SAYS}Privacy: id\r\n"))
    nobody = '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=a'
    assert froms(pbx) == [nobody]
    assert identities(pbx) == [{"P-Asserted-Identity": "<sip:+4930@one.test>", "Privacy": "id"}]
    back = route(pbx)
    fail(pbx, routes, 503)
    assert (froms(pbx)[1], identities(pbx)[1]) == (nobody, {"Privacy": "id"})  # rpid would show it
    pbx.world.loose_route = 1
    for method in ("BYE", "ACK"):  # which say nothing of privacy themselves
        send(pbx, routes, request(method, uri=f"sip:x@{CARRIER}", caller=NAMED, to_tag="b", headers=back))
        assert froms(pbx) == [nobody]
    sent = request("INFO", uri=f"sip:alice@{PBX}", caller="<sip:x@one.test>", to_tag="a", headers=back)
    send(pbx, routes, sent.replace("one.test>;tag=a", "one.test>;tag=b"), CARRIER)
    assert [relayed.message.get("To") for relayed in pbx.relayed] == [OWN]


@pytest.mark.usefixtures("asserting")
def test_an_anonymous_caller_is_asserted_with_privacy(pbx: MockKSR, routes: Handlers) -> None:
    anonymous = '"Anonymous" <sip:anonymous@anonymous.invalid>'
    send(pbx, routes, request(caller=anonymous, headers=f"X-Trunk: one\r\n{SAYS}"))
    assert froms(pbx) == [f"{anonymous};tag=a"]
    assert identities(pbx) == [{"P-Asserted-Identity": "<sip:+4930@one.test>", "Privacy": "id"}]


@pytest.mark.usefixtures("asserting")
def test_a_caller_who_wants_privacy_by_user_is_asserted_with_id(pbx: MockKSR, routes: Handlers) -> None:
    """Privacy has one field (RFC 3323 4.2), and P-Asserted-Identity is kept back for `id` alone (RFC 3325 9.3)."""
    send(pbx, routes, request(caller=NAMED, headers=f"X-Trunk: one\r\n{SAYS}Privacy: user;critical\r\n"))
    (sent,) = pbx.relayed
    assert sent.message.values("Privacy") == [b"user;critical;id"]


NOBODY = '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=a'


@pytest.mark.usefixtures("asserting")
@pytest.mark.parametrize(
    "change", ["DELETE FROM trunk WHERE l_uuid = 'one'", "DELETE FROM uacreg WHERE l_uuid = 'one'"]
)
def test_a_private_caller_stays_private_when_his_trunks_row_changes(
    pbx: MockKSR, routes: Handlers, settings: Settings, change: str
) -> None:
    send(pbx, routes, request(caller=NAMED, headers=f"{SAYS}Privacy: id\r\n"))
    back = route(pbx)
    copied(settings, change)
    routes.trunks.look_again()
    pbx.world.loose_route = 1
    for method in ("ACK", "BYE", "INVITE"):
        send(pbx, routes, request(method, uri=f"sip:x@{CARRIER}", caller=NAMED, to_tag="b", headers=back))
        assert froms(pbx) == [NOBODY]


def test_the_second_of_two_answers_has_the_callers_own_from(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller=NAMED))
    fail(pbx, routes, 503)
    with pbx.reply_route(200) as name:
        getattr(routes, name)(None)
        pbx.state.avps["branch"] = ["7"]
        pbx.state.run.edits = pbx.state.reply_edits = Edits()
        getattr(routes, name)(None)
        assert replied(pbx, "From") == OWN


@pytest.mark.usefixtures("asserting")
def test_a_re_invite_of_the_carrier_brings_what_the_dialog_keeps(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, request(caller=NAMED, headers=f"{SAYS}Privacy: id\r\n"))
    pbx.world.loose_route = 1
    again = request("INVITE", uri=f"sip:alice@{PBX}", caller="<sip:4930123@one.test>", to_tag="a", headers=route(pbx))
    send(pbx, routes, again.replace("one.test>;tag=a", "one.test>;tag=b"), CARRIER)
    assert ";tf=" in (pbx.relayed[0].message.get("Record-Route") or "")
