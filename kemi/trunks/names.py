"""The hops of resolved names, as SIP workers read them. A worker never asks a name server: one process does
(kemi.names), and writes the hops into a local file.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from time import monotonic

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from kemi.address import normalised
from kemi.trunks.hops import Hops, Target, from_text, literal, target_of
from kemi.trunks.local import FIRST, LocalFile, Question
from kemi.trunks.tables import next_hops, resolved_names

MOST_KEPT = 4096
_NOWHERE = Path(os.devnull, "names")

_HOPS = Question(select(resolved_names.c.hops).where(resolved_names.c.target == FIRST))
_PLACE = Question(select(next_hops).where(next_hops.c.place == FIRST))


class ResolvedNames(LocalFile):
    """Reads the file of resolved names. A file that cannot be read resolves nothing: calls to addresses go on."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path or _NOWHERE)
        self._kept: dict[Target, Hops | None] = {}
        self._sources: dict[str, bool] = {}

    def find(self, target: Target) -> Hops | None:
        """Return the target's hops, by priority; empty if it cannot be resolved, None if nobody has tried."""
        if target in self._kept and monotonic() < self._stale_at:
            return self._kept[target]
        if not target.is_name:
            return literal(target) if target.host else ()
        try:
            driver = self._look()
            if target not in self._kept:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                found = _HOPS.rows(driver, target.key)
                self._kept[target] = _hops(found[0][0]) if found else None
        except (SQLAlchemyError, sqlite3.Error, OSError):
            self.close()
        return self._kept.get(target)

    def services(self, target: Target) -> Hops:
        """Return the hops by TCP of a target that leaves its transport open; none if nobody has asked for them."""
        return self.find(target._replace(transport="tcp")) or ()

    def warm_up(self) -> None:
        """Make each look-up once."""
        self.find(target_of("sip:warm-up.invalid", ""))
        self.is_next_hop("192.0.2.1 0 udp")

    def is_next_hop(self, source: str) -> bool:
        """Return True if a trunk's next hop has this address and port, whatever its transport. source: `address port
        transport`, as Kamailio writes them; port 0: any that connections come from.
        """
        known = self._sources.get(source)
        if known is not None and monotonic() < self._stale_at:
            return known
        try:
            driver = self._look()
            if source not in self._sources:
                if len(self._sources) >= MOST_KEPT:
                    self._sources.clear()
                address, port, _ = source.split(" ")
                self._sources[source] = bool(_PLACE.rows(driver, f"{normalised(address)} {port}"))
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError):
            self.close()
        return self._sources.get(source, False)

    def is_next_hop_host(self, source: str) -> bool:
        """Return True if a source has come by a connection, and a next hop that has connections has its address."""
        address, _, transport = source.split(" ")
        return transport.lower() != "udp" and self.is_next_hop(f"{address} 0 {transport}")

    def _forget(self) -> None:
        self._kept.clear()
        self._sources.clear()


def _hops(text: str | None) -> Hops | None:
    """Return what a row says; None, as for a name that nobody has tried, if it is damaged."""
    try:
        return from_text(text) if text else None
    except (ValueError, TypeError):
        return None
