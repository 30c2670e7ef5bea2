"""The DBA's tables as SQLAlchemy describes them, and the local SQLite file that holds their copy (kemi.replica).

Errors of the file carry no values of rows (`hide_parameters`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import cast

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import DBAPIError

SYNCED = "synced_at"  # the row of replica_state with the time of the last sync; none before the first
SOURCE = "source"  # the row with the identity of the copied database
RULES = "rules"  # the row with the name of the rules by which the rows were judged
BUSY_MS = 5000  # that SQLite waits for a lock, as sqlite3 has it
SECRETS = "secrets"  # the row that moves when a secret that a row only names has changed
UNUSABLE, UNREGISTERED = "unusable", "unregistered"  # outcomes in replica_fault

metadata = MetaData()

_ID = BigInteger().with_variant(Integer, "sqlite")  # what is compared with an id may be more than its column can hold

uacreg = Table(
    "uacreg",
    metadata,
    Column("id", _ID, primary_key=True),
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

# The same as Kamailio 6.2 has it (version 6), and the copy with every Kamailio; the last column is empty if the DBA's
# table has none.
CONTACT_USER = "contact_user"
copied_uacreg = uacreg.to_metadata(MetaData())
copied_uacreg.append_column(Column(CONTACT_USER, String(255), server_default="", nullable=False))

address = Table(
    "address",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("grp", Integer),
    Column("ip_addr", String(50)),
    Column("mask", Integer),
    Column("port", Integer),
    Column("tag", String(64)),
)

# Rows whose secret is only named (secret.py), by column, to the letter as their index has it.
NAMES_SECRET = {
    name: f"(substr({name}, 1, 4) = 'env:' OR substr({name}, 1, 5) = 'file:')" for name in ("auth_password", "auth_ha1")
}

# The DBA's optional table.
trunk = Table(
    "trunk",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("l_uuid", String(64)),
    Column("enabled", Integer),
    Column("priority", Integer),
    Column("weight", Integer),
    Column("max_calls", Integer),
    Column("max_cps", Integer),
    Column("probe", Integer),
    Column("source_tag", String(64)),
    Column("inbound_uri", String(255)),
    Column("from_user", String(64)),
    Column("from_domain", String(128)),
    Column("identity", String(8)),
    Column("weakest_algorithm", String(16)),
    Column("answers_far_end", Integer),
    Column("asks_alone", Integer),
    Column("strip", Integer),
    Column("prefix", String(32)),
    Column("number_format", String(16)),
    Column("country", String(2)),
    Column("tls_verify", Integer),
)

# The columns that a Trunk is made of, in the order of its fields.
TRUNK_COLUMNS = tuple(
    uacreg.c[name]
    for name in (
        "l_uuid", "r_domain", "auth_proxy", "socket", "realm", "auth_username", "auth_password", "auth_ha1", "id",
    )
)  # fmt: skip

# The columns of a Policy, in the order of its fields.
POLICY_COLUMNS = tuple(column for column in trunk.columns if column.name not in ("id", "l_uuid"))

replica_state = Table("replica_state", metadata, Column("name", String, primary_key=True), Column("value", String))

# The faults of rows. subject: what the log calls the row.
replica_fault = Table(
    "replica_fault",
    metadata,
    Column("table_name", String, primary_key=True),
    Column("id", _ID, primary_key=True),
    Column("subject", String),
    Column("outcome", String),
    Column("reason", String),
)

# In a file of their own (kemi.names): targets whose name was resolved, by Target.key, and their hops (hops.to_text);
# where all trunks' next hops are (hops.places); the rows that Kamailio's uac module registers; the version that it
# looks for.
resolved_names = Table("resolved_name", metadata, Column("target", String, primary_key=True), Column("hops", String))
next_hops = Table("next_hop", metadata, Column("place", String, primary_key=True))
registrations = copied_uacreg.to_metadata(metadata, name="registrations")
table_versions = Table("version", metadata, Column("table_name", String(32)), Column("table_version", Integer))


def open_file(path: Path) -> Engine:
    """Return an engine on a local SQLite file, with one connection. It is opened at its first use. What is deleted over
    it is gone from the file's pages; from its write-ahead log, once that is emptied.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=0,
    )
    event.listen(engine, "connect", delete_securely)
    return engine


def add_contact_user(connection: Connection, table: str) -> None:
    """Add the column to a table of a local file that lacks it."""
    present = {str(row[1]) for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")}
    if present and CONTACT_USER not in present:
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {CONTACT_USER} VARCHAR(255) DEFAULT '' NOT NULL")


def said(connection: Connection, name: str) -> str:
    """Return what the copy says of itself: a value of replica_state, empty without one."""
    value = connection.execute(select(replica_state.c.value).where(replica_state.c.name == name)).scalar()
    return str(value or "")


def version_of(driver: sqlite3.Connection) -> int:
    """Return a number that moves with every commit of another connection (sqlite.org/pragma.html). Raises
    sqlite3.Error.
    """
    return int(driver.execute("PRAGMA data_version").fetchone()[0])


def data_version(connection: Connection) -> int:
    """Return the same number, which is asked for so often that it goes past SQLAlchemy, but for its errors."""
    try:
        return version_of(cast("sqlite3.Connection", connection.connection.driver_connection))
    except sqlite3.Error:
        return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())


def has_log(path: Path) -> bool:
    """Return True if there is something in the write-ahead log of a file, which holds rows as they were."""
    log = Path(f"{path}-wal")
    return log.exists() and log.stat().st_size > 0


def empty_log(path: Path, connection: Connection) -> None:
    """Empty the write-ahead log of a file. If a reader is at it, a later call does."""
    if has_log(path):
        for pragma in ("busy_timeout = 0", "wal_checkpoint(TRUNCATE)", f"busy_timeout = {BUSY_MS}"):
            connection.exec_driver_sql(f"PRAGMA {pragma}")


def delete_securely(driver: sqlite3.Connection, _record: object) -> None:
    """Have what is deleted over this connection be gone from the file's pages."""
    driver.execute("PRAGMA secure_delete = ON")


def identity(source: URL) -> str:
    """Return a hash of the database's kind, host, port and name, which is stored with its copy. The credentials are not
    part of it.
    """
    named = f"{source.get_backend_name()} {source.host or ''} {source.port or ''} {source.database}"
    return hashlib.sha256(named.encode()).hexdigest()


def cause(error: BaseException) -> str:
    """Return the driver's own message in one line: no SQL, no parameters, no passwords."""
    inner = error.orig if isinstance(error, DBAPIError) and error.orig else error
    primary = getattr(getattr(inner, "diag", None), "message_primary", None)  # of psycopg: the rest may quote a row
    return " ".join(str(primary or inner).split()) or type(inner).__name__
