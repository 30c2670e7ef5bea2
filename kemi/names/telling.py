"""Tells Kamailio the addresses of names in Contacts, where its dialog module asks PBXs if their calls are up. What SIP
workers relay needs none of it (flow/nexthop.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic

from kemi.sip import rpc
from kemi.trunks.hops import Hops, Target

KNOWN_FOR = 600  # seconds
EVERY = 300.0


class Telling:
    """What Kamailio was told, and when it is to be told again."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}

    def tick(self, targets: Iterable[Target], hops: Mapping[Target, Hops]) -> None:
        """Tell what is new, and what Kamailio would forget. An address that a name has no more is forgotten."""
        now = monotonic()
        names = {(one.name, one.address) for target in targets for one in hops.get(target, ())}
        self._due = {name: due for name, due in self._due.items() if name in names}
        for name in names:
            if self._due.get(name, now) <= now:
                self._due[name] = now + EVERY
                rpc.keep_name(*name, KNOWN_FOR)
