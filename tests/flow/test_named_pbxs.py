"""PBXs that write a name into their Contact: it is asked for before anything goes there, and Kamailio is told of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kemi.names import telling
from kemi.names.telling import KNOWN_FOR, Telling
from kemi.sip import wanted
from kemi.trunks.hops import Hop, Target
from tests.flow.scene import Send, request
from tests.ksr.mock import MockKSR

ONE, OTHER = Target("one.test", 5060), Target("other.test")


@pytest.fixture(autouse=True)
def no_name_was_asked_for() -> Iterator[None]:
    wanted._NEXT.clear()
    yield
    wanted._NEXT.clear()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr(telling, "monotonic", lambda: time[0])
    return time


def asked_for(pbx: MockKSR) -> list[object]:
    return [name for place, name in pbx.tables.content("wanted_names").items() if place != "last"]


@pytest.mark.parametrize(("value", "names"), [
    ("<sip:1@PBX.test:5070>", ["pbx.test:5070;"]), ("<sip:1@192.0.2.7>", []), ("<sip:1@7f3a.invalid>", []),
    ('"A <B>" <sip:1@pbx.test>', ["pbx.test:0;"]), ("<sip:1@pbx.test;transport=ws>", []),
    ("<sip:1@p\0bx.test>", []), ("<tel:1>", []),
    (f"<sip:1@pbx.test;x={'y' * 300}>", []),
])  # fmt: skip
def test_a_name_in_a_contact_is_asked_for_once(pbx: MockKSR, send: Send, value: str, names: list[str]) -> None:
    for call_id in ("call-1", "call-2"):
        send(request(headers=f"Contact: {value}\r\n", call_id=call_id))
        assert (asked_for(pbx), len(pbx.relayed)) == (names, 1)


def test_a_worker_remembers_some_names_it_has_asked_for(monkeypatch: pytest.MonkeyPatch, pbx: MockKSR) -> None:
    monkeypatch.setattr(wanted, "_MOST_NEXT", 2)
    pbx.receive(request())
    for name in "abca":
        wanted.want_name_in(f"<sip:{name}.test>")
    assert sorted(map(str, asked_for(pbx))) == ["a.test:0;", "a.test:0;", "b.test:0;", "c.test:0;"]


def test_kamailio_is_told_one_address_of_a_name(commands: list[tuple[str, list[str]]], now: list[float]) -> None:
    told = Telling()
    hops = {ONE: hops_of("one.test", "192.0.2.1", "192.0.2.2"), OTHER: hops_of("other.test", "2001:db8::1")}
    for _ in range(2):
        told.tick(hops, hops)
    assert sorted(commands) == [
        ("dns.add_a", ["one.test", KNOWN_FOR, "192.0.2.1", 0]),
        ("dns.add_aaaa", ["other.test", KNOWN_FOR, "2001:db8::1", 0]),
    ]
    commands.clear()
    told.tick(hops, {ONE: hops_of("one.test", "192.0.2.2", "192.0.2.1"), OTHER: hops_of("other.test", "192.0.2.3")})
    assert commands == [("dns.delete_aaaa", ["other.test"]), ("dns.add_a", ["other.test", KNOWN_FOR, "192.0.2.3", 0])]


def test_nothing_is_added_over_what_kamailio_has(commands: list[tuple[str, list[str]]], now: list[float]) -> None:
    told, hops = Telling(), {ONE: hops_of("one.test", "192.0.2.1")}
    add = ("dns.add_a", ["one.test", KNOWN_FOR, "192.0.2.1", 0])
    told.tick(hops, hops)
    now[0] += KNOWN_FOR
    told.tick(hops, hops)
    told.tick([], hops)  # nobody wants it any more
    told.tick(hops, hops)
    forget = ("dns.delete_a", ["one.test"])
    assert commands == [add, forget, add, forget, add]


def hops_of(name: str, *addresses: str) -> tuple[Hop, ...]:
    return tuple(Hop(address, 5060, "udp", name) for address in addresses)
