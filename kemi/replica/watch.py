"""Find the changes of the local file that Kamailio must reload, whether the keeper or the DBA made them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from kemi.trunks.tables import TRUNK_COLUMNS, address, open_file
from kemi.trunks.trunk import Trunk


@dataclass
class Report:
    """The findings of one tick. lines: for the log, (is_warning, text). addresses: True if the table address may have
    changed.
    """

    lines: list[tuple[bool, str]] = field(default_factory=list)
    addresses: bool = False

    def note(self, line: str) -> None:
        self.lines.append((False, line))

    def warn(self, line: str) -> None:
        self.lines.append((True, line))


class Watch:
    """Compares the local file with its last state. names_faults: report unusable rows, which a copy does not hold."""

    def __init__(self, path: Path, names_faults: bool) -> None:
        self._path = path
        self._names_faults = names_faults
        self._engine = open_file(path)
        self._connection: Connection | None = None
        self._version: tuple[int, int] | None = None
        self._addresses = ""
        self._faults: dict[str, str] = {}

    def look(self, report: Report) -> None:
        """Add the changes since the last look to the report. The first look reports addresses too: their reload costs
        little.
        """
        try:
            connection, version = self._current()
            if version == self._version:
                return
            addresses = hashlib.sha256(
                repr([tuple(row) for row in connection.execute(select(address).order_by(address.c.id))]).encode()
            ).hexdigest()
            if self._names_faults:
                self._name_faults(connection, report)
        except (SQLAlchemyError, OSError):
            self.close()
            return
        report.addresses = report.addresses or addresses != self._addresses
        self._version, self._addresses = version, addresses

    def close(self) -> None:
        """Close the file. The next look opens it again."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._version = None
        self._engine.dispose()

    def _current(self) -> tuple[Connection, tuple[int, int]]:
        inode = self._path.stat().st_ino
        if self._connection is None or self._version is None or self._version[0] != inode:
            self.close()
            self._connection = self._engine.connect()
        version = self._connection.exec_driver_sql("PRAGMA data_version").scalar_one()
        return self._connection, (inode, version)

    def _name_faults(self, connection: Connection, report: Report) -> None:
        trunks = (Trunk.of(row) for row in connection.execute(select(*TRUNK_COLUMNS)))
        faults = {trunk.uuid: trunk.fault for trunk in trunks if trunk.fault}
        for uuid, fault in faults.items():
            if self._faults.get(uuid) != fault:
                report.warn(f"trunk={uuid!r} outcome=unusable reason={fault!r}")
        self._faults = faults
