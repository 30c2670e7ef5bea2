"""When a registration that failed is tried again, and what the log says of it."""

from __future__ import annotations

import pytest

from kemi.names.registrations import SILENT, Registrations
from tests.lines import told

SHORTEST, LONGEST = 0.0, 1.0  # what random can be


def waits(random: float, status: int, tries: int) -> list[float]:
    """Seconds between so many failures of this kind and the try after each."""
    registrations, now, found = Registrations(lambda: random), 1000.0, []
    for _ in range(tries):
        registrations.idle("t", status, now)
        step = 0.0
        while not registrations.due(now + step):
            step += 0.5
        found.append(step)
        now += step
    return found


@pytest.mark.parametrize("status", [SILENT, 500, 503, 404, 600])
@pytest.mark.parametrize(
    ("random", "expected"),
    [(SHORTEST, [30, 60, 120, 240, 300, 300, 300]), (LONGEST, [60, 120, 240, 480, 600, 600, 600])],
)
def test_the_wait_grows_from_half_a_minute_to_ten_minutes(status: int, random: float, expected: list[float]) -> None:
    assert waits(random, status, 7) == expected


def test_it_does_not_grow_beyond_that_in_months() -> None:
    registrations = Registrations(lambda: LONGEST)
    for failure in range(10_000):
        registrations.idle("t", SILENT, 1000.0 * failure)
    assert registrations.due(9_999_000.0 + 599.0) == []
    assert registrations.due(9_999_000.0 + 600.0) == ["t"]


@pytest.mark.parametrize("status", [401, 407, 403])
@pytest.mark.parametrize(("random", "expected"), [(SHORTEST, [1800, 1800]), (LONGEST, [3600, 3600])])
def test_a_refusal_is_tried_again_rarely(status: int, random: float, expected: list[float]) -> None:
    assert waits(random, status, 2) == expected


def test_trunks_that_failed_together_do_not_come_back_together() -> None:
    numbers = iter([0.0, 0.5, 1.0])
    registrations = Registrations(lambda: next(numbers))
    for uuid in "abc":
        registrations.idle(uuid, SILENT, 0.0)
    assert [registrations.due(now) for now in (29.0, 30.0, 45.0, 60.0)] == [[], ["a"], ["b"], ["c"]]


def test_a_trunk_that_is_being_tried_is_not_tried_again_until_it_has_failed_again() -> None:
    registrations = Registrations(lambda: SHORTEST)
    registrations.idle("t", 503, 0.0)
    assert [registrations.due(now) for now in (30.0, 60.0, 600.0)] == [["t"], [], []]
    registrations.idle("t", 503, 600.0)
    assert [registrations.due(now) for now in (659.0, 660.0)] == [[], ["t"]]


def test_once_registered_the_next_outage_starts_from_the_beginning() -> None:
    registrations = Registrations(lambda: SHORTEST)
    for now in (0.0, 100.0, 200.0):
        registrations.idle("t", SILENT, now)
    registrations.up("t", 300.0)
    registrations.idle("t", SILENT, 400.0)
    assert registrations.due(430.0) == ["t"]


def test_a_row_that_has_changed_or_gone_is_not_tried() -> None:
    registrations = Registrations(lambda: SHORTEST)
    registrations.idle("t", 403, 0.0)
    registrations.forget("t")
    assert registrations.due(1e9) == []
    assert told(registrations.up("t", 1.0)) == ""


def test_the_log_tells_an_outage_once_and_its_end() -> None:
    registrations = Registrations(lambda: SHORTEST)
    assert told(registrations.up("t", 0.0)) == ""
    said = [told(registrations.idle("t", status, now)) for now, status in ((10.0, 503), (40.0, SILENT), (100.0, 503))]
    assert said == ['trunk=t outcome=unregistered reason="the registrar says 503" next-seconds=30', "", ""]
    assert told(registrations.up("t", 230.0)) == "trunk=t outcome=registered seconds=220"
    assert told(registrations.up("t", 231.0)) == ""
    silent = 'trunk=t outcome=unregistered reason="the registrar is silent" next-seconds=30'
    assert told(registrations.idle("t", SILENT, 300.0)) == silent


def test_the_log_tells_each_refusal() -> None:
    registrations = Registrations(lambda: SHORTEST)
    said = [told(registrations.idle("t", status, now)) for now, status in ((0.0, SILENT), (30.0, 403), (2000.0, 401))]
    assert said[1:] == [
        'trunk=t outcome=unregistered reason="the registrar refuses: 403" next-seconds=1800',
        'trunk=t outcome=unregistered reason="the registrar refuses: 401" next-seconds=1800',
    ]


def test_a_trunk_for_which_no_register_goes_out_is_tried_again_and_told_of_at_the_third_time() -> None:
    """Its registrar's name cannot be resolved, say; a row with a reg_delay is left to it."""
    registrations = Registrations(lambda: SHORTEST)
    tried, said = [], []
    for now in range(400):
        if line := registrations.idle("t", None, float(now)):
            said.append((now, told(line)))
        if registrations.due(float(now)):
            tried.append(now)
    # 30 s until it counts as failed, then 30, 60, 120 s until it is tried; after each it is looked at a second later
    assert tried == [30 + 30, 61 + 30 + 60, 152 + 30 + 120]
    assert said == [(152 + 30, 'trunk=t outcome=unregistered reason="no REGISTER can be sent" next-seconds=120')]


def test_a_trunk_that_waits_for_its_next_try_has_not_failed_meanwhile() -> None:
    registrations = Registrations(lambda: LONGEST)
    registrations.idle("t", 403, 0.0)
    assert [registrations.idle("t", None, float(now)) for now in range(0, 3600, 10)] == [None] * 360
    assert [registrations.due(now) for now in (3599.0, 3600.0)] == [[], ["t"]]
