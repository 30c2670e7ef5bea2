"""From a target to its hops (RFC 3263), with a name server that is a table."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kemi.names.nameserver import NoAnswerError, Records
from kemi.names.resolver import MOST_HOPS, Answer, Resolver
from kemi.trunks.hops import Hop, Target

Zone = dict[tuple[str, str], Any]


class Table:
    """Answers from a table: (name, kind) -> records; None: nobody answers."""

    def __init__(self, zone: Zone, ttl: int = 300) -> None:
        self.zone = zone
        self.ttl = ttl
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, name: str, kind: str) -> Records:
        self.asked.append((name, kind))
        records = self.zone.get((name, kind), ())
        if records is None:
            raise NoAnswerError("no answer")
        return Records(tuple(records), self.ttl) if records else Records()


def a(*addresses: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(address=address) for address in addresses]


def srv(*records: tuple[int, int, int, str]) -> list[SimpleNamespace]:
    names = ("priority", "weight", "port", "target")
    return [SimpleNamespace(**dict(zip(names, record, strict=True))) for record in records]


def naptr(*records: tuple[int, int, bytes, bytes, str]) -> list[SimpleNamespace]:
    names = ("order", "preference", "flags", "service", "replacement")
    return [SimpleNamespace(**dict(zip(names, record, strict=True))) for record in records]


def resolve(
    zone: Zone, target: Target, transports: tuple[str, ...] = ("udp", "tcp"), kinds: tuple[str, ...] = ("A",)
) -> tuple[Answer, list[tuple[str, str]]]:
    table = Table(zone)
    return asyncio.run(Resolver(table, dict.fromkeys(transports, kinds)).resolve(target)), table.asked


def hops(zone: Zone, target: Target, *transports: str) -> tuple[Hop, ...]:
    return resolve(zone, target, transports or ("udp", "tcp"))[0].hops


HOST: Zone = {("h.test", "A"): a("192.0.2.1")}
SRV: Zone = {**HOST, ("_sip._udp.c.test", "SRV"): srv((10, 5, 5070, "H.test."))}


def test_a_port_asks_for_addresses_alone() -> None:
    answer, asked = resolve(HOST, Target("h.test", 5070))
    assert (answer.hops, asked) == ((Hop("192.0.2.1", 5070, "udp", "h.test"),), [("h.test", "A")])


def test_a_transport_asks_for_its_srv_alone() -> None:
    zone = {("_sip._tcp.c.test", "SRV"): srv((10, 5, 5070, "h.test.")), **SRV}
    answer, asked = resolve(zone, Target("c.test", 0, "tcp"))
    assert answer.hops == (Hop("192.0.2.1", 5070, "tcp", "h.test", 10, 5),)
    assert asked == [("_sip._tcp.c.test", "SRV"), ("h.test", "A")]


def test_without_either_naptr_comes_first_then_srv_then_the_name_itself() -> None:
    _, asked = resolve(HOST, Target("h.test"))
    assert asked == [
        ("h.test", "NAPTR"),
        ("_sip._udp.h.test", "SRV"),
        ("_sip._tcp.h.test", "SRV"),
        ("h.test", "A"),
    ]


def test_of_very_many_addresses_the_first_are_kept() -> None:
    many = [f"192.0.{high}.{low}" for high in range(2) for low in range(200)]
    answer, _ = resolve({("sbc.test", "A"): a(*many)}, Target("sbc.test", 5060))
    assert [hop.address for hop in answer.hops] == many[:MOST_HOPS]


def test_without_srv_it_is_the_default_port() -> None:
    assert hops(HOST, Target("h.test")) == (Hop("192.0.2.1", 5060, "udp", "h.test"),)
    assert hops(HOST, Target("h.test", 0, "tls"), "tls") == (Hop("192.0.2.1", 5061, "tls", "h.test"),)


def test_naptr_chooses_by_order_then_preference_what_kamailio_can_send_by() -> None:
    zone = {
        ("c.test", "NAPTR"): naptr(
            (10, 10, b"s", b"SIPS+D2T", "_sips._tcp.c.test."),
            (20, 10, b"S", b"sip+d2t", "_sip._tcp.c.test."),
            (20, 5, b"u", b"SIP+D2U", "_sip._udp.c.test."),
            (30, 5, b"s", b"SIP+D2U", "_sip._udp.c.test."),
        ),
        ("_sip._tcp.c.test", "SRV"): srv((1, 1, 5080, "h.test.")),
        **SRV,
    }
    assert [hop.transport for hop in hops(zone, Target("c.test"), "udp", "tcp")] == ["tcp"]
    assert [hop.transport for hop in hops(zone, Target("c.test"), "udp")] == ["udp"]


def test_a_sips_uri_takes_the_naptr_of_tls_alone_then_srv_of_tls() -> None:
    """RFC 3263 4.1. One that says `;transport=` asks for no NAPTR."""
    srv_elsewhere = {("_sips._tcp.far.test", "SRV"): srv((1, 1, 5071, "h.test.")), **HOST}
    zone = {
        ("c.test", "NAPTR"): naptr(
            (1, 1, b"s", b"SIP+D2T", "_sip._tcp.c.test."),
            (2, 1, b"s", b"SIP+D2U", "_sip._udp.c.test."),
            (3, 1, b"s", b"SIPS+D2T", "_sips._tcp.far.test."),
        ),
        ("_sips._tcp.c.test", "SRV"): srv((1, 1, 5081, "h.test.")),
        ("_sip._tcp.c.test", "SRV"): srv((1, 1, 5080, "h.test.")),
        **srv_elsewhere,
        **SRV,
    }
    sips, said = Target("c.test", 0, "tls", is_sips=True), Target("c.test", 0, "tls")
    both = ("udp", "tcp", "tls")
    assert [(hop.transport, hop.port) for hop in hops(zone, sips, *both)] == [("tls", 5071)]
    assert [(hop.transport, hop.port) for hop in hops(zone, said, *both)] == [("tls", 5081)]
    zone["c.test", "NAPTR"] = zone["c.test", "NAPTR"][:2]
    assert [(hop.transport, hop.port) for hop in hops(zone, sips, *both)] == [("tls", 5081)]
    assert hops(zone, sips, "udp", "tcp") == ()


def test_a_naptr_without_a_host_behind_it_is_passed_over() -> None:
    zone = {("c.test", "NAPTR"): naptr((1, 1, b"s", b"SIP+D2T", "_sip._tcp.gone.test.")), **SRV}
    assert [hop.port for hop in hops(zone, Target("c.test"))] == [5070]


def test_srv_comes_by_priority_and_by_weight() -> None:
    records = srv((20, 90, 5060, "c."), (10, 1, 5060, "b."), (10, 9, 5060, "a."))
    zone: Zone = {("_sip._udp.c.test", "SRV"): records, **{(name, "A"): a("192.0.2.1") for name in "abc"}}
    assert [hop.name for hop in hops(zone, Target("c.test", 0, "udp"))] == ["a", "b", "c"]


def test_a_target_of_a_dot_is_not_offered() -> None:
    zone: Zone = {("_sip._udp.h.test", "SRV"): srv((1, 1, 0, ".")), **HOST}
    assert [hop.port for hop in hops(zone, Target("h.test", 0, "udp"))] == [5060]


def test_an_address_where_srv_needs_a_host_is_taken() -> None:
    zone: Zone = {("_sip._udp.c.test", "SRV"): srv((1, 1, 5070, "192.0.2.9."))}
    assert [hop.address for hop in hops(zone, Target("c.test", 0, "udp"))] == ["192.0.2.9"]


def test_one_host_of_two_that_has_no_address_is_left_out() -> None:
    zone = {("_sip._udp.c.test", "SRV"): srv((1, 1, 5070, "gone.test."), (2, 1, 5071, "h.test.")), **HOST}
    assert [hop.port for hop in hops(zone, Target("c.test", 0, "udp"))] == [5071]


def test_both_kinds_of_addresses_if_both_can_be_sent_to() -> None:
    zone = {("h.test", "AAAA"): a("2001:db8::1"), **HOST}
    answer, _ = resolve(zone, Target("h.test", 5060), kinds=("A", "AAAA"))
    assert [hop.address for hop in answer.hops] == ["192.0.2.1", "2001:db8::1"]


def test_each_transport_has_the_kinds_of_addresses_of_its_own_sockets() -> None:
    zone = {("h.test", "AAAA"): a("2001:db8::1"), **HOST}
    resolver = Resolver(Table(zone), {"udp": ("A",), "tcp": ("AAAA",)})
    for transport, address in (("udp", "192.0.2.1"), ("tcp", "2001:db8::1")):
        answer = asyncio.run(resolver.resolve(Target("h.test", 5060, transport)))
        assert [hop.address for hop in answer.hops] == [address]


@pytest.mark.parametrize(("records", "kinds", "fault"), [
    ({("h.test", "AAAA"): a("2001:db8::1")}, ("A",),
     "it has IPv6 addresses alone, and TRUNKAUTH_LISTEN no IPv6 socket with udp"),
    (HOST, ("AAAA",), "it has IPv4 addresses alone, and TRUNKAUTH_LISTEN no IPv4 socket with udp"),
    ({("_sip._udp.h.test", "SRV"): srv((1, 1, 5070, "six.test.")), ("six.test", "AAAA"): a("2001:db8::1")}, ("A",),
     "it has IPv6 addresses alone, and TRUNKAUTH_LISTEN no IPv6 socket with udp"),
    ({}, ("A",), "it does not exist"),
    (HOST, ("A",), ""),
])  # fmt: skip
def test_an_answer_says_why_it_has_no_hops(records: Zone, kinds: tuple[str, ...], fault: str) -> None:
    assert resolve(records, Target("h.test"), ("udp",), kinds)[0].fault == fault


def test_a_transport_that_kamailio_does_not_listen_by_is_not_asked_for() -> None:
    answer, asked = resolve(HOST, Target("h.test", 0, "tls"), ("udp",))
    assert (answer.hops, asked, answer.fault) == ((), [], "no socket of TRUNKAUTH_LISTEN has tls")


def test_a_naptr_of_a_regular_expression_is_none_of_sip() -> None:
    zone = {("c.test", "NAPTR"): naptr((1, 1, b"s", b"SIP+D2U", ".")), ("", "SRV"): srv((1, 1, 5, "h.test.")), **SRV}
    answer, asked = resolve(zone, Target("c.test"))
    assert [hop.port for hop in answer.hops] == [5070]
    assert ("", "SRV") not in asked


def test_without_udp_the_first_transport_is_the_default() -> None:
    assert [hop.transport for hop in hops(HOST, Target("h.test", 5060), "tcp")] == ["tcp"]


def test_a_name_that_does_not_exist_has_no_hops() -> None:
    assert hops({}, Target("nowhere.test")) == ()


@pytest.mark.parametrize("kind", [("c.test", "NAPTR"), ("_sip._udp.c.test", "SRV"), ("h.test", "A")])
def test_half_an_answer_is_none(kind: tuple[str, str]) -> None:
    """The name's own address is no way out: it may be another server's."""
    with pytest.raises(NoAnswerError):
        hops({**SRV, ("c.test", "A"): a("192.0.2.66"), kind: None}, Target("c.test"))


def test_it_holds_for_as_long_as_its_shortest_record() -> None:
    class Shorter(Table):
        async def __call__(self, name: str, kind: str) -> Records:
            records = await super().__call__(name, kind)
            return records._replace(ttl=0 if kind == "A" else 60)

    answer = asyncio.run(Resolver(Shorter(SRV), {"udp": ("A",)}).resolve(Target("c.test", 0, "udp")))
    assert answer.ttl == 1  # 0 would be asked for without a pause
