"""The rules that pick the trunks of a new request, over rows in memory."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kemi.trunks.selection import Asked, Candidates, candidates, usable_or_first
from kemi.trunks.trunk import Trunk

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
