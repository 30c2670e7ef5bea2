"""Writes rows into the copy, judged (kemi.trunks.rows): the faults of rows are stored beside them and named once.

Unusable rows of uacreg and trunk are stored, because a call that finds one must end; those of address are left out,
because the permissions module would refuse all others for one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, literal_column, or_, select
from sqlalchemy import Row as ResultRow
from sqlalchemy.exc import SQLAlchemyError

from kemi.line import Line, warning
from kemi.replica.source import BUCKET, limits
from kemi.trunks.groups import Row, left_out
from kemi.trunks.rows import Rules, Verdict
from kemi.trunks.tables import (
    NAMES_SECRET,
    SYNCED,
    UNREGISTERED,
    UNUSABLE,
    address,
    cause,
    copied_uacreg,
    replica_fault,
    trunk,
)

MOST_NAMED = 100  # faults that get a line of their own

_DAMAGE = ("malformed", "not a database", "no such table", "no such column")  # sqlite3's words


class CopyError(RuntimeError):
    """The local file cannot be read or written; the text is the reason. is_damaged: only rebuilding it helps."""

    def __init__(self, reason: str, is_damaged: bool) -> None:
        super().__init__(reason)
        self.is_damaged = is_damaged


@contextlib.contextmanager
def local_errors() -> Iterator[None]:
    """Turn errors of the local file into CopyError, which tells them from the source's."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = cause(error)
        raise CopyError(reason, any(word in reason for word in _DAMAGE)) from None
    except OSError as error:
        raise CopyError(str(error), is_damaged=False) from None


@dataclass
class Faults:
    """Log lines about rows, and how many more there would have been."""

    lines: list[Line] = field(default_factory=list)
    more: int = 0

    def add(self, subject: str, outcome: str, reason: str) -> None:
        if len(self.lines) < MOST_NAMED:
            name, _, value = subject.partition("=")
            self.lines.append(warning(**{name: value}, outcome=outcome, reason=reason))
        else:
            self.more += 1


class Writer:
    """The writes of one transaction. faults: those that are new."""

    def __init__(self, connection: Connection, rules: Rules) -> None:
        self._connection = connection
        self._rules = rules
        self._known: set[tuple[str, str]] = set()  # subject, reason
        self._moves_addresses = False
        self.faults = Faults()

    def delete(self, table: Table, low: int, high: int) -> None:
        """Delete the rows with low <= id < high. Their faults are not new if the rows come again with them."""
        ids = limits(low, high)
        self._moves_addresses |= table is address
        of_the_rows = "FROM replica_fault WHERE table_name = ? AND id BETWEEN ? AND ?"
        with local_errors():
            known = self._connection.exec_driver_sql(f"SELECT subject, reason {of_the_rows}", (table.name, *ids))
            self._known |= {(str(subject), str(reason)) for subject, reason in known}
            self._connection.exec_driver_sql(f"DELETE {of_the_rows}", (table.name, *ids))
            self._connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE id BETWEEN ? AND ?", ids)  # noqa: S608

    def insert(self, table: Table, rows: Iterable[Sequence[Any]]) -> None:
        """Insert rows, and their faults."""
        columns = table.columns.keys()
        self._moves_addresses |= table is address
        values, faults = [], []
        for row in rows:
            verdict = self.judge(table, row)
            if table is not address or not verdict.fault:
                values.append(tuple(verdict.row.values()))
            if fault := fault_of(table, verdict):
                faults.append((table.name, row[0], *fault))
        places = ", ".join("?" * len(columns))
        self._insert(f"{table.name} ({', '.join(columns)}) VALUES ({places})", values)
        self._write_faults(faults)

    def _write_faults(self, faults: list[tuple[Any, ...]]) -> None:
        """Store faults, and name those that are new."""
        self._insert("replica_fault VALUES (?, ?, ?, ?, ?)", faults)
        for _, _, subject, outcome, reason in faults:
            if (subject, reason) not in self._known:
                self.faults.add(subject, outcome, reason)

    def judge(self, table: Table, row: Sequence[Any]) -> Verdict:
        named = dict(zip(table.columns.keys(), row, strict=True))
        judges = {
            copied_uacreg.name: self._rules.trunk,
            address.name: self._rules.address,
            trunk.name: self._rules.policy,
        }
        return judges[table.name](named)

    def judge_groups(self) -> None:
        """Judge the addresses by each other, at the end of a transaction that has moved any. Those left out stay in the
        copy: they are good again as soon as the others go. Kamailio does not see them (copy.py).
        """
        if not self._moves_addresses:
            return
        columns = (address.c.id, address.c.ip_addr, address.c.mask, address.c.port, address.c.grp)
        stored = replica_fault.c.id.in_(select(address.c.id))
        mine = and_(replica_fault.c.table_name == address.name, stored)
        with local_errors():
            now = left_out(map(Row._make, self._connection.execute(select(*columns))))
            faults = self._connection.execute(select(replica_fault.c.id, replica_fault.c.reason).where(mine))
            before = {int(row): str(reason) for row, reason in faults}
            for row in before.keys() - now.keys():
                self._connection.execute(replica_fault.delete().where(mine, replica_fault.c.id == row))
        new = sorted(now.items() - before.items())
        self._write_faults([(address.name, row, f"{address.name}={row}", UNUSABLE, reason) for row, reason in new])

    def judge_again(self, tables: Iterable[Table]) -> None:
        """Judge the rows that are stored."""
        for table in tables:
            self._moves_addresses |= table is address
            self._judge_again(table, select(table))

    def judge_secrets(self) -> None:
        """Judge the trunks that only name their secret."""
        named = or_(*map(literal_column, NAMES_SECRET.values()))
        self._judge_again(copied_uacreg, select(copied_uacreg).where(named))

    def _judge_again(self, table: Table, query: Select[Any]) -> None:
        with local_errors():
            rows = self._judged_otherwise(table, query)
        for row in rows:
            self.delete(table, row[0], row[0] + 1)
            self.insert(table, [row])

    def _judged_otherwise(self, table: Table, query: Select[Any]) -> list[ResultRow[Any]]:
        """Return the rows of the query that would not be stored as they are."""
        faults = select(replica_fault).where(replica_fault.c.table_name == table.name)
        stored = {number: tuple(fault) for _, number, *fault in self._connection.execute(faults)}

        def is_stored(row: ResultRow[Any]) -> bool:
            verdict = self.judge(table, row)
            return fault_of(table, verdict) == stored.get(row[0]) and tuple(verdict.row.values()) == tuple(row)

        return [row for row in self._connection.execute(query) if not is_stored(row)]

    def note_sums(self, table: Table, sums: dict[int, str]) -> None:
        """Store the table's sums in place of the old ones."""
        with local_errors():
            self._connection.exec_driver_sql("DELETE FROM replica_sum WHERE table_name = ?", (table.name,))
        self._insert("replica_sum VALUES (?, ?, ?)", [(table.name, *item) for item in sums.items()])

    def note_changed(self, table: Table, number: int) -> None:
        """Void the sum of a bucket of which one row was fetched; the next comparison fetches the whole bucket."""
        self._insert("replica_sum VALUES (?, ?, '')", [(table.name, number // BUCKET)])

    def note_synced(self) -> None:
        """Store that the copy equals the database now, which opens it to calls."""
        self.note(SYNCED, str(time.time()))

    def note(self, name: str, value: str) -> None:
        """Store what the copy says of itself."""
        self._insert("replica_state VALUES (?, ?)", [(name, value)])

    def _insert(self, into: str, values: list[tuple[Any, ...]]) -> None:
        if values:
            with local_errors():
                self._connection.exec_driver_sql(f"INSERT OR REPLACE INTO {into}", values)


def fault_of(table: Table, verdict: Verdict) -> tuple[str, str, str] | None:
    """Return subject, outcome and reason of a row's fault; None if it has none."""
    if not (verdict.fault or verdict.unregistered):
        return None
    name, number = verdict.row.get("l_uuid"), verdict.row["id"]
    subject = f"trunk={name}" if isinstance(name, str) and name else f"{table.name}={number}"
    if verdict.fault:
        return subject, UNUSABLE, verdict.fault
    return subject, UNREGISTERED, verdict.unregistered
