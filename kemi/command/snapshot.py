"""A copy of the database for one command, made and judged as the running node makes its own, and gone after it."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from sqlalchemy import Select
from sqlalchemy.exc import SQLAlchemyError

from kemi.command.base import Failure
from kemi.command.database import open_tables
from kemi.replica.copy import Copy, prepare
from kemi.replica.keeper import Keeper
from kemi.replica.source import TABLES
from kemi.replica.writer import CopyError
from kemi.settings import Settings
from kemi.trunks.store import TrunkStore
from kemi.trunks.tables import cause, open_file


class Snapshot(NamedTuple):
    """file: the copy. store: finds trunks in it, as SIP workers do, and next hops in the node's file of names."""

    file: Path
    store: TrunkStore

    def select(self, question: Select[Any]) -> list[Mapping[str, object]]:
        """Return rows of the copy."""
        engine = open_file(self.file)
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(question).mappings()]
        finally:
            engine.dispose()


@contextlib.contextmanager
def snapshot(settings: Settings, changes: Sequence[str] = ()) -> Iterator[Snapshot]:
    """Make a copy, in which these statements of SQL are carried out. Raises Failure."""
    with open_tables(settings):  # whatever is wrong with the database is said here
        pass
    with _cleaning_up(), tempfile.TemporaryDirectory(prefix="trunkauth-") as folder:
        file = Path(folder) / "copy.sqlite"
        prepare(file, settings.db_url, settings.rules)
        keeper = Keeper(file, settings.db_url, settings.compare_interval, settings.rules)
        try:
            lines = [line for _ in range(2) for line in keeper.tick().lines]
        finally:
            keeper.close()
        with contextlib.closing(Copy(file, settings.rules)) as copy:
            if copy.synced_at() is None:
                raise Failure(str(lines[0].fields["reason"]) if lines else "the database cannot be copied")
        if changes:
            _carry_out(file, settings, changes)
        store = TrunkStore(file, settings.db_url, settings.names_file)
        try:
            yield Snapshot(file, store)
        finally:
            store.close()


@contextlib.contextmanager
def _cleaning_up() -> Iterator[None]:
    """Have signals that would end the command at once raise SystemExit in the block: the copy holds passwords."""
    ending = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for each in ending:
        signal.signal(each, _end)
    try:
        yield
    finally:
        for each in ending:
            signal.signal(each, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _carry_out(file: Path, settings: Settings, changes: Sequence[str]) -> None:
    """Change the copy, and judge its rows again."""
    with contextlib.closing(Copy(file, settings.rules)) as copy:
        try:
            with copy.connected() as connection:
                for statement in changes:
                    connection.exec_driver_sql(statement)
        except SQLAlchemyError as error:
            raise Failure(f"--with: {cause(error)}") from None
        try:
            with copy.transaction() as writer:
                writer.judge_again(TABLES)
        except CopyError as error:
            raise Failure(f"--with leaves no database that can be used: {error}") from None
