"""The file of resolved names, for its only writer. SIP workers read the hops in it (kemi.trunks.names), also after a
restart while no name server answers; Kamailio's uac module reads the rows that register, with addresses for names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from kemi.names.rows import Registration
from kemi.trunks.hops import Hops, from_text, to_text
from kemi.trunks.tables import (
    add_contact_user,
    empty_log,
    next_hops,
    open_file,
    registrations,
    resolved_names,
    table_versions,
)

UACREG_VERSION = 5  # that the uac module of 5.6 to 6.1 wants
CHECKED_EVERY = 10.0  # seconds between two looks whether the file can still be read


class NamesFile:
    """Methods raise SQLAlchemyError or OSError if the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = open_file(path)
        self._inode = self._size = 0
        self._next_check = 0.0
        self.hops: Mapping[str, Hops] = {}  # as stored, by Target.key
        self.registering: Mapping[str, Registration] = {}  # as stored, by l_uuid
        self.places: frozenset[str] = frozenset()  # as stored: of next hops

    def open(self) -> None:
        """Read what is stored. A file that is missing or damaged is made anew, empty."""
        try:
            with self._engine.connect() as connection:
                next_hops.create(connection, checkfirst=True)  # in a file that an earlier release has left
                add_contact_user(connection, registrations.name)
                places = frozenset(str(place) for place in connection.execute(select(next_hops)).scalars())
                stored = connection.execute(select(resolved_names)).all()
                rows = connection.execute(select(registrations)).all()
                connection.execute(select(table_versions)).one()
            self.hops = {str(target): from_text(hops) for target, hops in stored}
            self.registering, self.places = {str(row.l_uuid): tuple(row) for row in rows}, places
            self._inode = self._path.stat().st_ino
        except (SQLAlchemyError, OSError, ValueError, TypeError):
            self._make()

    def keep(
        self,
        hops: Mapping[str, Hops],
        registering: Mapping[str, Registration],
        places: frozenset[str] = frozenset(),
    ) -> list[str]:
        """Make the file hold these and no others, in one transaction; return the l_uuids whose registration changed.
        places: of next hops (hops.places).
        """
        if not self._is_whole():
            self._make()
        resolved = _changes(self.hops, hops)
        changed = _changes(self.registering, registering)
        with self._engine.connect() as connection:
            if not resolved and not changed and places == self.places:
                empty_log(self._path, connection)
                return []
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for target in resolved:
                connection.execute(resolved_names.delete().where(resolved_names.c.target == target))
            for uuid in changed:
                connection.execute(registrations.delete().where(registrations.c.l_uuid == uuid))
            for target in hops.keys() & set(resolved):
                connection.execute(resolved_names.insert().values(target=target, hops=to_text(hops[target])))
            for uuid in registering.keys() & set(changed):
                connection.execute(registrations.insert().values(registering[uuid]))
            for gone in self.places - places:
                connection.execute(next_hops.delete().where(next_hops.c.place == gone))
            if new := places - self.places:
                connection.execute(next_hops.insert(), [{"place": one} for one in sorted(new)])
            connection.exec_driver_sql("COMMIT")
            empty_log(self._path, connection)
        self.hops, self.registering, self.places = dict(hops), dict(registering), places
        return changed

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._engine.dispose()

    def _is_whole(self) -> bool:
        """Return False if the file is gone, replaced, cut, which SQLite never does to it, or, now and then, damaged."""
        try:
            found = self._path.stat()
            if found.st_ino != self._inode or found.st_size < self._size:
                return False
            self._size = found.st_size
            if (now := monotonic()) < self._next_check:
                return True
            self._next_check = now + CHECKED_EVERY
            self.close()  # what is remembered of the file would hide it
            with self._engine.connect() as connection:
                return bool(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() == "ok")
        except OperationalError:  # somebody else holds it, or it cannot be opened now
            return True
        except (OSError, DatabaseError):
            return False

    def _make(self) -> None:
        """Put an empty file in place of what is there. Readers that have the old one open go on with it."""
        self.close()
        fresh = self._path.with_suffix(".new")
        for leftover in _files_of(fresh):
            leftover.unlink(missing_ok=True)
        engine = open_file(fresh)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                connection.exec_driver_sql("BEGIN")
                for table in (resolved_names, next_hops, registrations, table_versions):
                    table.create(connection)
                version = {"table_name": registrations.name, "table_version": UACREG_VERSION}
                connection.execute(table_versions.insert().values(**version))
                connection.exec_driver_sql("COMMIT")
        finally:
            engine.dispose()
        for leftover in _files_of(self._path)[1:]:
            leftover.unlink(missing_ok=True)
        fresh.replace(self._path)
        self.hops, self.registering, self.places = {}, {}, frozenset()
        self._inode, self._size = self._path.stat().st_ino, 0


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the keys that are new, gone, or have another value."""
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


def _files_of(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
