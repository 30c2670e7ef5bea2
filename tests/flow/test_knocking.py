"""Knocks at places without TCP, over the mocked KSR: when, and what becomes of the place."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kemi.health import knocking
from kemi.health.knocking import EVERY, KEPT_FOR, MOST, PATIENCE, Knocking
from kemi.sip import large
from kemi.trunks.places import Place
from tests.flow.scene import request
from tests.ksr.mock import MockKSR


@pytest.fixture
def node(ksr: MockKSR, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Knocks, with a clock of their own."""
    found = SimpleNamespace(now=1000.0, knocking=Knocking(), knocks=[])
    monkeypatch.setattr(knocking, "monotonic", lambda: found.now)
    knock = knocking._knock

    def counted(there: Place) -> socket.socket | None:
        found.knocks.append(there)
        return knock(there)

    monkeypatch.setattr(knocking, "_knock", counted)
    ksr.receive(request())
    yield found
    found.knocking.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def carrier(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A port that is taken, and on which nobody listens yet."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as found:
        try:
            found.bind((request.param, 0))
        except OSError:
            pytest.skip(f"no {request.param} here")
        yield found


def place(carrier: socket.socket) -> Place:
    address, port = carrier.getsockname()[:2]
    return Place(address, port, "tcp")


def pass_time(node: SimpleNamespace, seconds: float) -> None:
    """Some time passes, and then there are two ticks."""
    node.now += seconds
    node.knocking.tick()
    node.knocking.tick()


def note(there: Place) -> None:
    """A call has met a place without TCP."""
    large.keep_without_tcp(there)
    large.have_knocked(there)


def test_a_place_that_takes_tcp_again_is_forgotten(node: SimpleNamespace, carrier: socket.socket) -> None:
    there = place(carrier)
    note(there)
    pass_time(node, 0)
    assert node.knocks == []
    pass_time(node, EVERY)
    assert (node.knocks, large.is_without_tcp(there)) == ([there], True)
    carrier.listen()
    pass_time(node, EVERY)
    assert (node.knocks, large.is_without_tcp(there)) == ([there] * 2, False)
    pass_time(node, EVERY)
    assert node.knocks == [there] * 2


def test_a_place_that_is_silent_is_left_in_time(
    node: SimpleNamespace, carrier: socket.socket, ksr: MockKSR, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(place(carrier))
    node.knocking.tick()
    monkeypatch.setattr(knocking, "_is_over", lambda _: False)
    pass_time(node, EVERY)
    kept = len(ksr.called("htable.sht_seti"))
    pass_time(node, PATIENCE)
    assert len(ksr.called("htable.sht_seti")) == kept + 1
    pass_time(node, EVERY)
    assert len(node.knocks) == 2


def test_nobody_knocks_for_ever(node: SimpleNamespace, carrier: socket.socket) -> None:
    note(place(carrier))
    pass_time(node, 0)
    pass_time(node, KEPT_FOR)
    assert node.knocks == []
    note(place(carrier))
    pass_time(node, 0)
    pass_time(node, EVERY)
    note(place(carrier))  # a call met it again
    pass_time(node, KEPT_FOR - 1)
    assert len(node.knocks) == 2


def test_what_is_no_place_is_passed_over(node: SimpleNamespace) -> None:
    for there in (Place("127.0.0.1", 0, "tcp"), Place("127.0.0.1", 99999, "tcp"), Place("sbc.test", 5060, "tcp")):
        note(there)
    pass_time(node, 0)
    pass_time(node, EVERY)
    assert node.knocks == []


def test_there_is_an_end_to_the_places(node: SimpleNamespace) -> None:
    for number in range(MOST + 1):
        note(Place("127.0.0.1", number + 1, "tcp"))
        node.knocking.tick()
    pass_time(node, EVERY)
    assert len(node.knocks) == MOST
