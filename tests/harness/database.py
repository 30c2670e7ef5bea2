"""The databases that a tested Kamailio reads its trunks from, written as a DBA would write them while it runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from sqlalchemy import URL, NullPool, create_engine

from kemi.start import schema, user

STRINGS = (
    "l_uuid", "l_username", "l_domain", "r_username", "r_domain", "realm", "auth_username", "auth_password",
    "auth_ha1", "auth_proxy", "contact_addr", "socket",
)  # fmt: skip
Execute = Callable[[str, tuple[str | int, ...]], Any]


class Database:
    """The embedded database file, written beside the running Kamailio as a DBA would write it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets: set[str] = set()

    def make(self) -> None:
        """The tables that are missing, as `make db` makes them for the user of the state directory alone."""
        self.path.touch(mode=0o600)
        maker = schema.open_database(URL.create("sqlite", database=str(self.path)))
        if "address" in schema.create(maker):
            schema.open_to_loopback(maker)
        maker.dispose()
        user.hand_over(self.path.parent)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Execute]:
        """What is executed in the block is committed at its end."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            yield connection.execute

    def execute(self, statement: str, values: tuple[str | int, ...] = ()) -> None:
        with self.transaction() as execute:
            execute(statement, values)

    def insert_trunk(self, row: Mapping[str, str | int]) -> None:
        """A row of uacreg; columns that are not named are empty or 0."""
        full: dict[str, str | int] = {**dict.fromkeys(STRINGS, ""), "expires": 0, "flags": 0, "reg_delay": 0, **row}
        self.note_secrets(full)
        names, places = ", ".join(full), ", ".join("?" * len(full))
        self.execute(f"INSERT INTO uacreg ({names}) VALUES ({places})", tuple(full.values()))

    def note_secrets(self, columns: Mapping[str, str | int]) -> None:
        """What no log may show, of these columns of uacreg."""
        self.secrets |= {str(columns[name]) for name in ("auth_password", "auth_ha1") if columns.get(name)}

    def delete_trunk(self, uuid: str) -> None:
        self.execute("DELETE FROM uacreg WHERE l_uuid = ?", (uuid,))

    def list_callers(self, hosts: tuple[str, ...]) -> None:
        """These may call, and nobody else."""
        self.execute("DELETE FROM address")
        for host in hosts:
            self.execute(
                "INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, ?, ?, 0)", (host, 128 if ":" in host else 32)
            )


def trunks_of(file: Path) -> list[tuple[Any, ...]]:
    """The rows of uacreg and trunk in an SQLite file, but for `socket`, which the copy may write otherwise."""
    columns = ", ".join(name for name in STRINGS if name != "socket")
    with contextlib.closing(sqlite3.connect(file, timeout=5)) as connection:
        connection.text_factory = bytes
        trunks = connection.execute(
            f"SELECT id, expires, flags, reg_delay, {columns} FROM uacreg ORDER BY id"
        ).fetchall()
        return trunks + connection.execute("SELECT * FROM trunk ORDER BY id").fetchall()


class ServerDatabase(Database):
    """An empty database of a server, as `make db` fills it. gives_notice: with the trigger."""

    def __init__(self, url: URL, *, gives_notice: bool = False) -> None:
        super().__init__(Path("/nowhere"))
        self.url = url
        self.secrets = {word for word in (url.password, quote_plus(url.password or "")) if word}
        self._engine = create_engine(url, poolclass=NullPool)
        maker = schema.open_database(url)
        schema.create(maker)
        refusal = schema.install_notice(maker) if gives_notice else ""
        maker.dispose()
        assert not refusal, refusal

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Execute]:
        with self._engine.begin() as connection:
            yield lambda statement, values: connection.exec_driver_sql(statement.replace("?", "%s"), values or None)
