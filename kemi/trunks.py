"""Trunks, read from the DBA's `uacreg` table through SQLAlchemy: the one door to the database for SIP workers.

Only SELECTs with bound parameters. An engine belongs to the process that opened it: make a store after the fork, in
child_init. No exception that leaves this room carries a row's values (`hide_parameters`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import URL, Column, ColumnElement, Engine, Integer, MetaData, String, Table, create_engine, func, select

CONNECT_TIMEOUT = 5  # seconds, to a database server

metadata = MetaData()

# The columns that calls need; versions 5 (Kamailio 5.6 to 6.1) and 6 of the table have them alike.
uacreg = Table(
    "uacreg",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("l_uuid", String(64)),
    Column("l_username", String(64)),
    Column("l_domain", String(64)),
    Column("r_domain", String(64)),
    Column("realm", String(64)),
    Column("auth_username", String(64)),
    Column("auth_password", String(64)),
    Column("auth_ha1", String(128)),
    Column("auth_proxy", String(255)),
    Column("socket", String(128)),
)

_HOP_PARAMETERS = frozenset(
    {"transport", "maddr", "ttl", "lr"}
)  # of the hop to us (RFC 3261 19.1.1), not of the number


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

    def request_uri(self, dialled: str) -> str:
        """The R-URI for this trunk: the dialled user part at `domain`.

        dialled: a sip, sips or tel URI. The port and the parameters that said how to reach us go, those that describe
        the number stay; a tel URI becomes a sip URI with user=phone (RFC 3261 19.1.6).
        """
        scheme, _, rest = dialled.partition(":")
        if scheme.lower() == "tel":
            return f"sip:{rest}@{self.domain};user=phone"
        user, at, address = rest.rpartition("@")
        parameters = address.partition("?")[0].split(";")[1:]
        kept = "".join(f";{parameter}" for parameter in parameters if _name(parameter) not in _HOP_PARAMETERS)
        return f"{scheme}:{user}{at}{self.domain}{kept}"


def _name(parameter: str) -> str:
    return parameter.partition("=")[0].strip().lower()


def open_engine(url: URL) -> Engine:
    """An engine with one connection, for a process of one thread. Nothing is opened before its first use."""
    server = url.get_backend_name() != "sqlite"
    return create_engine(
        url,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=server,
        connect_args={"connect_timeout": CONNECT_TIMEOUT} if server else {},
    )


class TrunkStore:
    """Finds trunks. Where several rows fit, the one with the lowest id is taken.

    Every method takes and compares strings as they come from the wire, and raises sqlalchemy.exc.SQLAlchemyError
    where the database cannot be read.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close the connection. The store opens another one when it is asked again."""
        self._engine.dispose()

    def by_uuid(self, uuid: str) -> Trunk | None:
        """The trunk of this l_uuid."""
        return self._first(uacreg.c.l_uuid == uuid)

    def by_caller(self, user: str, domain: str) -> Trunk | None:
        """The trunk of the caller user@domain: l_username and l_domain. Domains are compared without regard to case."""
        return self._first(uacreg.c.l_username == user, func.lower(uacreg.c.l_domain) == domain.lower())

    def by_dialled_domain(self, domain: str) -> Trunk | None:
        """The trunk whose r_domain is the R-URI's host, compared without regard to case."""
        return self._first(func.lower(uacreg.c.r_domain) == domain.lower())

    def _first(self, *conditions: ColumnElement[bool]) -> Trunk | None:
        row_of = (
            select(
                uacreg.c.l_uuid,
                uacreg.c.r_domain,
                uacreg.c.auth_proxy,
                uacreg.c.socket,
                uacreg.c.realm,
                uacreg.c.auth_username,
                uacreg.c.auth_password,
                uacreg.c.auth_ha1,
            )
            .where(*conditions)
            .order_by(uacreg.c.id)
            .limit(1)
        )
        with self._engine.connect() as connection:
            row = connection.execute(row_of).first()
        return Trunk(*(value or "" for value in row)) if row else None
