"""The rules that pick the trunks of a new request, over rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from kemi.trunks.selection import Asked, Candidates, candidates, in_order, open_to, usable, usable_or_first
from kemi.trunks.trunk import Policy, Trunk

ROWS = [  # l_uuid, l_username, l_domain, r_domain
    ("berlin", "alice", "pbx.test", "carrier.test"),
    ("hamburg", "alice", "pbx.test", "carrier.test"),
    ("roaming", "alice", "", "roaming.test"),
    ("default", "", "", ""),
    ("broken", "carol", "pbx.test", "broken.test"),
]


def trunk(uuid: str) -> Trunk:
    return Trunk(uuid, fault="it is broken" if uuid == "broken" else "")


@dataclass
class Rows:
    """What TrunkStore does, on a list."""

    def by_name(self, uuid: str) -> Candidates:
        return tuple(trunk(row[0]) for row in ROWS if row[0] == uuid)

    def by_caller(self, user: str, domain: str) -> Candidates:
        return tuple(trunk(row[0]) for row in ROWS if row[1:3] == (user, domain))

    def by_dialled_domain(self, domain: str) -> Candidates:
        return tuple(trunk(row[0]) for row in ROWS if row[3] == domain)


ASKED = {
    "X-Trunk": (Asked("hamburg", "sip:alice@pbx.test", "sip:1@roaming.test"), ["hamburg"]),
    "X-Trunk with several": (Asked("roaming , hamburg,none,hamburg", "", "sip:1@x"), ["roaming", "hamburg"]),
    "X-Trunk with one that can be used": (Asked("broken,hamburg", "", "sip:1@x"), ["hamburg"]),
    "X-Trunk of no row": (Asked("none", "sip:alice@pbx.test", "sip:1@roaming.test"), []),
    "X-Trunk of a row that cannot be used": (Asked("broken", "sip:alice@pbx.test", "sip:1@x"), ["broken"]),
    "a caller whose row cannot be used": (Asked("", "sip:carol@pbx.test", "sip:1@carrier.test"), ["broken"]),
    "a dialled domain whose row cannot be used": (Asked("", "sip:x@y", "sip:1@broken.test"), ["broken"]),
    "caller and domain": (Asked("", "sip:alice@pbx.test:5070;x=y", "sip:1@roaming.test"), ["berlin", "hamburg"]),
    "caller with a password": (Asked("", "sip:alice:pw@pbx.test", "sip:1@x"), ["berlin", "hamburg"]),
    "caller, any domain": (Asked("", "sip:alice@elsewhere.test", "sip:1@carrier.test"), ["roaming"]),
    "a caller's number": (Asked("", "tel:alice;phone-context=x", "sip:1@carrier.test"), ["roaming"]),
    "dialled domain": (Asked("", "sip:bob@pbx.test", "sip:1@carrier.test;transport=udp"), ["berlin", "hamburg"]),
    "the default": (Asked("", "sip:bob@pbx.test", "sip:1@elsewhere.test"), ["default"]),
    "a tel URI has no domain": (Asked("", "sip:bob@pbx.test", "tel:+49301"), ["default"]),
    "an empty value matches no empty column": (Asked("", "sip:pbx.test", "sip:1@"), ["default"]),
}


@pytest.mark.parametrize(("asked", "uuids"), ASKED.values(), ids=ASKED)
def test_all_trunks_of_the_first_rule_that_finds_a_row_are_candidates(asked: Asked, uuids: list[str]) -> None:
    assert [trunk.uuid for trunk in candidates(Rows(), asked, "default")] == uuids


@pytest.mark.parametrize("default", ["", "none"])
def test_without_a_default_there_may_be_none(default: str) -> None:
    assert candidates(Rows(), Asked("", "sip:bob@pbx.test", "sip:1@elsewhere.test"), default) == ()


BAD, GOOD = Trunk("bad", fault="it is"), Trunk("good")
FOUND = {
    (): (),
    (GOOD, GOOD): (GOOD, GOOD),
    (BAD, GOOD): (GOOD,),
    (BAD, Trunk("worse", fault="it is")): (BAD,),
    (BAD, *(GOOD,) * 20): (GOOD,) * 16,
}


@pytest.mark.parametrize(("rows", "candidates"), FOUND.items(), ids=str)
def test_one_that_cannot_be_used_is_a_candidate_where_there_is_no_other(
    rows: Candidates, candidates: Candidates
) -> None:
    assert usable_or_first(iter(rows)) == candidates


def row(uuid: str, **policy: Any) -> Trunk:
    return Trunk(uuid, policy=Policy()._replace(**policy))


def test_the_lower_priority_is_tried_first() -> None:
    found = (row("a", priority=2), row("b"), row("c", priority=1))
    assert [trunk.uuid for trunk in in_order(found, lambda most: 0)] == ["b", "c", "a"]
    assert in_order(found[:1], lambda most: 1 // 0) == found[:1]


def drawing(number: int) -> Callable[[int], int]:
    return lambda most: number % most


def test_of_the_same_priority_each_is_first_as_often_as_its_weight_says() -> None:
    found = (row("a", weight=1), row("b", weight=3), row("c", weight=0))
    ordered = [in_order(found, drawing(number)) for number in range(4)]
    assert [trunks[0].uuid for trunks in ordered] == ["a", "b", "b", "b"]
    assert {len(trunks) for trunks in ordered} == {3}


def test_a_source_tag_keeps_others_out() -> None:
    found = (row("a", source_tag="pbx"), row("b", source_tag="other"), row("c"))
    assert [trunk.uuid for trunk in open_to(found, "pbx")] == ["a", "c"]
    assert [trunk.uuid for trunk in open_to(found, "")] == ["c"]


def test_a_trunk_that_is_not_enabled_takes_no_new_request() -> None:
    assert [trunk.uuid for trunk in usable((row("a", enabled=0), row("b"), trunk("broken")))] == ["b"]
