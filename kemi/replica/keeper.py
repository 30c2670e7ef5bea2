"""The local copy of the DBA's database, and what Kamailio has to be told when anything in it changes.

One process of its own does all of this (the rtimer's; SIP workers never enter here). `Keeper.tick()` is called twice a
second and does one bounded piece of work:

1. Connect, if there is no connection; after a failure wait first: 0.5 s, doubling up to 30 s, give or take a quarter.
2. The first time, and every 5 minutes: compare the whole. The server sums up each thousand rows in one number; where a
   sum differs from the one noted with the copy, those rows are fetched anew.
3. In between: fetch the rows that notices name (PostgreSQL with the trigger of db/postgresql/notice.sql), or compare
   the whole at the interval of TRUNKAUTH_DB_INTERVAL.
4. Look at every change of the local file, whoever made it (watch.py).

What goes wrong with the server or with the disk leaves the copy as it was.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from kemi.replica.copy import Copy, CopyError, prepare
from kemi.replica.source import BUCKET, TABLES, Source
from kemi.replica.watch import Report, Watch
from kemi.trunks.tables import cause

HEARTBEAT = 5.0  # seconds between two signs of life where notices are waited for
WHOLE_INTERVAL = 300.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
MOST_BY_NOTICE = 200  # rows that are fetched one by one; where more have changed, a comparison is cheaper

_TABLE_OF = {table.name: table for table in TABLES}
_NOTICE = re.compile(rf"(?P<table>{'|'.join(_TABLE_OF)}):(?P<id>[0-9]{{1,18}})")


class Keeper:
    """Keeps the copy, if the database is a server's, and tells what has changed. One instance, in one process."""

    def __init__(self, local_file: Path, source: URL | None, compare_interval: float) -> None:
        """source: of the database that is copied; None where the local file is the database itself.

        compare_interval: seconds between two comparisons where the server gives no notice.
        """
        self._path = local_file
        self._url = source
        self._source = Source(source) if source else None
        self._copy = Copy(local_file)
        self._watch = Watch(local_file, names_faults=source is None)
        self._compare_interval = compare_interval
        self._next_try = self._next_whole = self._next_small = 0.0
        self._pause = FIRST_PAUSE
        self._lost_at: float | None = None
        self._synced_at: float | None = None
        self._is_filled = False  # for the first time, and not open to calls yet
        self._is_emptied = False  # made anew, and not filled yet

    def tick(self) -> Report:
        """One bounded piece of work; raises nothing that a database, a network or a disk can cause."""
        report = Report()
        self._look(report)
        age = self._age()
        if self._source is not None and time.monotonic() >= self._next_try:
            try:
                self._keep(self._source, report)
            except CopyError as error:
                self._lose(self._source, report, f"the copy cannot be kept: {error}")
                if error.is_damaged:
                    self._rebuild(report)
            except (SQLAlchemyError, OSError, ValueError) as error:
                self._lose(self._source, report, f"the database is away: {cause(error)}")
            else:
                self._find(report, age)
        self._look(report)
        return report

    def close(self) -> None:
        """Let the server and the file go."""
        if self._source is not None:
            self._source.close()
        self._copy.close()

    def _look(self, report: Report) -> None:
        """See what has changed, but for a copy that holds nothing yet or was put there by somebody else."""
        if self._source is None or not (self._is_emptied or self._copy.is_replaced()):
            self._watch.look(report)

    def _keep(self, source: Source, report: Report) -> None:
        if self._copy.is_replaced():
            raise CopyError("the file was replaced or cut", is_damaged=True)
        if self._is_filled:  # Kamailio has been told of the addresses since
            with self._copy.transaction() as writer:
                writer.note_synced()
            self._is_filled = False
        if self._synced_at is None:
            self._synced_at = self._copy.synced_at()
        now = time.monotonic()
        if source.may_give_notice and not source.gives_notice and now >= self._next_whole:
            source.close()  # a standby that takes the primary's place, or a trigger that has come since
        if not source.is_connected():
            source.connect()
            self._next_whole = 0.0
            now = time.monotonic()
        if now >= self._next_whole:
            self._compare(source, report)
            self._next_whole = now + WHOLE_INTERVAL
        elif source.gives_notice and (notices := source.notices()):
            self._heed(source, notices, report)
        elif now < self._next_small:
            return
        elif source.gives_notice:
            source.beat()
        else:
            self._compare(source, report)
        self._synced_at = time.time()
        self._next_small = now + (HEARTBEAT if source.gives_notice else self._compare_interval)

    def _compare(self, source: Source, report: Report) -> None:
        """Make the copy equal to the database, by fetching what differs."""
        started = time.monotonic()
        fetched = 0
        is_first = self._copy.synced_at() is None
        with source.snapshot():
            theirs = {table.name: source.sums(table) for table in TABLES}
            different = {table.name: _ranges(theirs[table.name], self._copy.sums(table)) for table in TABLES}
            if not any(different.values()) and not is_first:
                return
            with self._copy.transaction() as writer:
                for table in TABLES:
                    for low, high in different[table.name]:
                        writer.delete(table, low, high)
                for table in TABLES:
                    for low, high in different[table.name]:
                        with contextlib.closing(source.rows(table, low, high)) as batches:
                            for batch in batches:
                                writer.insert(table, batch)
                                fetched += len(batch)
                    writer.note_sums(table, theirs[table.name])
                if not is_first:
                    writer.note_synced()
        self._is_filled, self._is_emptied = is_first, False
        for complaint in writer.complaints:
            report.warn(complaint)
        report.note(f"database copied: {fetched} rows in {time.monotonic() - started:.1f} s")
        self._copy.checkpoint()

    def _heed(self, source: Source, notices: list[str], report: Report) -> None:
        """Fetch the rows that notices name."""
        named = [_NOTICE.fullmatch(notice) for notice in notices]
        rows = [(_TABLE_OF[match["table"]], int(match["id"])) for match in named if match]
        if len(rows) < len(notices) or len(rows) > MOST_BY_NOTICE:
            self._compare(source, report)
            return
        with source.snapshot():  # one transaction may have changed several
            found = [(table, number, source.row(table, number)) for table, number in rows]
        with self._copy.transaction() as writer:
            for table, number, _ in found:
                writer.delete(table, number, number + 1)
                writer.note_changed(table, number)
            for table, _, row in found:
                if row is not None:
                    writer.insert(table, [row])
            writer.note_synced()
        for complaint in writer.complaints:
            report.warn(complaint)

    def _lose(self, source: Source, report: Report, reason: str) -> None:
        source.close()
        self._next_try = time.monotonic() + self._pause * random.uniform(0.75, 1.25)  # noqa: S311
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            report.warn(f"{reason}; calls are served from {self._age()}")

    def _find(self, report: Report, age: str) -> None:
        self._pause = FIRST_PAUSE
        if self._lost_at is not None:
            report.note(
                f"the database is back after {time.monotonic() - self._lost_at:.0f} s; calls were served from {age}"
            )
            self._lost_at = None

    def _rebuild(self, report: Report) -> None:
        self._copy.close()
        if self._url is not None:
            with contextlib.suppress(CopyError):
                if reason := prepare(self._path, self._url):
                    report.warn(f"the copy was {reason}, and is made anew")
                    self._is_filled, self._is_emptied = False, True
        self._copy = Copy(self._path)
        self._synced_at = None

    def _age(self) -> str:
        if self._synced_at is None:
            return "nothing: there is no copy yet"
        return f"the copy of {time.time() - self._synced_at:.0f} s ago"


def _ranges(theirs: dict[int, str], mine: dict[int, str]) -> list[tuple[int, int]]:
    """The ranges of ids (low, high) whose rows differ, as few as possible."""
    ranges: list[tuple[int, int]] = []
    for bucket in sorted(theirs.keys() | mine.keys()):
        if theirs.get(bucket) == mine.get(bucket):
            continue
        low, high = bucket * BUCKET, (bucket + 1) * BUCKET
        if ranges and ranges[-1][1] == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
    return ranges
