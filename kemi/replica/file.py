"""The DBA's own SQLite file as a source. SIP workers never touch it, so that no lock on it holds up a call; here one is
waited for no longer than BUSY_LIMIT. A commit, and a file put in its place, are noticed at the next tick.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, ColumnElement, Engine, Table, event, literal_column

from kemi.replica.source import BUCKET, Source, decoded, engine_with
from kemi.trunks.tables import data_version

BUSY_LIMIT = 0.5  # seconds; a commit takes less
EVERYTHING = "*"  # a notice that names no row


class File(Source):
    """One connection to an SQLite file. Every method raises SQLAlchemyError or OSError."""

    longest_pause = 1.0

    def __init__(self, url: URL) -> None:
        self._path = Path(url.database or "")
        self._seen: tuple[int, int] | None = None
        super().__init__(url)

    def _make_engine(self, url: URL) -> Engine:
        """Return an engine that makes no file. It is not read-only: that could not read what a killed writer leaves."""
        path = quote(url.database or "")
        asked = URL.create("sqlite", database=f"file:{path}", query={"uri": "true", "mode": "rw"})
        engine = engine_with(asked, {"timeout": BUSY_LIMIT})
        event.listen(engine, "connect", _set_up)
        return engine

    def connect(self) -> None:
        """Open the file as it is named now."""
        self._connection = self._engine.connect()
        self._look_for_contact_user()
        self._seen = self._state()
        self.gives_notice = True

    @property
    def may_give_notice(self) -> bool:
        """True: every change is noticed."""
        return True

    def beat(self) -> None:
        """Nothing: a file is alive."""

    def notices(self) -> list[str]:
        """Return EVERYTHING if the file has changed since the last call, or since it was opened."""
        state, seen = self._state(), self._seen
        if state == seen:
            return []
        if seen and state[0] != seen[0]:
            self.close()
            self.connect()
        self._seen = self._state()
        return [EVERYTHING]

    def _state(self) -> tuple[int, int]:
        """Return the file's inode, and a number that moves with every commit."""
        return self._path.stat().st_ino, data_version(self._open)

    def _bucket_and_sum(self, table: Table) -> tuple[ColumnElement[int], ColumnElement[int]]:
        """Return the SQL of a row's bucket, rounded down in integers, and of its sum."""
        octets = " || ".join(f"typeof({name}) || hex({name})" for name in self._columns(table))  # quote() ends at a NUL
        bucket: ColumnElement[int] = literal_column(f"(id - ((id % {BUCKET}) + {BUCKET}) % {BUCKET}) / {BUCKET}")
        return bucket, literal_column(f"row_sum({octets})")

    @contextlib.contextmanager
    def _limited(self, times: int = 1) -> Iterator[None]:  # noqa: ARG002
        """No limit: a file answers."""
        yield


def _set_up(driver: sqlite3.Connection, _record: object) -> None:
    driver.text_factory = decoded
    driver.create_function("row_sum", 1, _row_sum, deterministic=True)
    driver.execute("PRAGMA query_only = ON")


def _row_sum(row: str) -> int:
    return int.from_bytes(hashlib.md5(row.encode(), usedforsecurity=False).digest()[:6])
