"""The copy of the DBA's database: a local SQLite file that SIP workers (kemi.trunks.store) and Kamailio's own modules
read, and that one process writes.

Beside the tables it stores which database it copies, when it was last equal to it, the sums of its rows and their
faults. A sync is one transaction: readers see the old tables or the new ones.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Connection, Table, literal_column, select
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from kemi.replica.source import TABLES
from kemi.replica.writer import Faults, Writer, local_errors
from kemi.start import schema
from kemi.trunks.rows import Rules
from kemi.trunks.secret import fingerprint
from kemi.trunks.tables import (
    NAMES_SECRET,
    RULES,
    SECRETS,
    SOURCE,
    SYNCED,
    add_contact_user,
    address,
    empty_log,
    has_log,
    identity,
    open_file,
    replica_fault,
    replica_state,
    said,
    uacreg,
)  # fmt: skip

# In a new copy, and in one that an earlier release has left.
_TABLES_OF_THE_COPY = (
    "CREATE TABLE IF NOT EXISTS replica_state (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS replica_sum"
    " (table_name TEXT, bucket INTEGER, sum TEXT NOT NULL, PRIMARY KEY (table_name, bucket))",
    "CREATE TABLE IF NOT EXISTS replica_fault (table_name TEXT, id INTEGER, subject TEXT NOT NULL,"
    " outcome TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (table_name, id))",
    "CREATE INDEX IF NOT EXISTS uacreg_caller_idx ON uacreg (l_username, lower(l_domain))",
    "CREATE INDEX IF NOT EXISTS uacreg_dialled_idx ON uacreg (lower(r_domain))",
    "CREATE INDEX IF NOT EXISTS uacreg_contact_user_idx ON uacreg (contact_user) WHERE contact_user <> ''",
    # What the permissions module reads (kamailio.cfg): the addresses that can be used.
    "CREATE VIEW IF NOT EXISTS usable_address AS SELECT * FROM address WHERE id NOT IN"
    " (SELECT id FROM replica_fault WHERE table_name = 'address')",
    "INSERT INTO version (table_name, table_version) SELECT 'usable_address', 6"
    " WHERE NOT EXISTS (SELECT 1 FROM version WHERE table_name = 'usable_address')",
    *(f"CREATE INDEX IF NOT EXISTS {name}_idx ON uacreg ({name}) WHERE {only}" for name, only in NAMES_SECRET.items()),
    "CREATE INDEX IF NOT EXISTS address_tag_idx ON address (grp, tag)",
    "CREATE INDEX IF NOT EXISTS registrations_idx ON uacreg (expires) WHERE expires > 0",
)


_NAMED = [select(uacreg.c[name]).where(literal_column(named)).distinct() for name, named in NAMES_SECRET.items()]


def prepare(path: Path, source: URL, rules: Rules) -> str:
    """Create the copy's file if it is missing, damaged or of another database. Return which; empty if it is kept.

    The new file replaces the old one atomically; readers that have the old one open go on with it. Rows of a copy that
    is kept are judged again, so that no start depends on what an earlier one left. Raises CopyError.
    """
    reason = _unusable(path, identity(source))
    if reason:
        with local_errors():
            _make(path, source, rules)
    else:
        _judge(path, rules)
    return reason


def _make(path: Path, source: URL, rules: Rules) -> None:
    """Put an empty copy in the file's place."""
    fresh = path.with_suffix(".new")
    for leftover in _files_of(fresh):
        leftover.unlink(missing_ok=True)
    engine = open_file(fresh)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("BEGIN")  # one write: the disk is waited for at each
        schema.make(connection)
        _lay_out(connection)
        state = {SOURCE: identity(source), RULES: rules.name}
        connection.execute(replica_state.insert(), [{"name": name, "value": value} for name, value in state.items()])
        connection.exec_driver_sql("COMMIT")
    engine.dispose()
    for leftover in _files_of(path)[1:]:
        leftover.unlink(missing_ok=True)
    fresh.replace(path)


def _judge(path: Path, rules: Rules) -> None:
    """Judge the addresses of a copy. If its rows were judged by other rules, judge them all, and have them all fetched
    by the next comparison.
    """
    copy = Copy(path, rules)
    with contextlib.closing(copy):
        with local_errors(), copy.connected() as connection:
            is_judged = said(connection, RULES) == rules.name
            if not is_judged:
                schema.make(connection)
                _lay_out(connection)
        with copy.transaction() as writer:
            if not is_judged:
                writer.note(RULES, rules.name)
                for table in TABLES:
                    writer.note_sums(table, {})
            writer.judge_again((address,) if is_judged else TABLES)


def _lay_out(connection: Connection) -> None:
    add_contact_user(connection, uacreg.name)
    for statement in _TABLES_OF_THE_COPY:
        connection.exec_driver_sql(statement)


def _unusable(path: Path, wanted: str) -> str:
    if not path.exists():
        return "missing"
    engine = open_file(path)
    try:
        with engine.connect() as connection:
            if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() != "ok":
                return "damaged"
            return "" if said(connection, SOURCE) == wanted else "of another database"
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


class Copy:
    """The local file, for its only writer. Every method raises CopyError."""

    def __init__(self, path: Path, rules: Rules) -> None:
        self._path = path
        self._rules = rules
        self._engine = open_file(path)
        self._file = _inode(path)
        self._size = 0

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
        with local_errors(), self.connected() as connection:
            value = said(connection, SYNCED)
        return float(value) if value else None

    def sums(self, table: Table) -> dict[int, str]:
        """Return the stored sums: bucket -> sum."""
        with local_errors(), self.connected() as connection:
            rows = connection.exec_driver_sql("SELECT bucket, sum FROM replica_sum WHERE table_name = ?", (table.name,))
            return {int(bucket): str(total) for bucket, total in rows}

    def faults(self) -> Faults:
        """Return the faults of all rows."""
        found = Faults()
        columns = (replica_fault.c.subject, replica_fault.c.outcome, replica_fault.c.reason)
        with local_errors(), self.connected() as connection:
            for row in connection.execute(select(*columns).order_by(replica_fault.c.table_name, replica_fault.c.id)):
                found.add(*row)
        return found

    def named_secrets(self) -> str:
        """Return what moves when a secret that a row only names has changed; empty if none does."""
        with local_errors(), self.connected() as connection:
            named = {str(text) for query in _NAMED for text in connection.execute(query).scalars()}
        found = repr([(text, fingerprint(text)) for text in sorted(named)])
        return hashlib.sha256(found.encode()).hexdigest() if named else ""

    def known_secrets(self) -> str:
        """Return the same as it was noted last."""
        with local_errors(), self.connected() as connection:
            return said(connection, SECRETS)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Commit all writes of the block, or none if it raises. The server's errors pass unchanged."""
        with local_errors():
            connection = self._engine.connect()
        with connection:
            writer = Writer(connection, self._rules)
            with local_errors():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.judge_groups()
                with local_errors():
                    connection.exec_driver_sql("COMMIT")
            except BaseException:
                with contextlib.suppress(SQLAlchemyError):
                    connection.exec_driver_sql("ROLLBACK")
                raise

    def empty_log(self) -> None:
        """Empty the write-ahead log, so that no password outlives its row there."""
        with local_errors():
            if has_log(self._path):
                with self.connected() as connection:
                    empty_log(self._path, connection)

    def connected(self) -> contextlib.AbstractContextManager[Connection]:
        return self._engine.connect()
