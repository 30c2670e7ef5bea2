"""Where a next hop leads: the parts of a URI that decide, and the order of what they resolve to."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kemi import address
from kemi.trunks.hops import Hop, Target, from_text, in_order, literal, target_of, to_text

TARGETS = {
    ("sip:sbc.carrier.test", ""): Target("sbc.carrier.test"),
    ("sip:SBC.Carrier.test.", ""): Target("sbc.carrier.test"),
    ("sip:sbc.carrier.test:5070", ""): Target("sbc.carrier.test", 5070),
    ("sip:user@sbc.carrier.test;transport=TCP;lr", ""): Target("sbc.carrier.test", 0, "tcp"),
    ("sips:sbc.carrier.test", ""): Target("sbc.carrier.test", 0, "tls", is_sips=True),
    ("SIPS:sbc.carrier.test:5061", ""): Target("sbc.carrier.test", 5061, "tls"),
    ("sips:192.0.2.7", ""): Target("192.0.2.7", 0, "tls"),
    ("sips:sbc.carrier.test;transport=tcp", ""): Target("sbc.carrier.test", 0, "tls"),
    ("sip:sbc.carrier.test;maddr=192.0.2.7", ""): Target("192.0.2.7"),
    ("sip:192.0.2.7:5060?X=y", ""): Target("192.0.2.7", 5060),
    ("sip:[2001:DB8:0::9]:5070", ""): Target("2001:db8::9", 5070),
    ("", "carrier.test"): Target("carrier.test"),
    ("", "carrier.test:5070"): Target("carrier.test", 5070),
    ("sip:sbc.carrier.test", "carrier.test"): Target("sbc.carrier.test"),
    ("", ""): Target(),
    ("tel:+4930123", ""): Target(),
    ("sip:sbc.carrier.test;transport=pigeon", ""): Target(),
    ("sips:sbc.carrier.test;transport=pigeon", ""): Target("sbc.carrier.test", 0, "tls"),
}


@pytest.mark.parametrize(("row", "target"), TARGETS.items(), ids=map(str, TARGETS))
def test_the_target_of_a_row(row: tuple[str, str], target: Target) -> None:
    assert target_of(*row) == target


def test_only_a_name_has_to_be_resolved() -> None:
    targets = (Target("sbc.carrier.test"), Target("192.0.2.7"), Target("2001:db8::9"), Target())
    assert [target.is_name for target in targets] == [True, False, False, False]


@pytest.mark.parametrize(
    "target",
    [Target("a.test"), Target("a.test", 5070), Target("a.test", 0, "tls"), Target("a.test", 0, "tls", is_sips=True)],
)
def test_a_key_gives_its_target_back(target: Target) -> None:
    assert Target.of_key(target.key) == target


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        (Target("192.0.2.7"), "sip:192.0.2.7:5060;transport=udp"),
        (Target("192.0.2.7", 5070, "tcp"), "sip:192.0.2.7:5070;transport=tcp"),
        (Target("192.0.2.7", 0, "tls"), "sip:192.0.2.7:5061;transport=tls"),
        (Target("2001:db8::9"), "sip:[2001:db8::9]:5060;transport=udp"),
    ],
)
def test_an_address_is_its_own_hop(target: Target, uri: str) -> None:
    assert [hop.uri for hop in literal(target)] == [uri]


def test_stored_hops_are_read_as_they_were() -> None:
    hops = (Hop("192.0.2.7", 5060, "udp", "a.test", 10, 20), Hop("2001:db8::9", 5061, "tls", "b.test"))
    assert from_text(to_text(hops)) == hops


def hop(name: str, priority: int, weight: int, address: str = "192.0.2.1") -> Hop:
    return Hop(address, 5060, "udp", name, priority, weight)


def firsts(*hops: Hop, calls: int = 1000) -> Counter[str]:
    """How many calls go to each host first."""
    chance = random.Random(1)
    return Counter(in_order(hops, chance.randrange)[0].name for _ in range(calls))


def test_the_lowest_priority_number_comes_first_and_nothing_is_lost() -> None:
    hops = (hop("a", 1, 0), hop("b", 2, 100), hop("c", 2, 0))
    ordered = in_order(hops, random.Random(1).randrange)
    assert (ordered[0].name, set(ordered)) == ("a", set(hops))


def test_calls_are_shared_by_weight() -> None:
    shared = firsts(hop("a", 1, 30), hop("b", 1, 10))
    assert 700 < shared["a"] < 800  # 750 are its share; the standard deviation is 14


def test_without_weights_calls_are_shared_alike() -> None:
    assert all(430 < share < 570 for share in firsts(hop("a", 1, 0), hop("b", 1, 0)).values())


def test_a_host_without_weight_beside_one_with_weight_comes_last() -> None:
    assert firsts(hop("a", 1, 0), hop("b", 1, 10)) == {"b": 1000}


def test_addresses_of_one_host_stay_together_and_in_their_order() -> None:
    hops = (hop("a", 1, 1, "192.0.2.2"), hop("a", 1, 1, "192.0.2.1"), hop("b", 1, 1, "192.0.2.3"))
    seen = {tuple(each.address for each in in_order(hops, random.Random(seed).randrange)) for seed in range(20)}
    assert seen == {("192.0.2.2", "192.0.2.1", "192.0.2.3"), ("192.0.2.3", "192.0.2.2", "192.0.2.1")}


def test_a_host_that_is_longer_than_a_name_can_be_is_no_target() -> None:
    assert target_of(f"sip:{'x' * 255}", "").host == "x" * 255
    assert target_of(f"sip:{'x' * 256}", "") == target_of(f"sip:a;maddr={'x' * 256}", "") == Target()


def test_only_what_may_be_an_address_is_kept() -> None:
    before = address._normalised.cache_info().misses
    assert address.normalised("X" * 55_000) == "x" * 55_000
    assert address.normalised("[" + "X" * 55_000 + "]") == "[" + "x" * 55_000 + "]"
    assert address._normalised.cache_info().misses == before
