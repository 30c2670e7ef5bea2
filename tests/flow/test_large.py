"""The flow of large requests: by TCP first, and by UDP if a place does not take it, as if nothing had been."""

from __future__ import annotations

import pytest

from kemi.dialog.mark import fingerprint
from kemi.handlers import Handlers
from kemi.metrics import counts
from kemi.names.file import NamesFile
from kemi.outcome import ENDS
from kemi.settings import Settings
from kemi.sip import large, standings, wanted
from kemi.trunks.hops import Hop, Target
from kemi.trunks.large import LONGEST_BY_UDP
from kemi.trunks.places import Place
from tests.flow.scene import CHALLENGE, FAILED, PBX, Marks, challenge, cseqs, fail, reply, request, routes_with
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password, socket)
VALUES
 ('one', 'alice', 'one.test', 'carrier', 'sip:203.0.113.1', 'u1', 'p1', ''),
 ('two', 'alice', 'two.test', 'carrier', 'sip:203.0.113.2', 'u2', 'p2', ''),
 ('alone', 'bob', '', 'carrier', 'sip:203.0.113.3:5070', 'u3', 'p3', ''),
 ('said', 'carol', '', 'carrier', 'sip:203.0.113.4;transport=udp', 'u4', 'p4', ''),
 ('from', 'dave', '', 'carrier', 'sip:203.0.113.5', 'u5', 'p5', 'udp:192.0.2.1:5060'),
 ('six', 'erin', '', 'carrier', 'sip:[2001:db8::6]', 'u6', 'p6', ''),
 ('host', 'frank', '', 'carrier', 'sip:host.test', 'u7', 'p7', ''),
 ('service', 'grace', '', 'carrier', 'sip:service.test', 'u8', 'p8', ''),
 ('dialled', 'heidi', '', 'carrier', '', 'u9', 'p9', '')
"""
POLICIES = "INSERT INTO trunk (l_uuid, priority) VALUES ('one', 1), ('two', 2)"
LARGE = "x" * LONGEST_BY_UDP
ONE, ONE_BY_TCP = "sip:203.0.113.1", "sip:203.0.113.1:5060;transport=tcp"
TWO, TWO_BY_TCP = "sip:203.0.113.2", "sip:203.0.113.2:5060;transport=tcp"
ALONE, ALONE_BY_TCP = "sip:203.0.113.3:5070", "sip:203.0.113.3:5070;transport=tcp"
SERVICE, SERVICE_BY_TCP = "sip:203.0.113.8:5061;transport=udp", "sip:203.0.113.8:5062;transport=tcp"


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "ENTRIES", counts.Entries())


@pytest.fixture(scope="module", autouse=True)
def names(settings: Settings) -> None:
    file = NamesFile(settings.names_file)
    file.open()
    hosts = (Hop("203.0.113.71", 5060, "udp", "host.test"), Hop("203.0.113.72", 5060, "udp", "host.test"))
    hops = {
        Target("host.test"): hosts,
        Target("service.test"): (Hop("203.0.113.8", 5061, "udp", "a.test", 1, 1),),
        Target("service.test", transport="tcp"): (Hop("203.0.113.8", 5062, "tcp", "b.test", 1, 1),),
    }
    file.keep({target.key: found for target, found in hops.items()}, {})
    file.close()


def send(pbx: MockKSR, routes: Handlers, caller: str, body: str = LARGE, method: str = "INVITE", **also: str) -> None:
    pbx.receive(request(method, caller=f"<sip:{caller}@pbx.test>", body=body, **also), source=(PBX, 5060))
    routes.ksr_request_route(None)


def silent(pbx: MockKSR, routes: Handlers, said: int = -1) -> None:
    """said: 1 if 100 had come."""
    pbx.answer("tm.t_branch_replied", said)
    with pbx.timeout() as route:
        getattr(routes, route)(None)


def went(pbx: MockKSR) -> list[str]:
    return [relayed.next_hop for relayed in pbx.relayed]


def waited(pbx: MockKSR) -> int:
    """How long the last attempt is waited for."""
    return int(pbx.called("tm.t_set_fr")[-1][1])


def attempts(trunk: str) -> int:
    return sum(counts.ENTRIES[trunk][len(ENDS) : counts.CHALLENGED].tolist())


def told(pbx: MockKSR, text: str) -> bool:
    return any(text in line for _, line in pbx.log)


FIRST = {  # caller, size of the request -> where it goes first
    "large": ("bob", LONGEST_BY_UDP + 1, ALONE_BY_TCP),
    "not quite": ("bob", LONGEST_BY_UDP, ALONE),
    "the row says UDP": ("carol", LONGEST_BY_UDP + 1, "sip:203.0.113.4;transport=udp"),
    "the row names a socket": ("dave", LONGEST_BY_UDP + 1, "sip:203.0.113.5"),
    "IPv6": ("erin", LONGEST_BY_UDP + 1, "sip:[2001:db8::6]:5060;transport=tcp"),
    "a service": ("grace", LONGEST_BY_UDP + 1, SERVICE_BY_TCP),
    "a service, not large": ("grace", LONGEST_BY_UDP, SERVICE),
}


@pytest.mark.parametrize(("caller", "size", "hop"), FIRST.values(), ids=FIRST)
def test_where_a_request_of_this_size_goes(pbx: MockKSR, routes: Handlers, caller: str, size: int, hop: str) -> None:
    rest = len(request(caller=f"<sip:{caller}@pbx.test>", body=100 * "x")) - 100
    send(pbx, routes, caller, "x" * (size - rest))
    assert went(pbx) == [hop]


def test_the_dialled_host_is_tried_by_tcp_unless_it_says_udp(pbx: MockKSR, routes: Handlers) -> None:
    for uri in ("sip:1@203.0.113.9", "sip:1@203.0.113.9;transport=udp"):
        send(pbx, routes, "heidi", uri=uri)
        assert went(pbx) == ["sip:203.0.113.9:5060;transport=tcp" if "udp" not in uri else uri]
        pbx.relayed.clear()


@pytest.mark.parametrize("other", ["tcp:[2001:db8::1]:5060", "tls:192.0.2.1:5061"])
def test_without_a_tcp_socket_all_goes_by_udp(pbx: MockKSR, settings: Settings, other: str) -> None:
    routes = pbx.handlers = routes_with(settings, {"TRUNKAUTH_LISTEN": f"udp:192.0.2.1:5060 {other}"})
    send(pbx, routes, "bob")
    routes.trunks.close()
    assert went(pbx) == [ALONE]
    assert pbx.called("tm.t_set_fr") == []


def test_a_message_stays_on_udp(pbx: MockKSR, routes: Handlers) -> None:
    """It would come twice if TCP took long."""
    send(pbx, routes, "bob", method="MESSAGE")
    assert went(pbx) == [ALONE]


def test_a_challenge_is_answered_where_it_came_from(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    assert waited(pbx) == 2000
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    assert went(pbx) == [ALONE_BY_TCP] * 2
    assert attempts("alone") == 1
    assert not told(pbx, "outcome=by-udp")


def test_a_refused_tcp_goes_on_by_udp_and_is_remembered(pbx: MockKSR, routes: Handlers) -> None:
    pbx.world.unreachable.add(ALONE_BY_TCP)
    send(pbx, routes, "bob")
    assert told(pbx, "trunk=alone outcome=by-udp carrier=203.0.113.3:5070 reason=refused call-id=call-1")
    assert not told(pbx, "outcome=unreachable")
    assert waited(pbx) == 30000, "as tm waits for a place that is the only one"
    challenge(pbx, routes)
    fail(pbx, routes, 500)
    assert went(pbx) == [ALONE] * 2
    assert cseqs(pbx) == ["2 INVITE", "3 INVITE"]
    assert told(pbx, "status=500 reason=No attempts=1")
    assert attempts("alone") == 1
    pbx.world.unreachable.clear()
    pbx.relayed.clear()
    send(pbx, routes, "bob", call_id="call-2")
    assert went(pbx) == [ALONE]


def test_a_silent_tcp_goes_on_by_udp_and_is_remembered(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    silent(pbx, routes)
    assert told(pbx, "trunk=alone outcome=by-udp carrier=203.0.113.3:5070 reason=silent")
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    assert went(pbx) == [ALONE_BY_TCP, ALONE, ALONE]
    send(pbx, routes, "bob", call_id="call-2")
    assert went(pbx)[-1] == ALONE


def test_the_trunk_has_failed_only_if_udp_is_silent_too(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    silent(pbx, routes)
    assert not standings.are_kept()
    assert attempts("alone") == 0
    silent(pbx, routes)
    assert standings.are_kept()
    assert pbx.replies == [Reply(408, "Request Timeout", passed_on=True)]
    assert attempts("alone") == 1
    assert told(pbx, 'reason="Request Timeout" attempts=1')


def test_a_place_that_has_spoken_by_tcp_is_not_asked_again_by_udp(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    fail(pbx, routes, 503, "Retry-After: 7")
    assert (went(pbx), pbx.replies) == ([ALONE_BY_TCP], [Reply(503, "No")])
    assert pbx.replies[0].headers == ("Retry-After: 7",)
    assert not told(pbx, "outcome=next")
    assert attempts("alone") == 1


def test_credentials_that_were_refused_by_tcp_are_not_tried_by_udp(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    challenge(pbx, routes)
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    assert (went(pbx), pbx.replies) == ([ALONE_BY_TCP] * 2, [FAILED])


def test_a_place_that_said_100_by_tcp_is_not_asked_by_udp(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    silent(pbx, routes, said=1)
    assert went(pbx) == [ALONE_BY_TCP]
    assert not told(pbx, "outcome=by-udp")


def test_a_place_that_challenged_by_tcp_has_its_time_and_is_not_asked_by_udp(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    challenge(pbx, routes)
    assert waited(pbx) == 30_000
    silent(pbx, routes)
    assert went(pbx) == [ALONE_BY_TCP] * 2
    assert not told(pbx, "outcome=by-udp")


@pytest.mark.parametrize("uri", ["urn:service:sos", "tel:+4912", "sip:1@203.0.113.9;transport=xyz"])
def test_a_uri_that_leads_nowhere_is_no_fault(pbx: MockKSR, routes: Handlers, uri: str) -> None:
    send(pbx, routes, "heidi", uri=uri)
    assert not told(pbx, "outcome=fault")


def test_nobody_knocks_where_callers_dial(pbx: MockKSR, routes: Handlers) -> None:
    pbx.world.unreachable |= {"sip:203.0.113.9:5060;transport=tcp", ALONE_BY_TCP}
    send(pbx, routes, "heidi", uri="sip:1@203.0.113.9")
    assert large.noted_since(0) == ([], 0)
    send(pbx, routes, "bob")
    assert large.noted_since(0) == ([Place("203.0.113.3", 5070, "tcp")], 1)


def test_a_call_leaves_from_our_own_tcp_socket(pbx: MockKSR, routes: Handlers) -> None:
    pbx.world.sockets += ("tcp:192.0.2.1:5060",)
    send(pbx, routes, "bob")
    assert pbx.relayed[0].socket == "tcp:192.0.2.1:5060"


def test_with_several_hosts_to_leave_from_it_stays_on_udp(pbx: MockKSR, settings: Settings) -> None:
    listen = "udp:192.0.2.1:5060 tcp:192.0.2.1:5060 udp:198.51.100.1:5060"
    pbx.handlers = routes = routes_with(settings, {"TRUNKAUTH_LISTEN": listen})
    send(pbx, routes, "bob")
    assert went(pbx) == [ALONE]
    routes.trunks.close()


def test_a_call_that_rang_by_tcp_goes_nowhere_else(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    reply(pbx, routes, 180)
    silent(pbx, routes)
    assert went(pbx) == [ALONE_BY_TCP]
    assert pbx.replies[-1] == Reply(408, "Request Timeout", passed_on=True)


def test_after_a_challenge_by_tcp_the_next_trunk_comes_and_not_the_same_by_udp(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "alice")
    challenge(pbx, routes)
    silent(pbx, routes)
    assert went(pbx) == [ONE_BY_TCP, ONE_BY_TCP, TWO_BY_TCP]


def test_the_next_trunk_is_tried_by_tcp_too(pbx: MockKSR, routes: Handlers) -> None:
    pbx.world.unreachable.add(TWO_BY_TCP)
    send(pbx, routes, "alice")
    fail(pbx, routes, 503)
    challenge(pbx, routes)
    assert went(pbx) == [ONE_BY_TCP, TWO, TWO]
    fail(pbx, routes, 500)
    assert told(pbx, "trunk=two outcome=call-failed")
    assert told(pbx, "attempts=2")


def test_each_address_of_a_host_by_both_before_the_next_one(pbx: MockKSR, routes: Handlers) -> None:
    by_tcp = {f"sip:203.0.113.{host}:5060;transport=tcp" for host in (71, 72)}
    pbx.world.unreachable |= by_tcp
    send(pbx, routes, "frank")
    silent(pbx, routes)
    first, second = went(pbx)
    assert {first, second} == {hop.replace("tcp", "udp") for hop in by_tcp}


def test_tcp_that_is_gone_at_the_answer_to_a_challenge(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "bob")
    pbx.world.unreachable.add(ALONE_BY_TCP)
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert went(pbx) == [ALONE_BY_TCP, ALONE, ALONE]


def test_services_by_tcp_are_asked_for_if_nobody_has(pbx: MockKSR, routes: Handlers, settings: Settings) -> None:
    file = NamesFile(settings.names_file)
    file.open()
    file.keep({key: hops for key, hops in file.hops.items() if not key.endswith("tcp")}, {})
    file.close()
    send(pbx, routes, "grace")
    assert went(pbx) == [SERVICE]
    assert wanted.wanted_since(0)[0] == ["service.test:0;tcp"]


@pytest.mark.parametrize(("port", "times"), [(5070, 2), (5071, 1)])
def test_inside_a_dialog_by_tcp_a_challenge_is_the_carriers_without_its_peer_too(
    pbx: MockKSR, routes: Handlers, marks: Marks, port: int, times: int
) -> None:
    """As after a restart."""
    sealed = marks.sealed(row=3, destination=fingerprint(marks.key, ALONE))
    pbx.world.loose_route = 1
    pbx.receive(marks.request("INFO", sealed, uri=f"sip:carrier@203.0.113.3:{port};transport=tcp"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    pbx.world.carrier, pbx.world.carrier_port, pbx.world.transport = "203.0.113.3", port, "tcp"
    challenge(pbx, routes)
    assert len(pbx.relayed) == times
