"""When a trunk is probed, and what counts as an answer."""

from __future__ import annotations

import pytest

from kemi.health.probes import FIRST_WITHIN, MOST_AT_ONCE, NO_NAME, SILENT, Probe, Probed, Probes, Verdict
from kemi.trunks.hops import Hop, Target

NOW = 1000.0
PATIENCE = 4.0
ONE, TWO = Hop("192.0.2.1", 5060, "udp"), Hop("192.0.2.2", 5060, "udp")


def trunk(uuid: str = "a", every: int = 10, domain: str = "a.test") -> Probed:
    return Probed(uuid, every, Target("192.0.2.1"), domain)


def probes(*trunks: Probed, at_once: bool = True) -> Probes:
    """Probes of these trunks; all due now, or as late as may be. An interval is never shortened or stretched."""
    made = Probes(PATIENCE, lambda low, high: (low if at_once else high) if low == 0 else (low + high) / 2)
    made.watch({one.uuid: one for one in trunks}, NOW)
    return made


def due(found: Probes, now: float) -> list[str]:
    return [one.uuid for one in found.due(now)]


def test_a_new_row_is_probed_soon_and_then_every_so_many_seconds() -> None:
    found = probes(trunk(every=60), trunk("b", every=2), at_once=False)
    assert due(found, NOW + 1.9) == []
    assert due(found, NOW + 2) == ["b"]
    assert due(found, NOW + FIRST_WITHIN) == ["b", "a"]  # the one that has waited longer comes first
    found.start("a", (ONE,), NOW + 5)
    found.heard("a", 200, 0, NOW + 6)
    assert "a" not in due(found, NOW + 64)
    assert "a" in due(found, NOW + 65)


def test_intervals_are_spread_so_that_trunks_do_not_keep_step() -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    found = Probes(PATIENCE, uniform)
    found.watch({"a": trunk(every=60)}, NOW)
    found.start("a", (ONE,), NOW)
    found.heard("a", 200, 0, NOW)
    assert bounds == [(0, FIRST_WITHIN), (0.9, 1.1)]
    assert (due(found, NOW + 65.9), due(found, NOW + 66.1)) == ([], ["a"])


def test_no_more_than_so_many_at_once() -> None:
    found = probes(*(trunk(str(number)) for number in range(MOST_AT_ONCE + 5)))
    first = due(found, NOW)
    assert len(first) == MOST_AT_ONCE
    for uuid in first:
        found.start(uuid, (ONE,), NOW)
    assert len(due(found, NOW)) == 5


def test_of_a_trunk_one_at_a_time() -> None:
    found = probes(trunk(every=1))
    found.start("a", (ONE,), NOW)
    assert due(found, NOW + 3) == []
    assert (found.is_late("a", NOW + 3.9), found.is_late("a", NOW + PATIENCE)) == (False, True)
    found.missed("a", SILENT, NOW + PATIENCE)
    assert due(found, NOW + PATIENCE) == ["a"]


@pytest.mark.parametrize("status", [200, 301, 401, 403, 404, 405, 407, 481, 486, 500, 502, 504, 600])
def test_whatever_is_answered_counts(status: int) -> None:
    found = probes(trunk())
    assert found.start("a", (ONE,), NOW) == Probe(trunk(), ONE)
    assert found.heard("a", status, 0, NOW) == Verdict(trunk())
    assert found.under_way() == []


@pytest.mark.parametrize("status", [408, 503])
def test_but_for_408_and_503(status: int) -> None:
    found = probes(trunk())
    found.start("a", (ONE,), NOW)
    assert found.heard("a", status, 30, NOW) == Verdict(trunk(), 1, f"{status} to OPTIONS", 30)


def test_probes_in_a_row_that_were_not_answered_are_counted() -> None:
    found = probes(trunk())
    for number in range(1, 5):
        found.start("a", (ONE,), NOW)
        assert found.missed("a", SILENT, NOW) == Verdict(trunk(), number, SILENT)
    found.start("a", (ONE,), NOW)
    assert found.heard("a", 404, 0, NOW) == Verdict(trunk())
    found.start("a", (ONE,), NOW)
    assert found.missed("a", SILENT, NOW) == Verdict(trunk(), 1, SILENT)


def test_a_probe_goes_over_all_hops_before_it_is_unanswered() -> None:
    found = probes(trunk())
    assert found.start("a", (ONE, TWO), NOW) == Probe(trunk(), ONE)
    assert found.missed("a", SILENT, NOW + 4) == Probe(trunk(), TWO)
    assert (found.is_late("a", NOW + 7), found.is_late("a", NOW + 8)) == (False, True)
    assert found.heard("a", 200, 0, NOW + 5) == Verdict(trunk())
    assert found.start("a", (ONE, TWO), NOW) == Probe(trunk(), ONE)
    found.heard("a", 503, 0, NOW)
    assert found.heard("a", 408, 0, NOW) == Verdict(trunk(), 1, "408 to OPTIONS")


def test_a_name_that_cannot_be_resolved_is_no_answer() -> None:
    found = probes(trunk())
    assert found.start("a", (), NOW) == Verdict(trunk(), 1, NO_NAME)
    assert (found.under_way(), due(found, NOW)) == ([], [])


def test_a_row_that_changes_is_probed_anew() -> None:
    found = probes(trunk(), trunk("b"))
    for uuid in "ab":
        found.start(uuid, (ONE,), NOW)
        found.missed(uuid, SILENT, NOW)
    changed = trunk(domain="other.test")
    found.watch({"a": changed, "b": trunk("b")}, NOW)
    assert due(found, NOW) == ["a"]
    assert found.start("a", (ONE,), NOW) == Probe(changed, ONE)
    assert found.missed("a", SILENT, NOW) == Verdict(changed, 1, SILENT)


def test_a_row_that_goes_is_probed_no_more() -> None:
    found = probes(trunk())
    found.start("a", (ONE,), NOW)
    found.watch({}, NOW)
    assert (found.under_way(), found.due(NOW + 100)) == ([], [])


def test_the_r_uri_is_the_rows_domain_or_the_hop() -> None:
    assert Probe(trunk(), ONE).uri == "sip:a.test"
    assert Probe(trunk(domain=""), ONE).uri == "sip:192.0.2.1:5060;transport=udp"
