"""Calls of the last minutes, from counters that only rise."""

from __future__ import annotations

from kemi.metrics.lately import WINDOW, Calls, Lately


def test_what_is_older_than_the_window_is_forgotten() -> None:
    lately = Lately()
    assert lately.look({"a": Calls(3, 1)}, 0.0) == {"a": Calls(3, 1)}
    assert lately.look({"a": Calls(3, 1), "b": Calls(1, 1)}, 5.0) == {"b": Calls(1, 1)}
    assert lately.look({"a": Calls(4, 1), "b": Calls(1, 1)}, 10.0) == {"a": Calls(4, 1)}
    totals = {"a": Calls(4, 1), "b": Calls(1, 1)}
    assert lately.look(totals, WINDOW - 0.1) == {}
    assert lately.look(totals, WINDOW) == {"a": Calls(1, 0)}
    assert lately.look(totals, WINDOW + 5.0) == {"b": Calls(0, 0)}
    assert lately.look(totals, WINDOW + 10.0) == {"a": Calls(0, 0)}
