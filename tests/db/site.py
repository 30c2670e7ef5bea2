"""A database's tables, the keeper of their copy, and what SIP workers read: all that a test needs to play the
DBA on one side and a worker on the other. No Kamailio is involved; the keeper's ticks are made here.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Table, inspect, literal, select, text

from kemi.replica import copy as replica
from kemi.replica.keeper import Keeper
from kemi.replica.source import TABLES
from kemi.replica.watch import Report
from kemi.start import schema
from kemi.trunks.listen import Listen
from kemi.trunks.rows import Rules
from kemi.trunks.store import TrunkStore
from kemi.trunks.tables import open_file
from tests.lines import told

WITHIN = 10.0  # seconds for what needs several ticks
BETWEEN_TICKS = 0.02
RULES = Rules((Listen("udp", "192.0.2.1", 5060), Listen("tcp", "192.0.2.1", 5060)))


class Site:
    """One node: a copy of the database at `url` in `folder`, kept through the connection that `reader` names."""

    def __init__(
        self, url: URL, folder: Path, reader: URL | None = None, interval: float = 0, default_trunk: str = ""
    ) -> None:
        self.url = url
        self.file = folder / "replica.sqlite"
        self.reader = reader or url
        self.dba = schema.open_database(url)
        replica.prepare(self.file, self.reader, RULES)
        self.keeper = Keeper(self.file, self.reader, interval, RULES, default_trunk)
        self.store = TrunkStore(self.file, self.reader)
        self.reports: list[Report] = []

    def close(self) -> None:
        self.store.close()
        self.keeper.close()
        self.dba.dispose()

    def execute(self, *statements: str, **values: Any) -> None:
        """What the DBA does, one commit each."""
        with self.dba.connect() as connection:
            for statement in statements:
                connection.execute(text(statement), values)

    def tick(self) -> Report:
        self.reports.append(self.keeper.tick())
        return self.reports[-1]

    def tick_until(self, what: str, is_so: Callable[[], object], within: float = WITHIN) -> None:
        """Tick until it is so; the last lines of the reports are in the error if it is not in time."""
        deadline = time.monotonic() + within
        pause = threading.Event()
        while not is_so():
            assert time.monotonic() < deadline, f"not within {within:g} s: {what}; {self.lines[-5:]}"
            self.tick()
            pause.wait(BETWEEN_TICKS)

    @property
    def lines(self) -> list[str]:
        """All that the reports have for the log."""
        return [told(line) for report in self.reports for line in report.lines]

    def said(self, part: str) -> list[str]:
        return [line for line in self.lines if part in line]

    def theirs(self) -> list[list[tuple[Any, ...]]]:
        """The rows of all tables, as the server has them; none of one that it lacks."""
        with self.dba.connect() as connection:
            inspector = inspect(connection)
            present = [table.name for table in TABLES if inspector.has_table(table.name)]
            columns = {name: [each["name"] for each in inspector.get_columns(name)] for name in present}
            return [
                list(map(tuple, connection.execute(_all(table, columns[table.name])))) if table.name in present else []
                for table in TABLES
            ]

    def copied(self) -> list[list[tuple[Any, ...]]]:
        """The rows of all tables, as workers see them."""
        engine = open_file(self.file)
        try:
            with engine.connect() as connection:
                return [
                    [tuple(row) for row in connection.execute(_all(table, table.columns.keys()))] for table in TABLES
                ]
        finally:
            engine.dispose()

    def is_equal(self) -> bool:
        return self.theirs() == self.copied()


@contextlib.contextmanager
def site(
    url: URL, folder: Path, reader: URL | None = None, interval: float = 0, default_trunk: str = ""
) -> Iterator[Site]:
    made = Site(url, folder, reader, interval, default_trunk)
    try:
        yield made
    finally:
        made.close()


def _all(table: Table, present: Collection[str]) -> Any:
    """The query for all rows. present: the columns that there are; others are empty."""
    columns = (column if name in present else literal("") for name, column in table.columns.items())
    return select(*columns).select_from(table).order_by(table.c.id)
