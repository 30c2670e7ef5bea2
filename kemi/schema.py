"""Create the missing tables and check the existing ones. The DBA's rows are never touched.

The SQL is db/<server>/tables.sql, which a DBA can also run by hand.
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

# table -> usable versions. Kamailio 5.6 to 6.1 expect the first one; uacreg 6 (Kamailio 6.2) only adds a column.
VERSIONS = {"version": (1,), "uacreg": (5, 6), "address": (6,)}

CONNECT_LIMIT = 5  # seconds
BUSY_LIMIT = 1.0

_SQL_FOLDERS = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}

_version = Table("version", MetaData(), Column("table_name", String(32)), Column("table_version", Integer))


class SchemaError(RuntimeError):
    """A table is missing or unusable; the text is one line for the operator."""


def open_database(url: URL) -> Engine:
    """Return an engine on the DBA's database, for one task. It connects at its first use."""
    is_file = url.get_backend_name() == "sqlite"
    arguments: dict[str, object] = {"timeout": BUSY_LIMIT} if is_file else {"connect_timeout": CONNECT_LIMIT}
    if url.get_backend_name() == "postgresql":
        arguments["client_encoding"] = "utf8"  # psycopg returns bytes, not text, if the database's own is SQL_ASCII
    return create_engine(url, hide_parameters=True, isolation_level="AUTOCOMMIT", connect_args=arguments)


def install_notice(engine: Engine) -> str:
    """Install the trigger that gives notice of changed rows. Return why that failed; empty if it did not."""
    if engine.dialect.name != "postgresql":
        return "this kind of server cannot"
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql((PROJECT / "db/postgresql/notice.sql").read_text())
    except DBAPIError as error:
        return " ".join(str(error.orig).split())
    return ""


def create(engine: Engine) -> list[str]:
    """Create the missing tables and return their names. Raises SchemaError or sqlalchemy.exc.SQLAlchemyError."""
    with engine.connect() as connection:
        missing = [name for name in VERSIONS if not inspect(connection).has_table(name)]
        for statement in _statements(connection.dialect.name):
            connection.execute(text(statement))
    check(engine)
    return missing


def check(engine: Engine) -> None:
    """Check that every table exists in a usable version. Raises SchemaError or sqlalchemy.exc.SQLAlchemyError."""
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
    """Allow calls from 127.0.0.0/8, the only row that a new embedded database starts with."""
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
