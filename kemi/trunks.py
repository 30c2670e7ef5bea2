"""Trunks, read from a local SQLite file through SQLAlchemy: the one door to the database for SIP workers.

The file is the DBA's own database where that is SQLite, and its copy otherwise (replica.py). Only SELECTs with bound
parameters. A store belongs to the process that made it: make it after the fork, in child_init. No exception that leaves
this room carries a row's values (`hide_parameters`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    bindparam,
    create_engine,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError

from kemi.policy import Credentials

MOST_KEPT = 4096  # answers that a worker keeps, whatever the size of the table
FRESH_FOR = 0.05  # seconds in which a busy worker does not look again whether the file has changed
SYNCED = "synced_at"  # the row of replica_state that says that there is a copy, and of when
SOURCE = "source"  # the row that says of which database it is

metadata = MetaData()

uacreg = Table(
    "uacreg",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("l_uuid", String(64)),
    Column("l_username", String(64)),
    Column("l_domain", String(64)),
    Column("r_username", String(64)),
    Column("r_domain", String(64)),
    Column("realm", String(64)),
    Column("auth_username", String(64)),
    Column("auth_password", String(64)),
    Column("auth_ha1", String(128)),
    Column("auth_proxy", String(255)),
    Column("expires", Integer),
    Column("flags", Integer),
    Column("reg_delay", Integer),
    Column("contact_addr", String(255)),
    Column("socket", String(128)),
)

address = Table(
    "address",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("grp", Integer),
    Column("ip_addr", String(50)),
    Column("mask", Integer),
    Column("port", Integer),
    Column("tag", String(64)),
)

replica_state = Table("replica_state", metadata, Column("name", String, primary_key=True), Column("value", String))

_HOP_PARAMETERS = frozenset(
    {"transport", "maddr", "ttl", "lr"}
)  # of the hop to us (RFC 3261 19.1.1), not of the number

_HA1 = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}|")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SIP_URI = re.compile(r"sips?:([^@\s<>]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(;[^\s<>]*)?|")


@dataclass(frozen=True)
class Trunk:
    """One row of `uacreg`, as calls use it. Every field is a string, empty where the DBA left it so.

    uuid: l_uuid. domain: r_domain, the host of the R-URI. next_hop: auth_proxy, a SIP URI. socket: the sending socket.
    realm: the only realm answered, empty for any.
    """

    uuid: str
    domain: str = ""
    next_hop: str = ""
    socket: str = ""
    realm: str = ""
    auth_username: str = ""
    auth_password: str = field(default="", repr=False)
    auth_ha1: str = field(default="", repr=False)

    @cached_property
    def credentials(self) -> Credentials:
        """What to answer its carrier with."""
        return Credentials(self.realm, self.auth_username, self.auth_password, self.auth_ha1)

    @cached_property
    def carrier(self) -> str:
        """Who the credentials are meant for: a row that leads elsewhere by now has another one. Empty where the row
        names nobody.
        """
        return f"{self.next_hop} {self.domain}".strip()

    @property
    def fault(self) -> str:
        """Why the row cannot be used, in words that quote nothing from it; empty where it can."""
        if _CONTROL.search(self.uuid) or _CONTROL.search(self.domain):
            return "l_uuid or r_domain has a control character"
        if not self.auth_username or _CONTROL.search(self.auth_username):
            return "auth_username is empty or has a control character"
        if _CONTROL.search(self.auth_password):
            return "auth_password has a control character"
        if not _HA1.fullmatch(self.auth_ha1):
            return "auth_ha1 is not 32 or 64 hex digits"
        if not _SIP_URI.fullmatch(self.next_hop):
            return "auth_proxy is not a SIP URI"
        return ""

    def request_uri(self, dialled: str) -> str:
        """The R-URI for this trunk: the dialled user part at `domain`.

        dialled: a sip, sips or tel URI. The port and the parameters that said how to reach us go, those that describe
        the number stay; a tel URI becomes a sip URI with user=phone (RFC 3261 19.1.6).
        """
        scheme, _, rest = dialled.partition(":")
        if scheme.lower() == "tel":
            return f"sip:{rest}@{self.domain};user=phone"
        user, at, host = rest.rpartition("@")
        parameters = host.partition("?")[0].split(";")[1:]
        kept = "".join(f";{parameter}" for parameter in parameters if _name(parameter) not in _HOP_PARAMETERS)
        return f"{scheme}:{user}{at}{self.domain}{kept}"


# What a Trunk is made of, in the order of its fields.
TRUNK_COLUMNS = tuple(
    uacreg.c[name]
    for name in (
        "l_uuid", "r_domain", "auth_proxy", "socket", "realm", "auth_username", "auth_password", "auth_ha1",
    )
)  # fmt: skip

_ROWS = select(*TRUNK_COLUMNS).order_by(uacreg.c.id)
_FIRST = bindparam("first", type_=String())
_SECOND = bindparam("second", type_=String())
_BY_UUID = _ROWS.where(uacreg.c.l_uuid == _FIRST)
_BY_CALLER = _ROWS.where(uacreg.c.l_username == _FIRST, func.lower(uacreg.c.l_domain) == _SECOND)
_BY_DIALLED_DOMAIN = _ROWS.where(func.lower(uacreg.c.r_domain) == _FIRST)


def _name(parameter: str) -> str:
    return parameter.partition("=")[0].strip().lower()


def open_file(path: Path) -> Engine:
    """An engine on a local SQLite file, with one connection. Nothing is opened before its first use."""
    return create_engine(
        URL.create("sqlite", database=str(path)),
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
    )


def identity(source: URL) -> str:
    """Which database a copy is of: kind, place and name of it, and not how one logs in. Nothing can be learned from
    it.
    """
    named = f"{source.get_backend_name()} {source.host or ''} {source.port or ''} {source.database}"
    return hashlib.sha256(named.encode()).hexdigest()


def cause(error: BaseException) -> str:
    """An error in one line, with neither SQL nor parameters nor passwords."""
    inner = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(inner).split()) or type(inner).__name__


class TrunkStore:
    """Finds trunks. Where several rows fit, the one with the lowest id is taken; one that cannot be used is passed
    over.

    Answers are kept until the file changes, which a busy store looks for every FRESH_FOR seconds. Every method takes
    and compares strings as they come from the wire, and raises SQLAlchemyError, sqlite3.Error or OSError where the file
    cannot be read; it is opened anew for the next question then.
    """

    def __init__(self, path: Path, source: URL | None = None) -> None:
        """source: of the database that the file has to be the copy of; None where it is the database itself."""
        self._path = path
        self._identity = identity(source) if source else ""
        self._engine = open_file(path)
        self._connection: Connection | None = None
        self._state: tuple[int, int] = (0, 0)
        self._looked_at = 0.0
        self._is_ready = False
        self._kept: dict[tuple[object, ...], Trunk | None] = {}

    def is_ready(self) -> bool:
        """Whether there is anything to serve: False only for a copy that was never filled."""
        try:
            connection = self._fresh_connection()
            if self._identity and not self._is_ready:
                self._is_ready = SYNCED in _state_of(connection)
        except Exception:  # whatever it was, the next question gets a new connection
            self.close()
            raise
        return self._is_ready or not self._identity

    def by_uuid(self, uuid: str) -> Trunk | None:
        """The trunk of this l_uuid."""
        return self._first(_BY_UUID, uuid)

    def by_caller(self, user: str, domain: str) -> Trunk | None:
        """The trunk of the caller user@domain: l_username and l_domain. Domains are compared without regard to case."""
        return self._first(_BY_CALLER, user, domain.lower())

    def by_dialled_domain(self, domain: str) -> Trunk | None:
        """The trunk whose r_domain is the R-URI's host, compared without regard to case."""
        return self._first(_BY_DIALLED_DOMAIN, domain.lower())

    def look_again(self) -> None:
        """Have the next question look whether the file has changed, however short ago that was done."""
        self._looked_at = 0.0

    def close(self) -> None:
        """Close the connection. The store opens another one when it is asked again."""
        if self._connection:
            self._connection.close()
        self._connection = None
        self._is_ready = False
        self._engine.dispose()
        self._kept.clear()

    def _first(self, query: Select[Any], *values: str) -> Trunk | None:
        """The first usable row of a query with these values in its places."""
        question = (query, *values)
        try:
            connection = self._fresh_connection()
            if question not in self._kept:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                rows = connection.execute(query, dict(zip(("first", "second"), values, strict=False)))
                trunks = (Trunk(*(value or "" for value in row)) for row in rows)
                self._kept[question] = next((trunk for trunk in trunks if not trunk.fault), None)
                rows.close()
        except Exception:  # as above
            self.close()
            raise
        return self._kept[question]

    def _fresh_connection(self) -> Connection:
        """The connection, opened anew where the file was replaced; what was kept is forgotten where anything changed.

        PRAGMA data_version moves with every commit of another connection (sqlite.org/pragma.html).
        """
        now = monotonic()
        if self._connection is not None and now - self._looked_at < FRESH_FOR:
            return self._connection
        inode = self._path.stat().st_ino
        if self._connection is None or inode != self._state[0]:
            self.close()
            self._connection = self._engine.connect()
            if self._identity and _state_of(self._connection).get(SOURCE) != self._identity:
                raise OSError("the file is the copy of another database")
        driver: Any = self._connection.connection.driver_connection  # past SQLAlchemy: this is asked at every look-up
        state = (inode, driver.execute("PRAGMA data_version").fetchone()[0])
        if state != self._state:
            self._state = state
            self._kept.clear()
        self._looked_at = now
        return self._connection


def _state_of(connection: Connection) -> dict[str, str]:
    """What a copy says of itself."""
    return {str(name): str(value) for name, value in connection.execute(select(replica_state))}
