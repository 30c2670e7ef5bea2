"""The tables that calls need: made where they are missing, checked where they are there. No row of the DBA's is
touched.

The SQL is the DBA's own, db/<server>/tables.sql: this module only runs it and says what it found.
"""

from __future__ import annotations

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from kemi.settings import PROJECT
from kemi.trunks.tables import uacreg

# table -> the versions that work: Kamailio 5.6 to 6.1 expect the first one; uacreg 6 (Kamailio 6.2) only adds a column
VERSIONS = {"version": (1,), "uacreg": (5, 6), "address": (6,)}

CONNECT_LIMIT = 5  # seconds

_SQL_FOLDERS = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}

_version = Table("version", MetaData(), Column("table_name", String(32)), Column("table_version", Integer))


class SchemaError(RuntimeError):
    """A table that cannot be used as it is; the text is one line for the operator."""


def open_database(url: URL) -> Engine:
    """An engine on the DBA's database, for one task. Nothing is opened before its first use."""
    arguments: dict[str, object] = {} if url.get_backend_name() == "sqlite" else {"connect_timeout": CONNECT_LIMIT}
    if url.get_backend_name() == "postgresql":
        arguments["client_encoding"] = "utf8"  # psycopg gives bytes, not text, where the database's own is SQL_ASCII
    return create_engine(url, hide_parameters=True, isolation_level="AUTOCOMMIT", connect_args=arguments)


def install_notice(engine: Engine) -> str:
    """Let the server say at once which row was changed, where it can; returns why it cannot, empty if it does."""
    if engine.dialect.name != "postgresql":
        return "this kind of server cannot"
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql((PROJECT / "db/postgresql/notice.sql").read_text())
    except DBAPIError as error:
        return " ".join(str(error.orig).split())
    return ""


def create(engine: Engine) -> list[str]:
    """Create the tables that are missing and return their names. Raises SchemaError or
    sqlalchemy.exc.SQLAlchemyError.
    """
    with engine.connect() as connection:
        missing = [name for name in VERSIONS if not inspect(connection).has_table(name)]
        for statement in _statements(connection.dialect.name):
            connection.execute(text(statement))
    check(engine)
    return missing


def check(engine: Engine) -> None:
    """See that every table is there, in a version that works. Raises SchemaError or sqlalchemy.exc.SQLAlchemyError."""
    with engine.connect() as connection:
        inspector = inspect(connection)
        for name in VERSIONS:
            if not inspector.has_table(name):
                raise SchemaError(f"table {name} is missing; `make db` creates it")
        for name, versions in VERSIONS.items():
            found = _version_of(connection, name)
            if found not in versions:
                raise SchemaError(f"table {name} is version {found}, not {' or '.join(map(str, versions))}")
        columns = {column["name"] for column in inspector.get_columns("uacreg")}
        if lacking := sorted(set(uacreg.columns.keys()) - columns):
            raise SchemaError(f"table uacreg lacks {', '.join(lacking)}")


def open_to_loopback(engine: Engine) -> None:
    """Let every source on 127.0.0.0/8 call: what a new embedded database starts with."""
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO address (grp, ip_addr, mask) VALUES (1, '127.0.0.0', 8)"))


def _version_of(connection: Connection, name: str) -> int | None:
    return connection.execute(
        select(_version.c.table_version).where(_version.c.table_name == name)
    ).scalar_one_or_none()


def _statements(dialect: str) -> list[str]:
    lines = (PROJECT / "db" / _SQL_FOLDERS[dialect] / "tables.sql").read_text().splitlines()
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    return [statement.strip() for statement in sql.split(";") if statement.strip()]
