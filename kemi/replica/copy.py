"""The copy of the DBA's database: a local SQLite file that SIP workers read (kemi.trunks.store) and one process writes.

Beside the tables it stores which database it copies, when it was last equal to it, and the sums of its rows. A sync is
one transaction: readers see the old tables or the new ones. Unusable rows are left out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, select
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from kemi import schema
from kemi.replica.source import BUCKET
from kemi.trunks.tables import SOURCE, SYNCED, TRUNK_COLUMNS, cause, identity, open_file, replica_state, uacreg
from kemi.trunks.trunk import Trunk


class CopyError(RuntimeError):
    """The local file cannot be read or written; the text is the reason. is_damaged: only rebuilding it helps."""

    def __init__(self, reason: str, is_damaged: bool) -> None:
        super().__init__(reason)
        self.is_damaged = is_damaged


_DAMAGE = ("malformed", "not a database", "no such table", "no such column")  # sqlite3's words

_TABLES_OF_THE_COPY = (
    "CREATE TABLE replica_state (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE replica_sum (table_name TEXT, bucket INTEGER, sum TEXT NOT NULL, PRIMARY KEY (table_name, bucket))",
    "CREATE INDEX registrations_idx ON uacreg (expires) WHERE expires > 0",
)


def prepare(path: Path, source: URL) -> str:
    """Create the copy's file if it is missing, damaged or of another database. Return which; empty if it is kept.

    The new file replaces the old one atomically; readers that have the old one open go on with it. Raises CopyError.
    """
    reason = _unusable(path, identity(source))
    if not reason:
        return ""
    fresh = path.with_suffix(".new")
    with _local_errors():
        for leftover in _files_of(fresh):
            leftover.unlink(missing_ok=True)
        engine = open_file(fresh)
        schema.create(engine)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            for statement in _TABLES_OF_THE_COPY:
                connection.exec_driver_sql(statement)
            connection.execute(replica_state.insert().values(name=SOURCE, value=identity(source)))
        engine.dispose()
        for leftover in _files_of(path)[1:]:
            leftover.unlink(missing_ok=True)
        fresh.replace(path)
    return reason


def _unusable(path: Path, wanted: str) -> str:
    if not path.exists():
        return "missing"
    engine = open_file(path)
    try:
        with engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
                return "damaged"
            source = connection.execute(select(replica_state.c.value).where(replica_state.c.name == SOURCE)).scalar()
            return "" if source == wanted else "of another database"
    except DatabaseError:
        return "damaged"
    finally:
        engine.dispose()


def _inode(path: Path) -> int:
    """Return the file's inode; 0 if there is no file."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _files_of(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    """Turn errors of the local file into CopyError, which tells them from the server's."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = cause(error)
        raise CopyError(reason, any(word in reason for word in _DAMAGE)) from None
    except OSError as error:
        raise CopyError(str(error), is_damaged=False) from None


class Copy:
    """The local file, for its only writer. Every method raises CopyError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_file(path)
        self._file = _inode(path)
        self._size = 0
        self._faults: dict[int, str] = {}

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._engine.dispose()

    def is_replaced(self) -> bool:
        """Return True if the path names another file by now, or if the file was truncated, which SQLite never does."""
        size = self._path.stat().st_size if self._path.exists() else 0
        self._size = max(self._size, size)
        return _inode(self._path) != self._file or size < self._size

    def synced_at(self) -> float | None:
        """Return when the copy was last known to equal the database, in seconds since the epoch; None for never."""
        with _local_errors(), self._engine.connect() as connection:
            value = connection.execute(select(replica_state.c.value).where(replica_state.c.name == SYNCED)).scalar()
        return float(value) if value else None

    def sums(self, table: Table) -> dict[int, str]:
        """Return the stored sums: bucket -> sum."""
        with _local_errors(), self._engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT bucket, sum FROM replica_sum WHERE table_name = ?", (table.name,))
            return {int(bucket): str(total) for bucket, total in rows}

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Commit all writes of the block, or none if it raises. The server's errors pass unchanged."""
        with _local_errors():
            connection = self._engine.connect()
        with connection:
            writer = Writer(connection, dict(self._faults))
            with _local_errors():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield writer
                with _local_errors():
                    connection.exec_driver_sql("COMMIT")
            except BaseException:
                with contextlib.suppress(SQLAlchemyError):
                    connection.exec_driver_sql("ROLLBACK")
                raise
        self._faults = writer.faults

    def checkpoint(self) -> None:
        """Truncate the write-ahead log after a large transaction."""
        with _local_errors(), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


class Writer:
    """The writes of one transaction. faults: row id -> why it is left out. complaints: log lines for new faults."""

    def __init__(self, connection: Connection, faults: dict[int, str]) -> None:
        self._connection = connection
        self.faults = faults
        self.complaints: list[str] = []

    def delete(self, table: Table, low: int, high: int) -> None:
        """Delete the rows with low <= id < high."""
        with _local_errors():
            self._connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE id >= ? AND id < ?", (low, high))  # noqa: S608

    def insert(self, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        """Insert the usable rows."""
        values = [tuple(row) for row in rows if table is not uacreg or self._is_usable(row)]
        if not values:
            return
        places = ", ".join("?" * len(table.columns))
        columns = ", ".join(column.name for column in table.columns)
        with _local_errors():
            self._connection.exec_driver_sql(
                f"INSERT OR REPLACE INTO {table.name} ({columns}) VALUES ({places})",  # noqa: S608
                values,
            )

    def note_sums(self, table: Table, sums: dict[int, str]) -> None:
        """Store the table's sums in place of the old ones."""
        with _local_errors():
            self._connection.exec_driver_sql("DELETE FROM replica_sum WHERE table_name = ?", (table.name,))
            if sums:
                self._connection.exec_driver_sql(
                    "INSERT INTO replica_sum VALUES (?, ?, ?)", [(table.name, *item) for item in sums.items()]
                )

    def note_changed(self, table: Table, number: int) -> None:
        """Void the sum of a bucket of which one row was fetched; the next comparison fetches the whole bucket."""
        with _local_errors():
            self._connection.exec_driver_sql(
                "INSERT OR REPLACE INTO replica_sum VALUES (?, ?, '')", (table.name, number // BUCKET)
            )

    def note_synced(self) -> None:
        """Store that the copy equals the database now, which opens it to calls."""
        with _local_errors():
            self._connection.exec_driver_sql(
                "INSERT OR REPLACE INTO replica_state VALUES (?, ?)", (SYNCED, str(time.time()))
            )

    def _is_usable(self, row: Sequence[Any]) -> bool:
        trunk = trunk_of(row)
        number = int(row[0])
        if trunk.fault and self.faults.get(number) != trunk.fault:
            self.complaints.append(f"trunk={trunk.uuid!r} outcome=unusable reason={trunk.fault!r}")
        if trunk.fault:
            self.faults[number] = trunk.fault
        else:
            self.faults.pop(number, None)
        return not trunk.fault


_TRUNK_PLACES = [list(uacreg.columns).index(column) for column in TRUNK_COLUMNS]


def trunk_of(row: Sequence[Any]) -> Trunk:
    """Make a Trunk of a complete row of uacreg."""
    return Trunk.of([row[place] for place in _TRUNK_PLACES])
