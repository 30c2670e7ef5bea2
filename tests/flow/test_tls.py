"""Requests by TLS, over the mocked KSR: which connection each leaves by, and what becomes of one that has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kemi.dialog.mark import fingerprint
from kemi.dialog.own import Request
from kemi.handlers import Handlers
from kemi.health.certificates import Certificates
from kemi.settings import Settings
from kemi.sip import own, secure
from tests.flow.scene import (
    PBX,
    Marks,
    challenge,
    copied,
    fail,
    in_dialog,
    reply,
    request,
    started,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply
from tests.unit.test_certificate import PEM

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password, socket)
VALUES
 ('one', 'alice', 'sip.carrier.test', 'carrier', 'sips:203.0.113.1', 'u1', 'p1', ''),
 ('two', 'alice', '', 'carrier', 'sip:203.0.113.2;transport=tcp', 'u2', 'p2', ''),
 ('alone', 'bob', 'sip.carrier.test', 'carrier', 'sip:203.0.113.1:5061;transport=TLS', 'u3', 'p3', '')
"""
IN_ORDER = "INSERT INTO trunk (l_uuid, priority) VALUES ('one', 1), ('two', 2)"
ONE, TWO = "sip:203.0.113.1:5061;transport=tls", "sip:203.0.113.2;transport=tcp"
KEY = f"{ONE} sip.carrier.test "
UNREACHABLE = Reply(503, "Next Hop Unreachable")
BOB = "<sip:bob@pbx.test>"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_environment({
        "TRUNKAUTH_STATE_DIR": str(tmp_path_factory.mktemp("state")), "TRUNKAUTH_TLS_CA": __file__,
        "TRUNKAUTH_LISTEN": "udp:192.0.2.1:5060 tcp:192.0.2.1:5060 tls:192.0.2.1:5061",
    })  # fmt: skip
    started(settings, ROWS)

    copied(settings, IN_ORDER)
    return settings


@pytest.fixture
def routes(settings: Settings, pbx: MockKSR) -> Iterator[Handlers]:
    """A SIP worker."""
    made = Handlers(settings)
    made.child_init(1)
    pbx.handlers = made
    pbx.answer("tm.t_drop_replies_all", 1)
    yield made
    made.trunks.close()
    if made._work:
        made._work.close()
    secure.use(False)


def connected(pbx: MockKSR, number: int = 7) -> None:
    """The connection to the carrier is up, and was judged."""
    pbx.tables.put("secure", KEY, number)
    pbx.world.connections.add(number)


def send(pbx: MockKSR, routes: Handlers, caller: str = "<sip:alice@pbx.test>", headers: str = "") -> None:
    pbx.receive(request(caller=caller, headers=headers), source=(PBX, 5060))
    routes.ksr_request_route(None)


def went(pbx: MockKSR) -> list[tuple[str, int]]:
    """Where each attempt went, and by which connection it had to."""
    return [(relayed.next_hop, relayed.connection) for relayed in pbx.relayed]


def test_a_call_leaves_by_the_judged_connection_and_so_does_the_answer(pbx: MockKSR, routes: Handlers) -> None:
    connected(pbx)
    send(pbx, routes)
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    assert went(pbx) == [(ONE, 7), (ONE, 7)]


def test_the_next_trunk_has_a_connection_of_its_own(pbx: MockKSR, routes: Handlers) -> None:
    connected(pbx)
    send(pbx, routes)
    fail(pbx, routes, 503)
    assert went(pbx) == [(ONE, 7), (TWO, 0)]


@pytest.mark.parametrize("state", [None, secure.FAILED, 8])
def test_a_trunk_without_connection_is_passed_over(pbx: MockKSR, routes: Handlers, state: int | None) -> None:
    if state:
        pbx.tables.put("secure", KEY, state)
    send(pbx, routes)
    assert went(pbx) == [(TWO, 0)]
    assert [line for level, line in pbx.log if "unreachable" in line] == [
        "trunk=one outcome=unreachable call-id=call-1\n"
    ]


def test_a_call_of_no_other_trunk_waits_for_the_connection_that_is_made(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, BOB)
    assert (went(pbx), pbx.replies) == ([], [])  # over UDP it comes again
    pbx.receive(request(caller=BOB).replace("SIP/2.0/UDP", "SIP/2.0/TCP"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    assert (went(pbx), pbx.replies) == ([], [UNREACHABLE])


def test_a_call_of_no_other_trunk_is_refused_if_there_will_be_no_connection(pbx: MockKSR, routes: Handlers) -> None:
    pbx.tables.put("secure", KEY, secure.FAILED)
    send(pbx, routes, BOB)
    assert (went(pbx), pbx.replies) == ([], [UNREACHABLE])


def test_no_credentials_go_out_if_the_connection_has_ended_meanwhile(pbx: MockKSR, routes: Handlers) -> None:
    connected(pbx)
    send(pbx, routes, BOB)
    pbx.world.connections.clear()
    challenge(pbx, routes)
    assert went(pbx) == [(ONE, 7)]
    assert pbx.replies[-1].code == 503


def test_the_connection_ends_between_two_looks(pbx: MockKSR, routes: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    connected(pbx)
    monkeypatch.setattr(secure, "leave_by", lambda _: False)
    send(pbx, routes)
    assert went(pbx) == [(TWO, 0)]


# --- inside a dialog


def inside(pbx: MockKSR, routes: Handlers, marks: Marks, method: str, leads_to: str = ONE) -> None:
    """The PBX sends a request inside a dialog over the trunk `one`."""
    in_dialog(pbx)
    mark = marks.sealed(destination=fingerprint(marks.key, "sips:203.0.113.1 sip.carrier.test"))
    pbx.receive(marks.request(method, mark, uri=leads_to), source=(PBX, 5060))
    routes.ksr_request_route(None)


@pytest.mark.parametrize("method", ["INVITE", "ACK", "BYE"])
@pytest.mark.parametrize(
    "contact", [ONE, "sip:203.0.113.1;transport=tls", "sips:203.0.113.1", "SIPS:bob@203.0.113.1:5061;transport=tcp"]
)
def test_inside_a_dialog_the_carrier_is_reached_by_the_judged_connection(
    pbx: MockKSR, routes: Handlers, marks: Marks, method: str, contact: str
) -> None:
    connected(pbx)
    inside(pbx, routes, marks, method, contact)
    assert went(pbx) == [(contact, 7)]


def test_inside_a_dialog_a_challenge_is_answered_over_the_judged_connection(
    pbx: MockKSR, routes: Handlers, marks: Marks
) -> None:
    connected(pbx)
    inside(pbx, routes, marks, "INVITE")
    pbx.world.connections.clear()
    challenge(pbx, routes)
    assert went(pbx) == [(ONE, 7)]


@pytest.mark.parametrize(("method", "replies"), [("ACK", []), ("BYE", [])])
def test_inside_a_dialog_a_request_waits_for_the_connection(
    pbx: MockKSR, routes: Handlers, marks: Marks, method: str, replies: list[Reply]
) -> None:
    inside(pbx, routes, marks, method)
    assert (went(pbx), pbx.replies) == ([], replies)


def test_inside_a_dialog_a_request_is_refused_if_there_will_be_no_connection(
    pbx: MockKSR, routes: Handlers, marks: Marks
) -> None:
    pbx.tables.put("secure", KEY, secure.FAILED)
    inside(pbx, routes, marks, "BYE")
    assert (went(pbx), pbx.replies) == ([], [UNREACHABLE])


def test_where_the_carriers_contact_leads_elsewhere_any_connection_will_do(
    pbx: MockKSR, routes: Handlers, marks: Marks
) -> None:
    elsewhere = "sip:203.0.113.99:5061;transport=tls"
    inside(pbx, routes, marks, "BYE", elsewhere)
    assert went(pbx) == [(elsewhere, 0)]


# --- a REGISTER of the uac module


@pytest.mark.parametrize("uri", [ONE, "sip:203.0.113.1;transport=tls", "sips:203.0.113.1"])
@pytest.mark.parametrize(("trunk", "key", "drops"), [
    ("one", KEY, []),
    ("one", f"{KEY}tls:192.0.2.1:5061", [()]),
    ("one", f"{ONE}  ", [()]),  # judged for a trunk that takes any certificate
    ("one", ONE, [()]),
    ("nobody", KEY, [()]),
])  # fmt: skip
def test_a_register_waits_for_the_connection_that_was_judged_for_its_trunk(
    pbx: MockKSR, routes: Handlers, uri: str, trunk: str, key: str, drops: list[tuple[()]]
) -> None:
    pbx.answer("set_drop", 1)
    pbx.tables.put("secure", key, 7)
    pbx.world.connections.add(7)
    pbx.receive(request("REGISTER", uri=uri, headers=f"Contact: <sip:{trunk}@192.0.2.1>\r\n"))
    assert routes.LOCAL_REQUEST(None, "tm:local-request") == 1
    assert pbx.called("set_drop") == drops


# --- the process that keeps connections


class Node:
    """A Kamailio whose process NAMES keeps connections."""

    def __init__(self, pbx: MockKSR, routes: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pbx, self.routes = pbx, routes
        self.now = 1000.0
        self.sent: list[list[str]] = []
        self.reloads = 0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("kemi.health.securing.time", clock)
        monkeypatch.setattr("kemi.health.certificates.time", clock)
        pbx.answer("jsonrpcs.exec", self._command)
        pbx.answer("tcpops.tcp_close_connection_id", 1)

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.pbx.receive(request())
        assert self.routes.NAMES(None, None) == 1

    def hear(self, peer: str) -> None:
        """The OPTIONS is answered, by a connection that shows this."""
        self.pbx.world.transport, self.pbx.world.peer = "tls", peer
        self.pbx.receive(f"OPTIONS sip:x SIP/2.0\r\n{self.sent[-1][4]}\r\n")
        self.pbx.tm.t_on_reply("PROBE_REPLY")
        self.pbx.tm.t_relay()
        with self.pbx.reply_route(200, "OK", ()) as route:
            assert getattr(self.routes, route)(None) == 1
        self.tick()

    def lines(self) -> list[str]:
        return [line for level, line in self.pbx.log if level in ("warn", "notice", "err")]

    def _command(self, text: str) -> int:
        asked = json.loads(text)
        self.pbx.world.rpc_code = 200
        if asked["method"] == "tls.reload":
            self.reloads += 1
            return 1
        self.sent.append(asked["params"])
        return 1


@pytest.fixture
def node(pbx: MockKSR, routes: Handlers, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(pbx, routes, monkeypatch)


def test_a_connection_is_opened_judged_and_told_to_workers(node: Node) -> None:
    node.tick()
    (options,) = node.sent  # for both trunks
    assert options[:4] == ["OPTIONS", "sip:sip.carrier.test", ONE, "."]
    assert node.pbx.called("route") == [("TLS_OPEN",)]
    assert node.pbx.tables.get("secure", KEY) is None
    node.hear(f"7 1 0 0 {PEM}")
    assert node.pbx.tables.get("secure", KEY) == 7
    assert node.lines() == []


def test_a_wrong_certificate_is_told_and_its_connection_closed(node: Node) -> None:
    node.tick()
    node.hear("7 0 0 1 x")
    assert node.pbx.tables.get("secure", KEY) == secure.FAILED
    assert node.pbx.called("tcpops.tcp_close_connection_id") == [(7,)]
    reason = "its certificate, or its CA's, is self-signed and not in TRUNKAUTH_TLS_CA"
    assert node.lines() == [f'trunk=alone name=sip.carrier.test outcome=tls-failed reason="{reason}"\n']


def test_silence_and_a_connection_that_ends(node: Node) -> None:
    node.tick()
    node.tick(4.0)
    assert node.pbx.tables.get("secure", KEY) == secure.FAILED
    node.tick(1.0)
    node.hear(f"7 1 0 0 {PEM}")
    node.pbx.world.connections.add(7)
    node.tick()
    assert len(node.sent) == 2
    node.pbx.world.connections.clear()
    node.tick()
    assert len(node.sent) == 3


def test_a_row_that_goes_takes_its_connection_with_it(node: Node, settings: Settings) -> None:
    node.tick()
    node.hear(f"7 1 0 0 {PEM}")
    copied(settings, "UPDATE uacreg SET socket = 'x' WHERE l_uuid IN ('one', 'alone')")
    try:
        while node.pbx.tables.get("secure", KEY):
            node.tick(1.0)
    finally:
        copied(settings, "UPDATE uacreg SET socket = '' WHERE l_uuid IN ('one', 'alone')")


def test_the_calls_of_a_trunk_that_is_disabled_keep_its_connection(
    node: Node, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kemi.names.rows.REST", 0)
    copied(settings, "UPDATE uacreg SET r_domain = 'off.test' WHERE l_uuid = 'one'")
    copied(settings, "UPDATE trunk SET enabled = 0 WHERE l_uuid = 'one'")
    try:
        node.tick()
        node.tick()
        assert "sip:off.test" in [sent[1] for sent in node.sent]
    finally:
        copied(settings, "UPDATE uacreg SET r_domain = 'sip.carrier.test' WHERE l_uuid = 'one'")
        copied(settings, "UPDATE trunk SET enabled = 1 WHERE l_uuid = 'one'")


def test_only_the_request_that_has_a_certificate_judged_opens_a_connection_to_whoever_answers(node: Node) -> None:
    node.tick()
    node.pbx.calls.clear()
    node.pbx.receive(request())
    assert own.send(Request("BYE", "sip:bob@far.test", ONE, "<sip:a@pbx.test>", "Call-ID: x\r\n"))
    assert node.pbx.called("route") == [("TLS_VERIFIED",)]


# --- certificates that change


def test_files_that_change_are_read_again_once_they_stay_and_can_be_used(
    node: Node, settings: Settings, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    watched = Certificates(replace(settings, tls_ca=ca, tls_cert=None, tls_key=None))
    node.pbx.receive(request())

    def look(text: str = "") -> int:
        if text:
            ca.write_text(text)
        node.now += 2.0
        watched.tick()
        watched.tick()
        return node.reloads

    assert [look(), look(f"{PEM}\n"), look(), look()] == [0, 0, 1, 1]
    assert [look("none"), look(), look()] == [1, 1, 1]
    ca.unlink()
    assert [look(), look()] == [1, 1]
    assert [look(PEM), look()] == [1, 2]
    assert [line.partition(" reason=")[0].strip() for line in node.lines()] == [
        "outcome=certificates-reloaded", *["outcome=certificates-not-reloaded"] * 2, "outcome=certificates-reloaded",
    ]  # fmt: skip


@pytest.mark.usefixtures("routes")
def test_without_tls_nothing_is_asked_of_its_routes(pbx: MockKSR) -> None:
    secure.use(False)
    secure.open_as("sip.carrier.test")
    secure.leave_by_any()
    secure.note_peer()
    assert pbx.called("route") == []
