"""Keep the local copy equal to the DBA's database, and report the changes that Kamailio must reload.

This runs in a process of its own, the rtimer's, never in a SIP worker. `Keeper.tick()` is called ten times a second and
does one bounded piece of work:

1. Connect if there is no connection. After a failure back off first: 0.5 s, doubling up to 30 s (1 s for a file), plus
   or minus 25 %.
2. Compare all rows at the first connection and then every 5 minutes: the database computes one sum per thousand rows,
   and the rows whose sum differs from the stored one are fetched again.
3. In between, fetch the rows that notices name (PostgreSQL with the trigger of db/postgresql/notice.sql), compare all
   rows of an SQLite file that has changed, or compare all rows every TRUNKAUTH_DB_INTERVAL seconds.
4. Name the faults of rows as they come; at the first tick, those that the copy holds.
5. Report every change of the copy (watch.py).

A failure of the database or of the disk leaves the copy unchanged.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from kemi.line import notice, warning
from kemi.replica.copy import Copy, prepare
from kemi.replica.file import File
from kemi.replica.source import BUCKET, TABLES, Source
from kemi.replica.watch import Report, Watch
from kemi.replica.writer import CopyError
from kemi.trunks.rows import Rules
from kemi.trunks.tables import SECRETS, cause

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Table

    from kemi.settings import Settings

HEARTBEAT = 5.0  # seconds between two checks that a server which gives notices is alive
WHOLE_INTERVAL = 300.0
SECRETS_EVERY = 1.0  # seconds between two looks at the secrets that rows only name
FIRST_PAUSE = 0.5
MOST_BY_NOTICE = 200  # rows; for more, a comparison is cheaper

_TABLE_OF = {table.name: table for table in TABLES}
_NOTICE = re.compile(rf"(?P<table>{'|'.join(_TABLE_OF)}):(?P<id>[0-9]{{1,18}})")


class Keeper:
    """Keeps the copy, and reports its changes. There is one."""

    def __init__(
        self, local_file: Path, source: URL, compare_interval: float, rules: Rules, default_trunk: str = ""
    ) -> None:
        """source: the database that is copied.

        compare_interval: seconds between two comparisons if it gives no notice.
        """
        self._path = local_file
        self._url = source
        self._source = File(source) if source.get_backend_name() == "sqlite" else Source(source)
        self._rules = rules
        self._copy = Copy(local_file, rules)
        self._watch = Watch(local_file, default_trunk)
        self._compare_interval = compare_interval
        self._next_try = self._next_whole = self._next_small = 0.0
        self._next_secrets = 0.0
        self._pause = FIRST_PAUSE
        self._lost_at: float | None = None
        self._synced_at: float | None = None
        self._is_filled = False  # for the first time, and not marked as synced yet
        self._is_emptied = False  # rebuilt, and not filled yet
        self._is_named = False  # the faults that the copy held at the start

    @classmethod
    def of(cls, settings: Settings) -> Keeper:
        """Make the keeper of this node."""
        return cls(
            settings.local_file, settings.db_url, settings.compare_interval, settings.rules, settings.default_trunk
        )

    @property
    def synced_at(self) -> float | None:
        """When the copy was last known to equal the database, in seconds of the epoch; None for never."""
        return self._synced_at

    def tick(self) -> Report:
        """Do one bounded piece of work. Raises nothing that a database, a network or a disk can cause."""
        report = Report()
        self._look(report)
        age = self._age()
        if time.monotonic() >= self._next_try:
            try:
                self._keep(self._source, report)
                self._copy.empty_log()
            except CopyError as error:
                self._spoilt(report, error)
            except (SQLAlchemyError, OSError, ValueError) as error:
                self._disconnected(report, "database-away", cause(error))
            else:
                self._recovered(report, age)
        self._look(report)
        return report

    def close(self) -> None:
        self._source.close()
        self._watch.close()
        self._copy.close()
        self._watch.close()

    def _look(self, report: Report) -> None:
        """Report changes of the copy, unless it is still empty or was put there by somebody else."""
        if self._is_emptied or self._copy.is_replaced():
            return
        try:
            self._watch.look(report)
        except CopyError as error:  # hidden from this process by what it remembers of the file
            self._spoilt(report, error)

    def _look_at_secrets(self, report: Report) -> None:
        """Judge the trunks that only name their secret again, if it has changed. Workers read it then, as after any
        change of the copy.
        """
        now = time.monotonic()
        if now < self._next_secrets:
            return
        self._next_secrets = now + SECRETS_EVERY
        secrets = self._copy.named_secrets()
        if secrets != self._copy.known_secrets():
            with self._copy.transaction() as writer:
                writer.judge_secrets()
                writer.note(SECRETS, secrets)
            report.name(writer.faults)

    def _keep(self, source: Source, report: Report) -> None:
        if self._copy.is_replaced():
            raise CopyError("the file was replaced or cut", is_damaged=True)
        if not self._is_named:
            report.name(self._copy.faults())
            self._is_named = True
        self._look_at_secrets(report)
        if self._is_filled:  # Kamailio has reloaded the addresses since
            with self._copy.transaction() as writer:
                writer.note_synced()
            self._is_filled = False
        if self._synced_at is None:
            self._synced_at = self._copy.synced_at()
        now = time.monotonic()
        if source.may_give_notice and not source.gives_notice and now >= self._next_whole:
            source.close()  # the standby may have been promoted, or the trigger installed
        if not source.is_connected():
            source.connect()
            self._next_whole = 0.0
            now = time.monotonic()
        if now >= self._next_whole:
            self._compare(source, report)
            self._next_whole = now + WHOLE_INTERVAL
        elif source.gives_notice and (notices := source.notices()):
            self._apply_notices(source, notices, report)
        elif now < self._next_small:
            return
        else:
            if source.gives_notice:
                source.beat()
            if not source.gives_notice:
                self._compare(source, report)
        self._synced_at = time.time()
        self._next_small = now + (HEARTBEAT if source.gives_notice else self._compare_interval)

    def _compare(self, source: Source, report: Report) -> None:
        """Make the copy equal to the database by fetching the rows that differ."""
        started = time.monotonic()
        fetched = 0
        is_first = self._copy.synced_at() is None
        with source.snapshot():
            present = source.tables()
            theirs = {table.name: source.sums(table) if table in present else {} for table in TABLES}
            different = {table.name: _ranges(theirs[table.name], self._copy.sums(table)) for table in TABLES}
            if not any(different.values()) and not is_first:
                return
            with self._copy.transaction() as writer:
                for table in TABLES:
                    for low, high in different[table.name]:
                        writer.delete(table, low, high)
                for table in present:
                    for low, high in different[table.name]:
                        with contextlib.closing(source.rows(table, low, high)) as batches:
                            for batch in batches:
                                writer.insert(table, batch)
                                fetched += len(batch)
                for table in TABLES:
                    writer.note_sums(table, theirs[table.name])
                if not is_first:
                    writer.note_synced()
        self._is_filled, self._is_emptied = is_first, False
        report.name(writer.faults)
        seconds = round(time.monotonic() - started, 1)
        report.lines.append(notice(outcome="database-copied", rows=fetched, seconds=seconds))

    def _apply_notices(self, source: Source, notices: list[str], report: Report) -> None:
        """Fetch the rows that notices name. One that a later transaction has changed comes as that one left it, so its
        others are fetched too, all as of one moment.
        """
        named: set[str] = set()
        while not named.issuperset(notices):
            named.update(notices)
            numbers = _numbers(named)
            if not numbers:
                self._compare(source, report)
                return
            with source.snapshot():
                rows = {table: source.named(table, numbers[table]) for table in numbers}
            notices = source.notices_by_now()
        with self._copy.transaction() as writer:
            for table in numbers:
                for number in numbers[table]:
                    writer.delete(table, number, number + 1)
                    writer.note_changed(table, number)
                writer.insert(table, rows[table])
            writer.note_synced()
        report.name(writer.faults)

    def _disconnected(self, report: Report, outcome: str, reason: str) -> None:
        self._source.close()
        self._next_try = time.monotonic() + self._pause * random.uniform(0.75, 1.25)  # noqa: S311
        self._pause = min(2 * self._pause, self._source.longest_pause)
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            report.lines.append(warning(outcome=outcome, reason=reason, served_from=self._age()))

    def _spoilt(self, report: Report, error: CopyError) -> None:
        self._disconnected(report, "copy-not-kept", str(error))
        if error.is_damaged:
            self._rebuild(report)

    def _recovered(self, report: Report, age: str) -> None:
        self._pause = FIRST_PAUSE
        if self._lost_at is not None:
            away = round(time.monotonic() - self._lost_at)
            report.lines.append(notice(outcome="database-back", seconds=away, served_from=age))
            self._lost_at = None

    def _rebuild(self, report: Report) -> None:
        self._copy.close()
        with contextlib.suppress(CopyError):
            if reason := prepare(self._path, self._url, self._rules):
                report.lines.append(warning(outcome="copy-made-anew", reason=reason))
                self._is_filled, self._is_emptied = False, True
        self._copy = Copy(self._path, self._rules)
        self._synced_at = None

    def _age(self) -> str:
        if self._synced_at is None:
            return "nothing: there is no copy yet"
        return f"the copy of {max(time.time() - self._synced_at, 0):.0f} s ago"  # the clock may have been set back


def _numbers(notices: Collection[str]) -> dict[Table, list[int]]:
    """Return the ids that notices name, by table; none if one of them names no row, or a comparison is cheaper."""
    named = [_NOTICE.fullmatch(notice) for notice in notices]
    if len(named) > MOST_BY_NOTICE or None in named:
        return {}
    numbers: dict[Table, list[int]] = defaultdict(list)
    for each in filter(None, named):
        numbers[_TABLE_OF[each["table"]]].append(int(each["id"]))
    return numbers


def _ranges(theirs: dict[int, str], mine: dict[int, str]) -> list[tuple[int, int]]:
    """Return the ranges of ids, low <= id < high, whose sums differ; adjacent ones are merged."""
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
