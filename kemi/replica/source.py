"""The DBA's server, PostgreSQL or MariaDB/MySQL, as the copy is made from it: one connection, that says who it is.

Everything that is asked of it has a limit, because a frozen server answers nothing and says nothing. Only SELECTs;
and on PostgreSQL, LISTEN. Never used by SIP workers.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    URL,
    ColumnClause,
    Connection,
    Row,
    Table,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kemi.trunks.tables import address, uacreg

OPERATION_LIMIT = 10.0  # seconds, for each thing that the server is asked for
MOST_LIMITS = 6  # that a whole table's sums may take
CONNECT_LIMIT = 5
BUCKET = 1000  # rows whose sum is compared
BATCH = 5000  # rows that are fetched and written at once
TABLES: tuple[Table, ...] = (uacreg, address)
NOTICE_CHANNEL = "kemi_trunkauth"

# A row's sum, from the text of its columns: 60 bits of MD5, which both kinds of server have.
_ROW_SUM = {
    "postgresql": "('x' || substr(md5(concat_ws(chr(31), {columns})), 1, 15))::bit(60)::bigint",
    "mysql": "CAST(CONV(SUBSTR(MD5(CONCAT_WS(CHAR(31), {columns})), 1, 15), 16, 10) AS UNSIGNED)",
    "mariadb": "CAST(CONV(SUBSTR(MD5(CONCAT_WS(CHAR(31), {columns})), 1, 15), 16, 10) AS UNSIGNED)",
}

_TRIGGERS = text("SELECT count(*) FROM pg_trigger WHERE tgname = 'kemi_trunkauth_notice'")


class Source:
    """The DBA's server, through one connection that says who it is. Every method raises SQLAlchemyError or OSError."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(
            url,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            connect_args=_connect_arguments(url),
        )
        event.listen(self._engine, "connect", self._guard_first_questions, insert=True)
        self._first_questions: threading.Timer | None = None
        self._connection: Connection | None = None
        self.gives_notice = False

    def connect(self) -> None:
        """Open the connection, and ask for notices where the triggers are there."""
        try:
            self._connection = self._engine.connect()
        finally:
            if self._first_questions is not None:
                self._first_questions.cancel()
        if self.may_give_notice:
            with self._limited():
                # Otherwise the server goes on with a query whose client is gone, until a table is unlocked, say.
                self._connection.execute(text(f"SET statement_timeout = {1000 * MOST_LIMITS * OPERATION_LIMIT:.0f}"))
                self.gives_notice = self._listen(self._connection)

    @property
    def may_give_notice(self) -> bool:
        """Whether the server is of a kind that can."""
        return self._engine.dialect.name == "postgresql"

    def is_connected(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        """Drop the connection, whatever state it is in."""
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError, OSError):
                self._connection.invalidate()
                self._connection.close()
        self._connection = None
        self.gives_notice = False
        self._engine.dispose()

    def beat(self) -> None:
        """See that the server is alive."""
        with self._limited():
            self._open.execute(text("SELECT 1"))

    def notices(self) -> list[str]:
        """What was changed since the last call, as the trigger says it: `table:id`, or `table:*` for all of it."""
        driver: Any = self._open.connection.driver_connection
        try:
            return sorted({notice.payload for notice in driver.notifies(timeout=0)})
        except self._engine.dialect.loaded_dbapi.Error as error:  # past SQLAlchemy, which would have made its own of it
            raise OSError(str(error)) from None

    def row(self, table: Table, number: int) -> tuple[Any, ...] | None:
        """One row by its id."""
        with self._limited():
            found = self._open.execute(select(table).where(table.c.id == number)).first()
        return tuple(found) if found else None

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """One view of all tables, whoever writes meanwhile."""
        connection = self._open
        with self._limited():
            connection.execute(text(_BEGIN[self._engine.dialect.name]))
        try:
            yield
        finally:
            with self._limited():
                connection.execute(text("COMMIT"))

    def sums(self, table: Table) -> dict[int, str]:
        """Bucket (id divided by BUCKET) -> count and sum of its rows."""
        columns = ", ".join(column.name for column in table.columns)
        row_sum: ColumnClause[int] = literal_column(_ROW_SUM[self._engine.dialect.name].format(columns=columns))
        bucket = func.floor(table.c.id / BUCKET)
        asked = select(bucket, func.count(), func.sum(row_sum)).select_from(table).group_by(bucket)
        with self._limited(MOST_LIMITS):
            return {int(number): f"{count}:{int(total)}" for number, count, total in self._open.execute(asked)}

    def rows(self, table: Table, low: int, high: int) -> Generator[Sequence[Row[Any]], None, None]:
        """The rows with low <= id < high, in batches; the server keeps what has not been asked for."""
        asked = select(table).where(table.c.id >= low, table.c.id < high).order_by(table.c.id)
        with self._limited():
            result = self._open.execute(asked, execution_options={"stream_results": True, "max_row_buffer": BATCH})
        try:
            while True:
                with self._limited():
                    batch = result.fetchmany(BATCH)
                if not batch:
                    return
                yield batch
        finally:
            with contextlib.suppress(SQLAlchemyError, OSError), self._limited():
                result.close()

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise OSError("not connected")
        return self._connection

    def _listen(self, connection: Connection) -> bool:
        """Ask for notices; False where the triggers are missing, or the server is a standby, which has none to give."""
        try:
            if connection.execute(_TRIGGERS).scalar_one() < len(TABLES):
                return False
            connection.execute(text(f"LISTEN {NOTICE_CHANNEL}"))
        except DBAPIError:
            if connection.invalidated:
                raise
            return False
        return True

    @contextlib.contextmanager
    def _limited(self, times: int = 1) -> Iterator[None]:
        """End what takes longer than the limit. PyMySQL does so itself, and looks at its limit at each read; psycopg
        would wait for ever, so its connection is shut down.
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
        """SQLAlchemy asks a server a few things when it meets it: those have a limit as well."""
        if hasattr(driver, "fileno"):
            self._first_questions = _watchdog(driver, 1)


def _watchdog(driver: Any, times: int) -> threading.Timer:
    watchdog = threading.Timer(OPERATION_LIMIT * times, _shut_down, [driver.fileno()])
    watchdog.daemon = True
    watchdog.start()
    return watchdog


_BEGIN = {
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "mariadb": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
}


def _connect_arguments(url: URL) -> dict[str, object]:
    if url.get_backend_name() == "postgresql":
        return {
            "connect_timeout": CONNECT_LIMIT,
            "application_name": "kemi-trunkauth",
            "client_encoding": "utf8",  # psycopg gives bytes, not text, where the database's own is SQL_ASCII
        }
    limit = int(OPERATION_LIMIT)
    return {
        "connect_timeout": CONNECT_LIMIT,
        "read_timeout": limit,
        "write_timeout": limit,
        "program_name": "kemi-trunkauth",
    }


def _shut_down(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
