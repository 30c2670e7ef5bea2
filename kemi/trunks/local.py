"""A local SQLite file as SIP workers read it: opened when it is first needed, opened anew if it was replaced, and
looked at for changes when what is known of it is FRESH_FOR old.

SQLAlchemy writes each SELECT, once, and opens the file. The driver runs the SELECT: what SQLAlchemy does around a run
takes twice as long as all the rest of a look-up (docs/performance.md).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic
from typing import Any, cast

from sqlalchemy import PoolProxiedConnection, Select, String, bindparam
from sqlalchemy.dialects.sqlite import dialect

from kemi.trunks.tables import open_file, version_of

FRESH_FOR = 0.05  # seconds between two looks of a busy worker whether the file has changed
FIRST, SECOND = bindparam("first", type_=String()), bindparam("second", type_=String())  # the parameters of a Question


class Question:
    """A SELECT with none of the parameters, FIRST, or both, as the driver takes it."""

    def __init__(self, select: Select[Any]) -> None:
        compiled = select.compile(dialect=dialect(paramstyle="named"))
        self._text = str(compiled)
        self._values = dict(compiled.params)  # of what is no parameter, such as a limit

    def rows(self, driver: sqlite3.Connection, *values: str | int) -> list[tuple[Any, ...]]:
        """Return the rows that answer it, with these values for its parameters. Raises sqlite3.Error."""
        given = dict(zip((FIRST.key, SECOND.key), values, strict=False))
        return driver.execute(self._text, self._values | given).fetchall()


class LocalFile:
    """One connection to a file, of the process that first uses it. Its methods raise SQLAlchemyError, sqlite3.Error or
    OSError if the file cannot be read; the next one opens it anew, if close() was called.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_file(path)
        self._connection: PoolProxiedConnection | None = None
        self._driver: sqlite3.Connection | None = None
        self._state: tuple[int, int] = (0, 0)
        self._stale_at = 0.0  # of monotonic(): what is kept may be used until then

    def look_again(self) -> None:
        """Have the next look-up check whether the file has changed, however short ago that was done."""
        self._stale_at = 0.0

    def close(self) -> None:
        """Close the connection. The next look-up opens another one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._driver = None
        self._stale_at = 0.0
        self._engine.dispose()
        self._forget()

    def _look(self) -> sqlite3.Connection:
        """Return the connection, opened anew if the file was replaced; what is kept goes if anything changed."""
        now = monotonic()
        if self._driver is not None and now < self._stale_at:
            return self._driver
        inode = self._path.stat().st_ino
        if self._driver is None or inode != self._state[0]:
            self.close()
            self._connection = self._engine.raw_connection()
            self._driver = cast("sqlite3.Connection", self._connection.driver_connection)
            self._opened(self._driver)
        state = inode, version_of(self._driver)
        if state != self._state:
            self._state = state
            self._forget()
        self._stale_at = now + FRESH_FOR
        return self._driver

    def _opened(self, driver: sqlite3.Connection) -> None:
        """Look at a file that has just been opened. Raises OSError if it is not the one that was meant."""

    def _forget(self) -> None:
        """Forget what was kept of the file."""
        raise NotImplementedError
