"""Which rows of `address` are callers' and carriers' at once, as a table."""

from __future__ import annotations

import pytest

from kemi.trunks import groups
from kemi.trunks.groups import CARRIERS, COVERED, Row, covered, left_out

CASES = {  # address, mask, port of group 1; of group 2; is the one of group 1 refused?
    "the same address": (("192.0.2.1", 32, 0), ("192.0.2.1", 32, 0), True),
    "the same network, written otherwise": (("192.0.2.1", 24, 0), ("192.0.2.9", 24, 0), True),
    "an address in a carrier's network": (("192.0.2.1", 32, 0), ("192.0.2.0", 24, 0), True),
    "a carrier in a network of callers": (("192.0.2.0", 24, 0), ("192.0.2.1", 32, 0), False),
    "everybody and a carrier": (("0.0.0.0", 1, 0), ("192.0.2.1", 32, 0), False),
    "the same port": (("192.0.2.1", 32, 5060), ("192.0.2.1", 32, 5060), True),
    "one port of a carrier's machine": (("192.0.2.1", 32, 5060), ("192.0.2.1", 32, 0), True),
    "a machine with one port of a carrier": (("192.0.2.1", 32, 0), ("192.0.2.1", 32, 5060), False),
    "another port": (("192.0.2.1", 32, 5060), ("192.0.2.1", 32, 5062), False),
    "another address": (("192.0.2.1", 32, 0), ("192.0.2.2", 32, 0), False),
    "IPv6": (("2001:db8::1", 128, 0), ("2001:db8::", 32, 0), True),
    "IPv6 and everybody of IPv4": (("2001:db8::1", 128, 0), ("0.0.0.0", 1, 0), False),
}


@pytest.mark.parametrize(("caller", "carrier", "expected"), CASES.values(), ids=CASES)
def test_a_caller_that_is_a_carrier(
    caller: tuple[str, int, int], carrier: tuple[str, int, int], expected: bool
) -> None:
    found = covered([Row(7, *caller), Row(8, "203.0.113.9", 32, 0)], [Row(1, *carrier), Row(2, "198.51.100.1", 32, 0)])
    assert found == ({7} if expected else set())


def test_nobody_is_refused_if_a_group_is_empty() -> None:
    one = Row(1, "192.0.2.1", 32, 0)
    assert (covered([one], []), covered([], [one])) == (frozenset(), frozenset())


def test_the_last_networks_and_rows_are_left_out_if_kamailio_cannot_take_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_NETWORKS", 2)
    monkeypatch.setattr(groups, "MOST_ROWS", 4)
    rows = [
        Row(9, "192.0.2.1", 32, 0), Row(8, "192.0.2.2", 32, 0, CARRIERS), Row(7, "2001:db8::1", 128, 0),
        Row(6, "10.3.0.0", 16, 0), Row(5, "10.2.0.0", 16, 0, CARRIERS), Row(4, "2001:db8::", 32, 0, 3),
        Row(3, "10.2.1.0", 24, 0),
    ]  # fmt: skip
    assert left_out(rows) == {
        3: COVERED, 6: "it is beyond the first 2 networks", 9: "it is beyond the first 4 rows",
    }  # fmt: skip
    assert left_out(rows[:3]) == {}
