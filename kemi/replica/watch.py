"""Find the changes of the copy that Kamailio must reload."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select
from sqlalchemy.exc import DatabaseError, OperationalError

from kemi.line import Line, warning
from kemi.replica.writer import CopyError, Faults
from kemi.trunks.tables import SYNCED, address, cause, data_version, open_file, said, uacreg


@dataclass
class Report:
    """The findings of one tick. lines: for the log. addresses: True if the table address may have
    changed.
    """

    lines: list[Line] = field(default_factory=list)
    addresses: bool = False

    def name(self, faults: Faults) -> None:
        """Warn of the faults of rows."""
        self.lines += faults.lines
        if faults.more:
            self.lines.append(warning(outcome="more-faults", rows=faults.more))


class Watch:
    """Compares the copy with its last state. default_trunk: the l_uuid whose row has to be there; empty for none."""

    def __init__(self, path: Path, default_trunk: str) -> None:
        self._path = path
        self._default_trunk = default_trunk
        self._has_default = True
        self._engine = open_file(path)
        self._connection: Connection | None = None
        self._version: tuple[int, int] | None = None
        self._addresses = ""

    def look(self, report: Report) -> None:
        """Add the changes since the last look to the report. The first look reports addresses too: their reload costs
        little. Raises CopyError if the file is damaged.
        """
        try:
            connection, version = self._current()
            if version == self._version:
                return
            addresses = hashlib.sha256(
                repr([tuple(row) for row in connection.execute(select(address).order_by(address.c.id))]).encode()
            ).hexdigest()
            has_default = self._default_is_there(connection)
        except (OperationalError, OSError):
            self.close()
            return
        except DatabaseError as error:
            self.close()
            raise CopyError(cause(error), is_damaged=True) from None
        report.addresses = report.addresses or addresses != self._addresses
        if self._has_default and not has_default:
            report.lines.append(warning(trunk=self._default_trunk, outcome="no-default-trunk"))
        self._has_default = has_default
        self._version, self._addresses = version, addresses

    def _current(self) -> tuple[Connection, tuple[int, int]]:
        inode = self._path.stat().st_ino
        if self._connection is None or self._version is None or self._version[0] != inode:
            self.close()
            self._connection = self._engine.connect()
        return self._connection, (inode, data_version(self._connection))

    def close(self) -> None:
        """Close the file. The next look opens it again."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._version = None
        self._engine.dispose()

    def _default_is_there(self, connection: Connection) -> bool:
        """Return True if there is a row for the default trunk, or if there need be none, or not yet."""
        row = select(uacreg.c.id).where(uacreg.c.l_uuid == self._default_trunk)
        return not self._default_trunk or not said(connection, SYNCED) or connection.execute(row).first() is not None
