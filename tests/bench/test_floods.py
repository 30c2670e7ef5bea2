"""The bench's floods: that each gate is one, and that the figures are of the flood. No test here looks at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench import floods
from tests.bench.floods import GATES, SHIPS, Flood, floods_table, measure, verdict
from tests.harness.machine import native_is_missing

pytestmark = pytest.mark.skipif(bool(native_is_missing()), reason=native_is_missing())


@pytest.mark.parametrize("gate", GATES)
def test_calls_go_on_while_a_gate_is_flooded(gate: str) -> None:
    seen = measure(gate, rate=200, seconds=0.5)
    assert (seen.gate, seen.lost) == (gate, 0)
    assert seen.sent > 0
    assert f"| {gate} |" in floods_table([seen])


def test_the_gate_that_ships_is_the_one_of_kamailio_cfg() -> None:
    own = [gate for gate in GATES if "$shtinc(strangers" in floods.config(gate)]
    assert own == [SHIPS]


@pytest.mark.parametrize(("p99", "lost", "holds"), [(2.0, 0, True), (2.1, 0, False), (1.0, 1, False)])
def test_it_fails_if_calls_notice_the_flood(p99: float, lost: int, holds: bool) -> None:
    ours = Flood(SHIPS, 1, 0.0, quiet_p50=1.0, quiet_p99=1.0, p50=1.0, p99=p99, lost=lost)
    assert verdict([replace(ours, gate="pike", p99=9.0), ours])[1] is holds
