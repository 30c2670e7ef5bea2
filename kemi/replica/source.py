"""The DBA's database, read through one connection: PostgreSQL or MariaDB/MySQL here, an SQLite file in file.py.

Every query has a time limit, because a frozen server neither answers nor closes the connection. Only SELECT and, on
PostgreSQL, LISTEN and a NOTIFY of our own. Never used by SIP workers.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    Table,
    TextClause,
    create_engine,
    event,
    func,
    inspect,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kemi.replica.wording import BEGIN, COMMIT, OVERTAKEN, REPEATABLE_READ, ROW_SUM, TRIGGERS
from kemi.trunks.rows import MOST_ID
from kemi.trunks.tables import CONTACT_USER, address, copied_uacreg, trunk

OPERATION_LIMIT = 10.0  # seconds for one query or one batch of its rows
MOST_LIMITS = 6  # times OPERATION_LIMIT, for the sums of a whole table
CONNECT_LIMIT = 5
BUCKET = 1000  # consecutive ids under one sum
BATCH = 5000  # rows fetched and written at once
TABLES: tuple[Table, ...] = (copied_uacreg, address, trunk)
OPTIONAL = trunk  # a database that Kamailio's own scripts made has none
NOTICE_CHANNEL = "kemi_trunkauth"
OWN_CHANNEL = "kemi_trunkauth_keepers"


def limits(low: int, high: int) -> tuple[int, int]:
    """Return low <= id < high as the first and the last id, each one that 64 bits can hold."""
    return max(min(low, MOST_ID), -MOST_ID - 1), min(high - 1, MOST_ID)


class Source:
    """One connection to the DBA's server. Every method raises SQLAlchemyError or OSError."""

    longest_pause = 30.0  # seconds between two tries to reach it

    def __init__(self, url: URL) -> None:
        self._engine = self._make_engine(url)
        self._decodes = False
        self._first_questions: threading.Timer | None = None
        self._connection: Connection | None = None
        self._lacks: frozenset[str] = frozenset()
        self.gives_notice = False

    def _make_engine(self, url: URL) -> Engine:
        engine = engine_with(url, _connect_arguments(url))
        event.listen(engine, "connect", self._guard_first_questions, insert=True)
        return engine

    def connect(self) -> None:
        """Open the connection, and listen for notices if the triggers are installed."""
        try:
            self._connection = self._engine.connect()
        finally:
            if self._first_questions is not None:
                self._first_questions.cancel()
        self._look_for_contact_user()
        if self.may_give_notice:
            with self._limited():
                # Otherwise a query whose client is gone runs on, until a table is unlocked, say.
                self._connection.execute(text(f"SET statement_timeout = {1000 * MOST_LIMITS * OPERATION_LIMIT:.0f}"))
                self.gives_notice = self._listen(self._connection)
                if self._connection.execute(text("SHOW server_encoding")).scalar_one() == "SQL_ASCII":
                    self._connection.execute(text("SET client_encoding = 'SQL_ASCII'"))
                    self._decodes = True

    @property
    def may_give_notice(self) -> bool:
        """True if this kind of server can give notices."""
        return self._engine.dialect.name == "postgresql"

    def _look_for_contact_user(self) -> None:
        """Find out whether Kamailio's uacreg has the column of 6.2, and we may read it."""
        column = copied_uacreg.c[CONTACT_USER]
        self._lacks = frozenset()
        try:
            with self._limited():
                self._open.execute(select(column).limit(0))
        except DBAPIError:
            if self._open.invalidated:
                raise
            self._lacks = frozenset((CONTACT_USER,))

    def is_connected(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        """Drop the connection, whatever its state."""
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError, OSError):
                self._connection.invalidate()
                self._connection.close()
        self._connection = None
        self.gives_notice = False
        self._engine.dispose()

    def beat(self) -> None:
        """Check that the server is alive, and still gives notices: a table that was made anew has no trigger."""
        with self._limited():
            self.gives_notice = self._has_triggers()

    def notices(self) -> list[str]:
        """Return the changes since the last call, as the trigger names them: `table:id`, or `table:*` for all rows."""
        driver: Any = self._open.connection.driver_connection
        try:
            return sorted({each.payload for each in driver.notifies(timeout=0) if each.channel == NOTICE_CHANNEL})
        except self._engine.dialect.loaded_dbapi.Error as error:  # raised past SQLAlchemy, which wraps it otherwise
            raise OSError(str(error)) from None

    def notices_by_now(self) -> list[str]:
        """Return the same, with those of all transactions that a snapshot has shown: in the server's queue they are
        before a notice of our own, and come before its answer (PostgreSQL's async.c).
        """
        self._run(text(f"NOTIFY {OWN_CHANNEL}"))
        return self.notices()

    def named(self, table: Table, numbers: Collection[int]) -> Sequence[Sequence[Any]]:
        """Return the rows with these ids that there are."""
        with self._limited():
            return self._decoded(self._open.execute(self._select(table).where(table.c.id.in_(numbers))).all())

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read all tables in the block as of one moment."""
        begin = BEGIN[self._engine.dialect.name]
        self._run(begin)
        while self._engine.dialect.name == "postgresql" and self._is_overtaken():
            self._run(COMMIT)
            self._run(begin)
        try:
            yield
        finally:
            self._run(COMMIT)

    def _run(self, statement: TextClause) -> None:
        with self._limited():
            self._open.execute(statement)

    def _is_overtaken(self) -> bool:
        """Lock the tables for reading. Return True if the snapshot, which is older, does not show the rows of one."""
        with self._limited(MOST_LIMITS):
            for table in self.tables():
                self._open.execute(select(table.c.id).limit(0))
            return bool(self._open.execute(OVERTAKEN).scalar_one())

    def tables(self) -> tuple[Table, ...]:
        """Return the tables that there are."""
        with self._limited():
            has_all = inspect(self._open).has_table(OPTIONAL.name)
        return TABLES if has_all else tuple([table for table in TABLES if table is not OPTIONAL])

    def sums(self, table: Table) -> dict[int, str]:
        """Return bucket (id divided by BUCKET) -> `count:sum` of its rows."""
        bucket, row_sum = self._bucket_and_sum(table)
        asked = select(bucket, func.count(), func.sum(row_sum)).select_from(table).group_by(bucket)
        with self._limited(MOST_LIMITS):
            return {int(number): f"{count}:{int(total or 0)}" for number, count, total in self._open.execute(asked)}

    def _bucket_and_sum(self, table: Table) -> tuple[ColumnElement[int], ColumnElement[int]]:
        """Return the SQL of a row's bucket and of its sum."""
        names = self._columns(table)
        columns, nulls = ", ".join(names), ", ".join(f"ISNULL({name})" for name in names)
        row_sum = ROW_SUM[self._engine.dialect.name].format(columns=columns, nulls=nulls)
        return func.floor(table.c.id / BUCKET), literal_column(row_sum)

    def _columns(self, table: Table) -> list[str]:
        """Return the names of the table's columns that there are."""
        return [name for name in table.columns.keys() if name not in self._lacks]  # noqa: SIM118

    def _select(self, table: Table) -> Select[Any]:
        """Return the query for the table's rows, empty in columns that there are not."""
        columns = (literal("").label(name) if name in self._lacks else column for name, column in table.columns.items())
        return select(*columns).select_from(table)

    def rows(self, table: Table, low: int, high: int) -> Generator[Sequence[Sequence[Any]], None, None]:
        """Yield the rows with low <= id < high in batches, through a server-side cursor."""
        asked = self._select(table).where(table.c.id.between(*limits(low, high))).order_by(table.c.id)
        with self._limited():
            result = self._open.execute(asked, execution_options={"stream_results": True, "max_row_buffer": BATCH})
        try:
            while True:
                with self._limited():
                    batch = result.fetchmany(BATCH)
                if not batch:
                    return
                yield self._decoded(batch)
        finally:
            with contextlib.suppress(SQLAlchemyError, OSError), self._limited():
                result.close()

    def _decoded(self, rows: Sequence[Row[Any]]) -> Sequence[Sequence[Any]]:
        """Return rows whose text the server does not know the encoding of; what is not UTF-8 stays bytes."""
        return [tuple(map(decoded, row)) for row in rows] if self._decodes else rows

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise OSError("not connected")
        return self._connection

    def _listen(self, connection: Connection) -> bool:
        """Listen for notices. Return False if the triggers are missing or the server is a standby, which gives none."""
        try:
            if not self._has_triggers():
                return False
            for channel in (NOTICE_CHANNEL, OWN_CHANNEL):
                connection.execute(text(f"LISTEN {channel}"))
        except DBAPIError:
            if connection.invalidated:
                raise
            return False
        return True

    def _has_triggers(self) -> bool:
        return bool(self._open.execute(TRIGGERS).scalar_one() >= len(self.tables()))

    @contextlib.contextmanager
    def _limited(self, times: int = 1) -> Iterator[None]:
        """End a query that exceeds the limit. PyMySQL has a limit of its own, which it reads before each receive;
        psycopg would wait for ever, so its socket is shut down.
        """
        driver: Any = self._open.connection.driver_connection
        if not hasattr(driver, "fileno"):
            driver._read_timeout = OPERATION_LIMIT * times
            yield
            return
        watchdog = _watchdog(driver, times)
        try:
            yield
        finally:
            watchdog.cancel()

    def _guard_first_questions(self, driver: Any, _record: object) -> None:
        """Limit the queries that SQLAlchemy itself sends over a new connection."""
        if hasattr(driver, "fileno"):
            self._first_questions = _watchdog(driver, 1)


def engine_with(url: URL, arguments: dict[str, object]) -> Engine:
    """Return an engine with one connection, whose errors carry no values."""
    return create_engine(
        url, hide_parameters=True, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=0, connect_args=arguments
    )


def decoded(value: object) -> object:
    """Return bytes as text if they are UTF-8; anything else as it is."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _watchdog(driver: Any, times: int) -> threading.Timer:
    watchdog = threading.Timer(OPERATION_LIMIT * times, _shut_down, [driver.fileno()])
    watchdog.daemon = True
    watchdog.start()
    return watchdog


def _connect_arguments(url: URL) -> dict[str, object]:
    if url.get_backend_name() == "postgresql":
        return {
            "connect_timeout": CONNECT_LIMIT,
            "application_name": "kemi-trunkauth",
            "client_encoding": "utf8",  # psycopg returns bytes, not text, if the database's own is SQL_ASCII
        }
    limits_of_queries = dict.fromkeys(("read_timeout", "write_timeout"), int(OPERATION_LIMIT))
    named = {"program_name": "kemi-trunkauth", "init_command": REPEATABLE_READ}
    return {"connect_timeout": CONNECT_LIMIT, **named, **limits_of_queries}


def _shut_down(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
