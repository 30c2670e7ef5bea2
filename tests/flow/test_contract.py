"""A script of one's own, over the mocked KSR: what it asks, what it has done, and what it overrides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from kemi.dialog.identity import FIELDS
from kemi.flow import warming
from kemi.flow.routes import TrunkAuth
from kemi.handlers import Handlers
from kemi.health import memory
from kemi.settings import Settings
from tests.flow.scene import (
    CHALLENGE,
    PBX,
    SBC,
    Marks,
    Send,
    challenge,
    copied,
    cseqs,
    in_dialog,
    raising,
    request,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

PHONE = "198.51.100.7"  # in no table
CARRIER = "192.0.2.50"  # berlin's next hop


class Own(Handlers):
    """One with phones that the table of addresses does not know."""

    is_authenticated = True
    ringing: Sequence[tuple[str, str]] = ()

    def may_call(self, message: object) -> bool:
        return self.is_authenticated or super().may_call(message)

    def phones(self, number: str) -> Sequence[tuple[str, str]]:
        return self.ringing if number == "4930123" else ()


@pytest.fixture
def routes(database: Settings, pbx: MockKSR) -> Iterator[Own]:
    routes = pbx.handlers = Own(database)
    routes.child_init(1)
    yield routes
    routes.trunks.close()


# --- whose dialog it is


def test_a_dialog_over_a_trunk_is_ours_whichever_way(pbx: MockKSR, routes: Own, marks: Marks) -> None:
    for sealed in (marks.sealed(), marks.sealed(tag="b")):
        pbx.receive(marks.request("INFO", sealed), source=(PHONE, 5060))
        assert routes.dialog_is_ours(None)


@pytest.mark.parametrize("value", ["", "AAAA", "another dialog's"])
def test_no_other_dialog_is_ours(pbx: MockKSR, routes: Own, marks: Marks, value: str) -> None:
    sealed = marks.sealed(call_id="call-2") if value.startswith("another") else value
    route = f"Route: <sip:192.0.2.1;lr;ta={sealed}>\r\n" if sealed else "Route: <sip:192.0.2.1;lr>\r\n"
    for method in ("ACK", "INFO", "UPDATE"):
        pbx.receive(request(method, headers=route, to_tag="b"), source=(PHONE, 5060))
        assert not routes.dialog_is_ours(None)


def test_a_request_that_begins_a_dialog_is_in_none(pbx: MockKSR, routes: Own, marks: Marks) -> None:
    record = f"Record-Route: <sip:192.0.2.1;lr;ta={marks.sealed()}>\r\n"
    pbx.receive(request(headers=record), source=(CARRIER, 5060))  # a carrier has sent our own call back
    assert not routes.dialog_is_ours(None)
    pbx.receive(request(headers=record, to_tag="b"), source=(CARRIER, 5060))
    assert routes.dialog_is_ours(None)


def test_a_dialog_with_a_tag_that_is_no_text_is_not_ours(pbx: MockKSR, routes: Own, marks: Marks) -> None:
    pbx.receive(marks.request("INFO").encode().replace(b"tag=b", b"tag=\xff"), source=(PHONE, 5060))
    assert not routes.dialog_is_ours(None)


# --- who may call


def test_a_phone_that_the_script_knows_calls_over_a_trunk(pbx: MockKSR, send: Send) -> None:
    send(request(), source=PHONE)
    assert [sent.next_hop for sent in pbx.relayed] == [SBC]


def test_a_phone_does_not_choose_its_trunk(pbx: MockKSR, send: Send) -> None:
    went = []
    for source in (PHONE, PBX):
        send(request(headers="X-Trunk: any-domain\r\n"), source=source)
        went += [(sent.next_hop, sent.message.get("X-Trunk")) for sent in pbx.relayed]
    assert went == [(SBC, None), ("sip:192.0.2.52:5060;transport=udp", None)]


SAYS = "P-Asserted-Identity: <sip:boss@pbx.test>\r\nP-Preferred-Identity: <sip:boss@pbx.test>\r\n"


@pytest.fixture
def asserting(database: Settings, routes: Own) -> Iterator[None]:
    copied(database, "INSERT INTO trunk (l_uuid, identity) VALUES ('berlin', 'pai')")
    routes.trunks.look_again()
    yield
    copied(database, "DELETE FROM trunk")


def identities(pbx: MockKSR) -> dict[str, str | None]:
    (sent,) = pbx.relayed
    return {name: sent.message.get(name) for name in FIELDS if name in sent.message.names}


def test_who_a_phone_says_that_it_is_goes_nowhere(pbx: MockKSR, send: Send) -> None:
    send(request(headers=SAYS), source=PHONE)
    assert identities(pbx) == {}


@pytest.mark.usefixtures("asserting")
@pytest.mark.parametrize(("source", "who"), [(PHONE, "alice"), (PBX, "boss")])
def test_a_phone_is_asserted_by_its_from(pbx: MockKSR, send: Send, source: str, who: str) -> None:
    send(request(headers=SAYS), source=source)
    assert identities(pbx) == {"P-Asserted-Identity": f"<sip:{who}@pbx.test>"}


def test_one_that_it_does_not_know_is_refused(pbx: MockKSR, routes: Own, send: Send) -> None:
    routes.is_authenticated = False
    send(request(), source=PHONE)
    assert (pbx.relayed, pbx.replies[-1]) == ([], Reply(403, "Forbidden"))


@pytest.mark.parametrize(("may", "methods"), [(True, [b"INFO"]), (False, [])])
def test_inside_the_dialog_it_is_asked_too(
    pbx: MockKSR, routes: Own, send: Send, marks: Marks, may: bool, methods: list[bytes]
) -> None:
    routes.is_authenticated = may
    in_dialog(pbx)
    send(marks.request("INFO"), source=PHONE)
    assert [sent.message.method for sent in pbx.relayed] == methods


# --- what it has sent


def test_it_sends_over_the_trunk_that_it_has_chosen(pbx: MockKSR, routes: Own) -> None:
    pbx.handlers = routes
    pbx.receive(request(caller="<sip:bob@other.test>", headers="X-Trunk: any-domain\r\n"), source=(PHONE, 5060))
    assert routes.send("plain, berlin", None) == 1
    challenge(pbx, routes)
    assert cseqs(pbx) == ["1 INVITE", "2 INVITE"]
    assert {sent.next_hop for sent in pbx.relayed} == {SBC}
    assert {sent.message.get("X-Trunk") for sent in pbx.relayed} == {None}


def test_over_a_trunk_that_is_none_it_is_answered(pbx: MockKSR, routes: Own) -> None:
    pbx.handlers = routes
    pbx.receive(request(caller="<sip:x@other.test>"), source=(PHONE, 5060))
    assert routes.send("nobody's", None) == 1
    assert (pbx.relayed, [reply.code for reply in pbx.replies]) == ([], [404])


def test_it_sends_nothing_without_memory(pbx: MockKSR, routes: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "is_full", lambda: True)
    pbx.receive(request(), source=(PHONE, 5060))
    assert routes.send("berlin", None) == 1
    assert (pbx.relayed, [reply.code for reply in pbx.replies]) == ([], [503])


# --- a failure route of its own


def failed(pbx: MockKSR, routes: Own, status: int, *headers: str) -> bool:
    with pbx.failure_route(status, "No", headers):
        return routes.challenge(None)


def test_it_has_a_challenge_answered(pbx: MockKSR, routes: Own, send: Send) -> None:
    send(request(), source=PHONE)
    assert failed(pbx, routes, 407, f"Proxy-Authenticate: {CHALLENGE}")
    assert cseqs(pbx) == ["1 INVITE", "2 INVITE"]
    assert pbx.replies == []


def test_what_cannot_be_sent_again_has_its_last_word(pbx: MockKSR, routes: Own, send: Send) -> None:
    send(request(), source=PHONE)
    pbx.answer("tm.t_relay", -1)
    assert failed(pbx, routes, 407, f"Proxy-Authenticate: {CHALLENGE}")
    assert pbx.replies == [Reply(503, "Trunk Authentication Failed")]


@pytest.mark.parametrize("status", [486, 503, 407])
def test_what_is_no_challenge_to_answer_is_left_to_it(pbx: MockKSR, routes: Own, send: Send, status: int) -> None:
    send(request(), source=PHONE)
    assert not failed(pbx, routes, status, "Proxy-Authenticate: Basic realm=x")
    assert cseqs(pbx) == ["1 INVITE"]
    assert [(reply.code, reply.passed_on) for reply in pbx.replies] == [(status, True)]


def test_the_last_word_is_still_there_for_it(pbx: MockKSR, routes: Own, send: Send) -> None:
    send(request(), source=PHONE)
    with pbx.failure_route(407, "No", ["Proxy-Authenticate: Basic realm=x"]):
        assert not routes.challenge(None)
        assert routes.TRUNKAUTH(None) == 1
    assert pbx.replies == [Reply(503, "Trunk Authentication Failed")]


def test_a_fault_in_it_is_left_to_the_script(
    pbx: MockKSR, routes: Own, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(request(), source=PHONE)
    monkeypatch.setattr(routes, "answer", raising(RuntimeError()))
    assert not failed(pbx, routes, 407, f"Proxy-Authenticate: {CHALLENGE}")
    assert "outcome=fault" in pbx.log[-1][1]


# --- a carrier calls


@pytest.mark.parametrize(("source", "is_carriers"), [(CARRIER, True), (PHONE, False), (PBX, False)])
def test_it_knows_a_carrier(pbx: MockKSR, routes: Own, source: str, is_carriers: bool) -> None:
    pbx.receive(request(), source=(source, 5060))
    assert routes.is_from_carrier(None) is is_carriers


@pytest.fixture
def called(database: Settings, pbx: MockKSR, routes: Own) -> Iterator[None]:
    """berlin's carrier calls 4930123, and berlin has no inbound_uri."""
    pbx.handlers = routes
    pbx.answer("tm.t_drop_replies_all", 1)
    copied(database, "UPDATE uacreg SET l_username = '4930123' WHERE l_uuid = 'berlin'")
    routes.trunks.look_again()
    pbx.receive(request(), source=(CARRIER, 5060))
    yield
    copied(database, "UPDATE uacreg SET l_username = 'alice' WHERE l_uuid = 'berlin'")


def test_a_carriers_call_rings_its_phones_in_turn(pbx: MockKSR, routes: Own, called: None) -> None:
    phones = [(f"sip:4930123@{PHONE}:{port};ob", f"sip:{PHONE}:{port}") for port in (5062, 5064)]
    routes.ringing = phones
    assert routes.ksr_request_route(None) == 1
    with pbx.failure_route(503, "No", ()) as route:
        assert getattr(routes, route)(None) == 1
    assert [(sent.ruri, sent.next_hop) for sent in pbx.relayed] == phones
    assert all(";ta=" in str(sent.message.get("Record-Route")) for sent in pbx.relayed)


def test_a_phone_that_leads_to_us_is_not_rung(pbx: MockKSR, routes: Own, called: None) -> None:
    """It would come back as a call of a listed source's, and go out over a trunk."""
    routes.ringing = [("sip:+491900@192.0.2.1:5060", "sip:192.0.2.1:5060")]
    assert routes.ksr_request_route(None) == 1
    assert (pbx.relayed, pbx.replies[-1]) == ([], Reply(404, "No Route For This Number"))


def test_without_a_phone_there_is_no_route(pbx: MockKSR, routes: Own, called: None) -> None:
    assert routes.ksr_request_route(None) == 1
    assert (pbx.relayed, pbx.replies[-1]) == ([], Reply(404, "No Route For This Number"))


def test_no_other_carrier_rings_its_phones(pbx: MockKSR, routes: Own, called: None) -> None:
    routes.ringing = [(f"sip:4930123@{PHONE}", f"sip:{PHONE}")]
    pbx.receive(request(), source=("192.0.2.52", 5060))  # the next hop of bob's
    assert routes.ksr_request_route(None) == 1
    assert (pbx.relayed, pbx.replies[-1]) == ([], Reply(404, "No Route For This Number"))


def test_the_code_behind_the_guards_is_met_when_a_worker_starts() -> None:
    guarded = TrunkAuth.TRUNKAUTH.__wrapped__  # type: ignore[attr-defined]
    assert id(guarded.__code__) in warming.copy_pages()
