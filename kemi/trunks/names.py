"""The hops of resolved names, as SIP workers read them. A worker never asks a name server: one process does
(kemi.names), and writes the hops into a local file.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from kemi.address import normalised
from kemi.trunks.hops import Hops, Target, from_text, literal, target_of
from kemi.trunks.tables import data_version, next_hops, open_file, resolved_names

FRESH_FOR = 0.05  # seconds between two looks of a busy worker whether the file has changed
MOST_KEPT = 4096


class ResolvedNames:
    """Reads the file of resolved names. A file that cannot be read resolves nothing: calls to addresses go on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._engine = open_file(path) if path else None
        self._connection: Connection | None = None
        self._state: tuple[int, int] = (0, 0)
        self._looked_at = 0.0
        self._kept: dict[Target, Hops | None] = {}
        self._sources: dict[str, bool] = {}

    def find(self, target: Target) -> Hops | None:
        """Return the target's hops, by priority; empty if it cannot be resolved, None if nobody has tried."""
        if target in self._kept and monotonic() - self._looked_at < FRESH_FOR:
            return self._kept[target]
        if not target.is_name:
            return literal(target) if target.host else ()
        try:
            connection = self._fresh_connection()
            if connection is not None and target not in self._kept:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                text = connection.execute(
                    select(resolved_names.c.hops).where(resolved_names.c.target == target.key)
                ).scalar()
                self._kept[target] = from_text(text) if text else None
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError, TypeError):
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
        if known is not None and monotonic() - self._looked_at < FRESH_FOR:
            return known
        try:
            connection = self._fresh_connection()
            if connection is not None and source not in self._sources:
                if len(self._sources) >= MOST_KEPT:
                    self._sources.clear()
                address, port, _ = source.split(" ")
                place = next_hops.c.place == f"{normalised(address)} {port}"
                self._sources[source] = connection.execute(select(next_hops).where(place)).first() is not None
        except (SQLAlchemyError, sqlite3.Error, OSError, ValueError):
            self.close()
        return self._sources.get(source, False)

    def is_next_hop_host(self, source: str) -> bool:
        """Return True if a source has come by a connection, and a next hop that has connections has its address."""
        address, _, transport = source.split(" ")
        return transport.lower() != "udp" and self.is_next_hop(f"{address} 0 {transport}")

    def close(self) -> None:
        """Close the connection. The next look-up opens another one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._forget()
        if self._engine is not None:
            self._engine.dispose()

    def _forget(self) -> None:
        self._kept.clear()
        self._sources.clear()

    def _fresh_connection(self) -> Connection | None:
        """Return the connection, opened anew if the file was replaced; what is kept goes if anything changed."""
        now = monotonic()
        if self._path is None or self._engine is None or now - self._looked_at < FRESH_FOR:
            return self._connection
        inode = self._path.stat().st_ino
        if self._connection is None or inode != self._state[0]:
            self.close()
            self._connection = self._engine.connect()
        state = (inode, data_version(self._connection))
        if state != self._state:
            self._state = state
            self._forget()
        self._looked_at = now
        return self._connection
