"""Names that came over the wire, in a Contact, a Route or a dialled domain: workers ask for them, and they are kept
resolved for a day. A stranger cannot ask, and there is an end to their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from kemi.trunks.hops import Target

KEPT_FOR = 86400.0  # seconds: longer than a call
MOST = 1000


class Learned:
    """The names that workers asked for, and until when each is kept."""

    def __init__(self) -> None:
        self._until: dict[Target, float] = {}

    def add(self, keys: Iterable[str]) -> None:
        """Keep these names, given by Target.key; the oldest ones make room."""
        for key in keys:
            try:
                target = Target.of_key(key)
            except ValueError:
                continue
            self._until.pop(target, None)
            self._until[target] = monotonic() + KEPT_FOR
        while len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def targets(self) -> frozenset[Target]:
        """Return the names that are kept now."""
        now = monotonic()
        self._until = {target: until for target, until in self._until.items() if until > now}
        return frozenset(self._until)
