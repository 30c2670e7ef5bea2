"""Requests of carriers: who is one, where they go, and what happens when a PBX does not take them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kemi.dialog import mark
from kemi.handlers import Handlers
from kemi.metrics import counts
from kemi.names.file import NamesFile
from kemi.outcome import ENDS
from kemi.settings import Settings
from kemi.start import key
from kemi.trunks.hops import Hop, Target, literal, places, target_of
from tests.flow.scene import PBX, challenge, copied, fail, reply, request
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

BERLINS, HAMBURGS, STRANGER = "203.0.113.5", "203.0.113.6", "198.51.100.9"
OURS = "192.0.2.1"
ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password)
VALUES
 ('berlin', '4930123', 'carrier.test', 'carrier', 'sip:203.0.113.5', 'u1', 'p1'),
 ('hamburg', '4940123', 'other.test', 'carrier', 'sip:203.0.113.6:5070;transport=tcp', 'u2', 'p2'),
 ('two', '49421', 'other.test', 'carrier', 'sip:203.0.113.5', 'u3', 'p3'),
 ('named', '49422', 'other.test', 'carrier', 'sip:203.0.113.5', 'u4', 'p4'),
 ('loop', '49423', 'other.test', 'carrier', 'sip:203.0.113.5', 'u5', 'p5')
"""
POLICIES = """
INSERT INTO trunk (l_uuid, inbound_uri) VALUES
 ('berlin', 'sip:192.0.2.20'), ('hamburg', 'sip:192.0.2.20:5062'),
 ('two', 'sip:192.0.2.20:5062, sip:pbx.test'), ('named', 'sip:unknown.test'), ('loop', 'sip:us.test')
"""
NO_ROUTE = Reply(404, "No Route For This Number")
CONTACT = f"sip:berlin@{OURS}:5060"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    copied(settings, "INSERT INTO address (grp, ip_addr, tag) VALUES (2, '203.0.113.77', 'berlin')")
    next_hops = ("sip:203.0.113.5", "sip:203.0.113.6:5070;transport=tcp")
    named = {"pbx.test": "192.0.2.21", "us.test": OURS}
    file = NamesFile(settings.names_file)
    file.open()
    file.keep(
        {Target(name).key: (Hop(address, 5060, "udp", name),) for name, address in named.items()},
        {},
        frozenset().union(*(places(literal(target_of(uri, ""))) for uri in next_hops)),
    )
    file.close()
    return settings


@pytest.fixture(autouse=True)
def makes_transactions(pbx: MockKSR) -> None:
    pbx.answer("tm.t_newtran", 1)


Come = Callable[..., None]


@pytest.fixture
def come(pbx: MockKSR, routes: Handlers) -> Come:
    """A new request comes, from a carrier's next hop unless a test says otherwise."""

    def come(
        uri: str = CONTACT, source: str = BERLINS, port: int = 5060, method: str = "INVITE", headers: str = ""
    ) -> None:
        pbx.receive(request(method, uri=uri, headers=headers), source=(source, port))
        assert routes.ksr_request_route(None) == 1

    return come


@pytest.fixture
def changed(changing: Settings, routes: Handlers) -> Callable[[str], None]:
    """The DBA changes the rows of `trunk`."""

    def change(statement: str) -> None:
        copied(changing, statement)
        routes.trunks.look_again()

    return change


def went(pbx: MockKSR) -> list[tuple[str, str]]:
    return [(relayed.ruri, relayed.next_hop) for relayed in pbx.relayed]


def told(pbx: MockKSR) -> str:
    return "".join(line for _, line in pbx.log)


# --- who is what

TO_BERLINS_PBX = [("sip:4930123@192.0.2.20", "sip:192.0.2.20:5060;transport=udp")]
OUT = [("sip:4930123@carrier.test", "sip:203.0.113.5")]
FORBIDDEN = Reply(403, "Forbidden")
SOURCES = {  # source, port, transport, groups -> where it goes, or the reply
    "a PBX": (PBX, 5060, "udp", {1}, OUT),
    "a next hop in no group": (BERLINS, 5060, "udp", set(), TO_BERLINS_PBX),
    "a next hop that is a PBX's machine": (BERLINS, 5060, "udp", {1}, TO_BERLINS_PBX),
    "another port of that machine, which may call": (BERLINS, 5066, "udp", {1}, OUT),
    "another port of that machine, which may not": (BERLINS, 5066, "udp", set(), FORBIDDEN),
    "the next hop's port by TCP, which is the trunk's carrier by UDP alone": (BERLINS, 5060, "tcp", {1}, NO_ROUTE),
    "a connection from a host with next hops by UDP": (BERLINS, 40000, "tcp", set(), FORBIDDEN),
    "in group 2": ("203.0.113.77", 5099, "udp", {2}, TO_BERLINS_PBX),
    "in both groups": ("203.0.113.77", 5099, "udp", {1, 2}, TO_BERLINS_PBX),
    "nobody": (STRANGER, 5060, "udp", set(), FORBIDDEN),
}


@pytest.mark.parametrize(("source", "port", "transport", "groups", "expected"), SOURCES.values(), ids=SOURCES)
def test_who_is_what(
    pbx: MockKSR,
    come: Come,
    source: str,
    port: int,
    transport: str,
    groups: set[int],
    expected: Reply | list[tuple[str, str]],
) -> None:
    pbx.world.trusted.clear()
    for group in groups:
        pbx.trust(f"{source}/32", group)
    pbx.world.transport = transport
    come("sip:4930123@carrier.test", source, port)  # which rule 4 of outbound calls would find a trunk for
    if isinstance(expected, Reply):
        assert (went(pbx), pbx.replies) == ([], [expected])
    else:
        assert (went(pbx), pbx.replies) == (expected, [])


def test_a_carrier_that_connects_from_any_port_comes_in(pbx: MockKSR, come: Come) -> None:
    pbx.world.transport = "tcp"
    come(f"sip:hamburg@{OURS}", HAMBURGS, 40000)
    assert went(pbx) == [("sip:4930123@192.0.2.20:5062", "sip:192.0.2.20:5062;transport=udp")]


def test_nothing_of_a_carrier_goes_out_whatever_rule_it_would_hit(pbx: MockKSR, come: Come) -> None:
    pbx.trust(f"{BERLINS}/32")
    for uri, headers in (("sip:x@carrier.test", ""), ("sip:x@carrier.test", "X-Trunk: berlin\r\n")):
        come(uri, headers=headers)
        assert (went(pbx), pbx.replies) == ([], [NO_ROUTE])
    assert 'trunk="" outcome=no-route source=203.0.113.5 reason="no trunk for this number"' in told(pbx)


# --- which trunk


def test_the_tag_of_the_carriers_address_is_read_and_not_that_of_a_caller(pbx: MockKSR, come: Come) -> None:
    pbx.trust("203.0.113.77/32", 1)
    pbx.trust("203.0.113.77/32", 2)
    tags = {1: "hamburg", 2: "berlin"}

    def allow(group: int) -> int:  # as the permissions module does
        if tags[group]:
            pbx.state.avps.setdefault("source_tag", []).insert(0, tags[group])
        return 1

    pbx.answer("permissions.allow_source_address", allow)
    pbx.answer("sanity.sanity_check", lambda *_: allow(1))  # the gate in front of the routes looks at group 1
    come("sip:+4930999@carrier.test", "203.0.113.77")
    assert went(pbx) == [("sip:+4930999@192.0.2.20", "sip:192.0.2.20:5060;transport=udp")]
    tags[2] = ""
    come("sip:+4930999@carrier.test", "203.0.113.77")
    assert pbx.replies == [NO_ROUTE]
    assert 'trunk="" outcome=no-route source=203.0.113.77' in told(pbx)


@pytest.mark.parametrize("uri", [f"sip:hamburg@{OURS}", f"sip:x@{OURS};line=hamburg", f"sip:4940123@{OURS}"])
def test_another_carriers_trunk_is_no_way_in(pbx: MockKSR, come: Come, uri: str) -> None:
    come(uri)
    assert (went(pbx), pbx.replies) == ([], [NO_ROUTE])
    assert 'trunk=hamburg outcome=no-route source=203.0.113.5 reason="the trunk is another carrier\'s"' in told(pbx)


def test_a_stranger_who_knows_the_l_uuid_gets_nowhere(pbx: MockKSR, come: Come) -> None:
    come(source=STRANGER)
    assert (went(pbx), pbx.replies) == ([], [Reply(403, "Forbidden")])


@pytest.mark.parametrize("party", [
    '"B" <sip:+4930555@carrier.test;user=phone>', '"Desk \\"<7>" <sip:+4930555@carrier.test>', "tel:+4930555",
])  # fmt: skip
def test_the_called_number_is_that_of_p_called_party_id_before_to(pbx: MockKSR, come: Come, party: str) -> None:
    come(headers=f"P-Called-Party-ID: {party}\r\n")
    assert pbx.relayed[0].ruri == "sip:+4930555@192.0.2.20"


def test_an_empty_p_called_party_id_says_nothing(pbx: MockKSR, come: Come) -> None:
    come()
    (without,) = pbx.relayed
    come(headers="P-Called-Party-ID: \r\n")
    assert pbx.relayed[0].ruri == without.ruri


# --- what the PBX gets


def test_the_pbx_gets_the_call_and_the_dialog_knows_that_the_trunk_calls(
    pbx: MockKSR, come: Come, settings: Settings
) -> None:
    come(headers="X-Trunk: x\r\nAuthorization: Digest a\r\nProxy-Authorization: Digest a\r\nRoute: <sip:x;lr>\r\n")
    (sent,) = pbx.relayed
    assert not {"X-Trunk", "Authorization", "Proxy-Authorization", "Route"} & set(sent.message.names)
    assert sent.message.get("CSeq") == "1 INVITE"
    route = (sent.message.get("Record-Route") or "").partition(";ta=")[2].rstrip(">")
    secret = key.load(settings.key_file)
    found = mark.unseal(secret, route, mark.dialog_id("call-1", "a"))
    assert found
    assert (found.row, found.is_inbound, found.cseq, found.raised) == (1, True, 1, 0)
    assert found.pbx == mark.fingerprint(secret, "192.0.2.20 5060 udp")
    assert pbx.state.keepalive == "ka-dst"


def test_no_pbx_becomes_the_peer_that_may_have_credentials(pbx: MockKSR, routes: Handlers, come: Come) -> None:
    come()
    reply(pbx, routes, 200)
    assert pbx.state.dialog == {}


def test_a_message_comes_in(pbx: MockKSR, come: Come) -> None:
    come(method="MESSAGE")
    assert went(pbx) == TO_BERLINS_PBX
    assert pbx.relayed[0].message.get("Record-Route") is None


def test_a_next_hop_passes_the_gate_from_then_on_and_nobody_else(pbx: MockKSR, come: Come) -> None:
    come(source=STRANGER)
    assert pbx.tables.content("carriers") == {}
    come()
    assert pbx.tables.content("carriers") == {BERLINS: 1}
    pbx.tables.pass_time(61)
    assert pbx.tables.content("carriers") == {}


def test_a_carrier_may_ask_if_we_are_there_and_nothing_else(pbx: MockKSR, come: Come) -> None:
    come(method="OPTIONS")
    assert pbx.replies == [Reply(200, "OK")]
    for method in ("REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "INFO"):
        come(method=method)
        assert (went(pbx), pbx.replies) == ([], [Reply(405, "Method Not Allowed")])


# --- several PBXs, and none


TWO = f"sip:two@{OURS}"
BOTH = [
    ("sip:4930123@192.0.2.20:5062", "sip:192.0.2.20:5062;transport=udp"),
    ("sip:4930123@pbx.test", "sip:192.0.2.21:5060;transport=udp"),
]


def test_the_next_pbx_is_tried(pbx: MockKSR, routes: Handlers, come: Come, settings: Settings) -> None:
    come(TWO)
    assert pbx.called("tm.t_set_fr") == [(180000, 4000)]
    fail(pbx, routes, 503)
    assert went(pbx) == BOTH
    assert [sent.message.get("CSeq") for sent in pbx.relayed] == ["1 INVITE"] * 2
    secret = key.load(settings.key_file)
    values = [(sent.message.get("Record-Route") or "").partition(";ta=")[2].rstrip(">") for sent in pbx.relayed]
    marks = [mark.unseal(secret, value, mark.dialog_id("call-1", "a")) for value in values]
    expected = [mark.fingerprint(secret, f"{place} udp") for place in ("192.0.2.20 5062", "192.0.2.21 5060")]
    assert [one and one.pbx for one in marks] == expected
    fail(pbx, routes, 500)
    assert pbx.replies[-1] == Reply(500, "No", passed_on=True)


def test_a_pbx_that_cannot_be_sent_to_is_passed_over(pbx: MockKSR, come: Come) -> None:
    pbx.world.unreachable = {BOTH[0][1]}
    come(TWO)
    assert went(pbx) == BOTH[1:]


@pytest.mark.parametrize("status", [486, 404, 600])
def test_what_a_pbx_says_itself_is_passed_on(pbx: MockKSR, routes: Handlers, come: Come, status: int) -> None:
    come(TWO)
    reply(pbx, routes, status)  # whatever comes, the reply route is run first
    assert len(pbx.relayed) == 1


def test_no_pbx_is_tried_once_one_rings(pbx: MockKSR, routes: Handlers, come: Come) -> None:
    come(TWO)
    reply(pbx, routes, 180)
    fail(pbx, routes, 503)
    assert len(pbx.relayed) == 1
    assert pbx.replies[-1] == Reply(503, "No")


@pytest.mark.parametrize("status", [401, 407])
def test_a_carrier_sees_no_challenge_of_a_pbx_and_the_pbx_no_credentials(
    pbx: MockKSR, routes: Handlers, come: Come, status: int
) -> None:
    come()
    challenge(pbx, routes, code=status)
    assert len(pbx.relayed) == 1
    assert pbx.replies == [Reply(503, "Trunk Authentication Failed")]
    assert "realm=carrier" not in told(pbx)
    assert 'reason="no trunk that may answer"' in told(pbx)


def test_the_standing_of_the_trunk_is_not_that_of_its_pbx(pbx: MockKSR, routes: Handlers, come: Come) -> None:
    for _ in range(4):
        come()
        fail(pbx, routes, 503)
    assert pbx.tables.content("standings") == {}


def test_a_pbx_whose_name_nobody_has_looked_up_yet_is_waited_for(pbx: MockKSR, come: Come) -> None:
    come(f"sip:named@{OURS}")  # over UDP the carrier sends it again
    assert (went(pbx), pbx.replies) == ([], [])


def test_an_inbound_uri_whose_name_leads_to_us_makes_no_loop(pbx: MockKSR, come: Come) -> None:
    come(f"sip:loop@{OURS}")
    assert (went(pbx), pbx.replies) == ([], [Reply(503, "Next Hop Unreachable")])
    assert 'trunk=loop outcome=no-route source=203.0.113.5 reason="inbound_uri leads to us"' in told(pbx)


def test_without_a_pbx_there_is_no_route(pbx: MockKSR, come: Come, changed: Callable[[str], None]) -> None:
    changed("UPDATE trunk SET inbound_uri = '' WHERE l_uuid = 'berlin'")
    come()
    assert (went(pbx), pbx.replies) == ([], [NO_ROUTE])


# --- limits


def test_a_trunk_that_is_full_takes_no_call_in(
    pbx: MockKSR, come: Come, changed: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    changed("UPDATE trunk SET max_cps = 1 WHERE l_uuid = 'berlin'")
    come()
    assert went(pbx) == TO_BERLINS_PBX
    come()
    assert (went(pbx), pbx.replies) == ([], [Reply(503, "Trunk Full")])


def test_how_a_carriers_call_ends_is_told_and_counted_apart(
    pbx: MockKSR, routes: Handlers, come: Come, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "ENTRIES", counts.Entries())
    come()
    reply(pbx, routes, 200)
    come()
    fail(pbx, routes, 500)
    come("sip:x@carrier.test")
    lines = [line for line in told(pbx).splitlines() if "outcome=call-" in line]
    assert lines[0].startswith("trunk=berlin outcome=call-failed pbx=203.0.113.5:5060 from=sip:alice@pbx.test ")
    assert 'trunk="" outcome=call-failed pbx=""' in lines[1]
    assert "status=404" in lines[1]
    found = {
        trunk: dict(zip(ENDS, numbers[counts.INBOUND :].tolist(), strict=True))
        for trunk, numbers in counts.ENTRIES.items()
    }
    assert [found["berlin"][end] for end in ("answered", "failed")] == [1, 1]
    assert found[""]["rejected"] == 1
    assert sum(sum(numbers[: counts.CHALLENGED]) for numbers in counts.ENTRIES.values()) == 0
