"""How many calls each trunk has had in the last minutes, and how many of them failed: from counters that only rise.

Pure.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import NamedTuple

WINDOW = 300.0  # seconds


class Calls(NamedTuple):
    """Of one trunk. failed: how many of them."""

    all: int = 0
    failed: int = 0


NONE = Calls()


class Lately:
    """Looks at the counters again and again, and forgets what is older than WINDOW."""

    def __init__(self) -> None:
        self._before: Mapping[str, Calls] = {}
        self._looks: deque[tuple[float, dict[str, Calls]]] = deque()
        self._all: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def look(self, totals: Mapping[str, Calls], now: float) -> dict[str, Calls]:
        """Return the trunks for which the window holds another number than at the last look. now: monotonic."""
        changes = {}
        for trunk, calls in totals.items():
            before = self._before.get(trunk, NONE)
            if calls != before:
                changes[trunk] = Calls(calls.all - before.all, calls.failed - before.failed)
        self._before = totals
        moved = set(changes)
        self._add(changes, 1)
        self._looks.append((now, changes))
        while self._looks[0][0] <= now - WINDOW:
            _, gone = self._looks.popleft()
            self._add(gone, -1)
            moved |= set(gone)
        return {trunk: Calls(self._all[trunk], self._failed[trunk]) for trunk in moved}

    def _add(self, changes: Mapping[str, Calls], sign: int) -> None:
        for trunk, calls in changes.items():
            self._all[trunk] += sign * calls.all
            self._failed[trunk] += sign * calls.failed
