"""Keeps the way back from registrars open, through a NAT or a firewall: two line ends now and then over the connection
of a registration (RFC 5626 4.4.1), and over UDP in the same way, as carriers and PBXs do it.

By TLS, securing.py keeps the connections.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from kemi.names.rows import Registration, way_of
from kemi.sip import own, registrar
from kemi.sip.registrar import State

EVERY = 25.0  # seconds; a NAT may forget UDP after 30 s (RFC 4787 4.3 has it keep 2 minutes, and many do not)
LOOKS_EVERY = 5.0  # seconds between two looks at all registrations


class Pinging:
    """The pings of this node."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._due: dict[tuple[str, str], float] = {}

    def tick(self, registering: Mapping[str, Registration]) -> None:
        """Send what is due. registering: the rows that register, with addresses in place of names."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOKS_EVERY
        up = {way_of(row) for uuid, row in registering.items() if registrar.state(uuid) is State.UP}
        self._due = {way: self._due.get(way, now) for way in up if way[0]}
        for way, due in self._due.items():
            if due <= now:
                own.ping(*way)
                self._due[way] = now + EVERY
