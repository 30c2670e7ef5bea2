"""Calls that hold a place of a trunk with a limit: what is noted of them, and when one of before is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kemi.dialog import nat
from kemi.dialog.mark import LONGEST_LIFE
from kemi.health import journal
from kemi.health.held import (
    AGAIN,
    EVERY,
    FIRST_WITHIN,
    MOST_AT_ONCE,
    MOST_MISSED,
    Call,
    Held,
    Inherited,
    begun,
    ended,
    routes_to_callee,
)
from kemi.health.journal import Journal
from kemi.trunks.hops import Target

NOW, TODAY, PATIENCE = 1000.0, 1_800_000_000, 4.0
CALL = Call("d1", "t", TODAY, "c1", "<sip:100@pbx.test>;tag=a", "<sip:1@x.test>;tag=b", "<sip:100@192.0.2.10:5080>")


def call(dialog: str = "d1", **changes: str | int) -> Call:
    return CALL._replace(dialog=dialog, **changes)  # type: ignore[arg-type]


def inherited(*calls: Call, today: float = TODAY) -> Inherited:
    """Calls of before, whose callers are asked as late as may be."""
    return Inherited(calls, patience=PATIENCE, uniform=lambda _, high: high, now=NOW, today=today)


def test_calls_are_up_from_their_answer_to_their_bye() -> None:
    held = Held([begun(call()), begun(call("d2")), ended("d1"), ended("d3")])
    assert (held.calls(TODAY), held.faults) == ([call("d2")], 0)
    assert held.note(begun(call("d1"))) == ""
    assert held.note(ended("d2")) == "d2"
    assert held.calls(TODAY) == [call("d1")]


def test_a_call_is_up_no_longer_than_its_mark() -> None:
    held = Held([begun(call())])
    assert held.calls(TODAY + LONGEST_LIFE - 1) == [call()]
    assert (held.calls(TODAY + LONGEST_LIFE), held.lines) == ([], {})


@pytest.mark.parametrize("line", [
    "", "x", "[]", "[1]", "{}", "null", "[2, \"d\"]", "[1, 7]", begun(call())[:40], "\ufffd", "[1, \"d\", \"t\"]",
    json.dumps([1, *call(since="now")]), json.dumps([1, *call(contact=7)]), begun(call(pbx="a\r\nX: 1")),
])  # fmt: skip
def test_a_line_that_cannot_be_read_is_counted_and_costs_no_other(line: str) -> None:
    held = Held([begun(call()), line, begun(call("d2"))])
    assert (held.calls(TODAY), held.faults) == ([call(), call("d2")], 1)


def test_an_inherited_call_is_over_with_its_bye() -> None:
    found = inherited(call(), call("d2"), call("d3", trunk="other"))
    assert found.counts() == {"t": 2, "other": 1}
    assert (found.over("d1"), found.over("d1"), found.over("d9")) == (True, False, False)
    assert found.counts() == {"t": 1, "other": 1}


def test_its_caller_is_asked_soon_and_then_every_now_and_then() -> None:
    found = inherited(call())
    assert (found.due(NOW + FIRST_WITHIN - 1), found.due(NOW + FIRST_WITHIN)) == ([], [call()])
    found.asked("d1", NOW)
    assert (found.due(NOW + 100), found.under_way()) == ([], [call()])
    assert not found.heard("d1", 200, NOW)
    assert (found.due(NOW + EVERY - 1), found.due(NOW + EVERY)) == ([], [call()])


def test_it_is_over_when_the_caller_does_not_know_it() -> None:
    found = inherited(call())
    found.asked("d1", NOW)
    assert found.heard("d1", 481, NOW)


@pytest.mark.parametrize("status", [200, 404, 405, 486, 500])
def test_any_other_word_shows_that_somebody_is_there(status: int) -> None:
    found = inherited(call())
    found.asked("d1", NOW)
    assert not found.heard("d1", status, NOW)


def test_it_is_over_when_the_caller_says_nothing_several_times_in_a_row() -> None:
    found = inherited(call())
    now = NOW
    for missed in range(1, MOST_MISSED):
        found.asked("d1", now)
        assert (found.is_late("d1", now + PATIENCE - 1), found.is_late("d1", now + PATIENCE)) == (False, True)
        assert not (found.missed("d1", now) if missed % 2 else found.heard("d1", 408, now))
        assert (found.due(now + AGAIN - 1), found.due(now + AGAIN)) == ([], [call()])
        now += AGAIN
    found.asked("d1", now)
    assert found.missed("d1", now)


def test_a_word_of_the_caller_is_a_new_beginning() -> None:
    found = inherited(call())
    for _ in range(MOST_MISSED - 1):
        assert not found.missed("d1", NOW)
    found.heard("d1", 200, NOW)
    assert not found.missed("d1", NOW)


def test_it_is_over_after_a_day() -> None:
    found = inherited(call(since=TODAY - 1000))
    assert found.too_old(NOW + LONGEST_LIFE - 1001) == []
    assert found.too_old(NOW + LONGEST_LIFE - 1000) == ["d1"]


def test_no_more_callers_than_so_many_are_asked_at_once() -> None:
    found = inherited(*(call(f"d{number}") for number in range(MOST_AT_ONCE + 5)))
    assert len(found.due(NOW + FIRST_WITHIN)) == MOST_AT_ONCE


def test_the_question_is_the_carriers_and_takes_no_number() -> None:
    asked = call().question("sip:192.0.2.10:5080")
    assert (asked.method, asked.uri, asked.sender) == ("OPTIONS", "sip:100@192.0.2.10:5080", CALL.carrier)
    assert asked.fields == f"To: {CALL.pbx}\r\nCall-ID: c1\r\nCSeq: 0 OPTIONS\r\nMax-Forwards: 70\r\n"
    routed = call(routes="<sip:proxy.test;lr>, <sip:192.0.2.11;lr>")
    assert routed.question("sip:192.0.2.12").fields.endswith("Route: <sip:proxy.test;lr>, <sip:192.0.2.11;lr>\r\n")


@pytest.mark.parametrize(("contact", "routes", "target"), [
    ("<sip:100@192.0.2.10:5080;transport=tcp>;q=1", "", Target("192.0.2.10", 5080, "tcp")),
    ("sip:100@192.0.2.10;q=1", "", Target("192.0.2.10")),
    ("<sip:100@192.0.2.10>", "<sip:proxy.test;lr>, <sip:192.0.2.11;lr>", Target("proxy.test")),
    ("<sip:100@203.0.113.9:20001;tn=10.0.0.2~5060~>", "", Target("203.0.113.9", 20001)),
    ("", "", Target()),
])  # fmt: skip
def test_it_goes_where_the_callers_requests_go(contact: str, routes: str, target: Target) -> None:
    one = call(contact=contact, routes=routes)
    assert one.target == target
    assert nat.MENDED not in one.uri
    assert inherited(one).targets() == ({target} if target.is_name else set())


@pytest.mark.parametrize(("recorded", "routes"), [
    ("", ""),
    ("<sip:192.0.2.1;lr;ta=x>, <sip:carrier.test;lr>", ""),
    ("<sip:near.test;lr>,<sip:b.test;lr>, <sip:192.0.2.1;lr;ta=x>", "<sip:b.test;lr>, <sip:near.test;lr>"),
    ("<sip:somebody.test;lr>", ""),  # we are not in it: nobody knows who is on which side
])  # fmt: skip
def test_a_callee_is_reached_over_the_proxies_on_its_side_of_us(recorded: str, routes: str) -> None:
    assert routes_to_callee(recorded) == routes


def test_lines_are_added_and_old_ones_left_behind_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROOM", 2)
    file = tmp_path / "calls"
    kept = Journal(file)
    assert kept.read() == []
    kept.append(["a", "b"])
    kept.append(["-a", "c"])
    assert (file.read_text(), kept.is_long(of_use=1)) == ("a\nb\n-a\nc\n", False)
    kept.append(["-c"])
    assert kept.is_long(of_use=1)
    kept.write(["b"])
    assert (file.read_text(), kept.is_long(of_use=1)) == ("b\n", False)
    assert (Journal(file).read(), sorted(tmp_path.iterdir())) == (["b"], [file])


def test_octets_that_are_no_text_are_lines_too(tmp_path: Path) -> None:
    (tmp_path / "calls").write_bytes(b"a\n\xff\xfe\nb\n")
    assert Journal(tmp_path / "calls").read() == ["a", "\ufffd\ufffd", "b"]
