"""How calls end, over the mocked KSR: one line for each, and the numbers that go with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kemi.flow import calls
from kemi.handlers import Handlers
from kemi.metrics import counts
from kemi.outcome import ENDS
from kemi.settings import Settings
from tests.flow.scene import CHALLENGE, PBX, SBC, Marks, Send, challenge, fail, in_dialog, reply, request, routes_with
from tests.ksr.mock import MockKSR

OF_THE_CALL = "from=sip:alice@pbx.test to=sip:4930123@192.0.2.1"


@pytest.fixture(autouse=True)
def nothing_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts start at nothing, and nobody was turned away."""
    monkeypatch.setattr(counts, "ENTRIES", counts.Entries())
    monkeypatch.setattr(calls, "_BOUND", calls._Bound())


@pytest.fixture
def tells_all(database: Settings, pbx: MockKSR) -> Iterator[Handlers]:
    """A SIP worker with TRUNKAUTH_LOG_LEVEL=2."""
    routes = routes_with(database, {"TRUNKAUTH_LOG_LEVEL": "2"})
    pbx.handlers = routes
    yield routes
    routes.trunks.close()
    routes_with(database).trunks.close()


def ended(pbx: MockKSR) -> list[tuple[str, str]]:
    """Lines about ends of calls, without the time that they took and the Call-ID, which every line has."""
    lines = [(level, line) for level, line in pbx.log if "outcome=call-" in line]
    assert all(line.endswith(" call-id=call-1\n") for _, line in lines)
    return [(level, line.partition(" seconds=")[0]) for level, line in lines]


def counted(trunk: str = "berlin") -> dict[str, int]:
    """The numbers of calls and attempts that are not 0."""
    numbers = counts.ENTRIES[trunk]
    named = dict(zip((*ENDS, *counts.CLASSES), numbers[: counts.CHALLENGED].tolist(), strict=True))
    return {name: number for name, number in named.items() if number}


@pytest.mark.parametrize(("status", "end", "word", "told"), [
    (403, "rejected", "4xx", True), (404, "rejected", "4xx", True), (500, "failed", "5xx", True),
    (503, "failed", "5xx", True), (504, "failed", "5xx", True), (408, "silent", "4xx", True),
    (486, "busy", "4xx", False), (600, "busy", "6xx", False), (603, "declined", "6xx", False),
    (480, "declined", "4xx", False), (302, "declined", "3xx", False), (487, "cancelled", "4xx", False),
])  # fmt: skip
def test_the_carriers_last_word(
    pbx: MockKSR, routes: Handlers, send: Send, status: int, end: str, word: str, told: bool
) -> None:
    send(request())
    fail(pbx, routes, status)
    line = (
        f"trunk=berlin outcome=call-failed carrier=203.0.113.5:5060 {OF_THE_CALL} status={status} reason=No attempts=1"
    )
    assert ended(pbx) == ([("warn", line)] if told else [])
    assert counted() == {end: 1, word: 1}


def test_refused_credentials(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes)
    [(_, line)] = ended(pbx)
    assert line.endswith('status=503 reason="Trunk Authentication Failed" attempts=1')
    assert counted() == {"unauthenticated": 1, "4xx": 1}
    both = [counts.CHALLENGED + counts.CHALLENGES.index(("MD5", result)) for result in ("answered", "refused")]
    assert [counts.ENTRIES["berlin"][place] for place in both] == [1, 1]


def test_a_carrier_that_says_nothing(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    with pbx.timeout() as route:
        getattr(routes, route)(None)
    [(_, line)] = ended(pbx)
    assert line.startswith("trunk=berlin outcome=call-failed carrier=192.0.2.50:5060 ")
    assert counted() == {"silent": 1, "none": 1}


def test_a_next_hop_that_is_not_reached(pbx: MockKSR, send: Send) -> None:
    pbx.world.unreachable.add(SBC)
    send(request())
    [(_, line)] = ended(pbx)
    assert line.endswith('status=503 reason="Next Hop Unreachable" attempts=1')
    assert counted() == {"failed": 1, "none": 1}


@pytest.mark.parametrize(
    ("headers", "trunk", "status"), [("X-Trunk: nobody\r\n", "", 404), ("X-Trunk: bad-ha1\r\n", "bad-ha1", 404)]
)
def test_no_trunk(pbx: MockKSR, send: Send, headers: str, trunk: str, status: int) -> None:
    send(request(headers=headers))
    [(_, line)] = ended(pbx)
    name = trunk or '""'
    assert line == f'trunk={name} outcome=call-failed carrier="" {OF_THE_CALL} status=404 reason="No Trunk" attempts=0'
    assert counted(trunk) == {"rejected": 1}


def test_a_call_that_is_answered_is_counted_once_however_often_its_200_comes(
    pbx: MockKSR, routes: Handlers, send: Send
) -> None:
    send(request())
    challenge(pbx, routes)
    for status in (180, 200):
        reply(pbx, routes, status)
    pbx.state.relayed_in_run = True  # the far end has not seen the ACK
    reply(pbx, routes, 200)
    assert ended(pbx) == []
    assert counted() == {"answered": 1, "2xx": 1}
    numbers = counts.ENTRIES["berlin"]
    assert sum(numbers[counts.SETUPS : counts.SETUP_SUM]) == 1


def test_at_level_2_every_call_is_told(pbx: MockKSR, tells_all: Handlers) -> None:
    for number, status in enumerate((200, 486)):
        pbx.receive(request(cseq=number + 1), source=(PBX, 5060))
        tells_all.ksr_request_route(None)
        if status == 200:
            reply(pbx, tells_all, status)
        else:
            fail(pbx, tells_all, status)
    start = f"carrier=203.0.113.5:5060 {OF_THE_CALL}"
    assert ended(pbx) == [
        ("info", f"trunk=berlin outcome=call-answered {start} status=200 reason=So attempts=1"),
        ("info", f"trunk=berlin outcome=call-ended {start} status=486 reason=No attempts=1"),
    ]


def test_what_is_no_call_is_not_counted(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    send(request("MESSAGE"))
    fail(pbx, routes, 503)
    in_dialog(pbx)
    send(marks.request("INVITE"))
    fail(pbx, routes, 503)
    assert (ended(pbx), counted()) == ([], {})


def test_preemptive_responses_are_counted(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    for nonce, accepts in (("n1", False), ("n1", True), ("n2", False)):
        send(request())
        if not accepts:
            challenge(pbx, routes, CHALLENGE.replace("n1", nonce))
        reply(pbx, routes, 200)
    numbers = counts.ENTRIES["berlin"]
    assert (numbers[counts.ACCEPTED], numbers[counts.TURNED_DOWN]) == (1, 1)
    in_dialog(pbx)
    for accepts in (True, False):  # in a dialog, few of the replies are heard
        send(marks.request("INVITE", uri=f"sip:callee@{pbx.world.carrier}"))
        assert "n2" in (pbx.relayed[-1].message.get("Proxy-Authorization") or "")
        reply(pbx, routes, 200) if accepts else challenge(pbx, routes, CHALLENGE.replace("n1", "n3"))
    assert (numbers[counts.ACCEPTED], numbers[counts.TURNED_DOWN]) == (1, 1)


def test_strangers_are_all_counted_and_only_some_are_told(pbx: MockKSR, send: Send) -> None:
    for _ in range(calls.MOST_TURNED_AWAY + 5):
        send(request(), source="198.51.100.66")
        send(request("OPTIONS", uri="sip:1@x.test"), source="198.51.100.66")
    lines = ended(pbx)
    assert len(lines) == calls.MOST_TURNED_AWAY
    assert lines[0][1].endswith("status=403 reason=Forbidden attempts=0")
    assert counted("") == {"rejected": calls.MOST_TURNED_AWAY + 5}


def test_the_minutes_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bound, now = calls._Bound(), [0.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    seen = []
    for now[0] in (0.0, 59.9, 60.0):
        seen.append([bound.has_room() for _ in range(calls.MOST_TURNED_AWAY)])
    assert [all(each) for each in seen] == [True, False, True]


def test_no_password_of_a_uri_is_told(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request(caller='"A" <sip:alice:hush@pbx.test>', headers="X-Trunk: berlin\r\n"))
    fail(pbx, routes, 500)
    [(_, line)] = ended(pbx)
    assert "from=sip:alice@pbx.test " in line
    assert "hush" not in line


def test_the_last_failure_of_a_trunk_is_noted(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    for status in (486, 500):
        send(request())
        fail(pbx, routes, status)
    [(table, trunk, text)] = [args for args in pbx.called("htable.sht_sets") if args[0] == "failures"]
    assert (table, trunk) == ("failures", "berlin")
    assert text.endswith(',500,"No"]')
