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
    event,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from kemi.settings import FILES
from kemi.trunks.tables import delete_securely, trunk, uacreg

# table -> usable versions. Kamailio 5.6 to 6.1 expect the first one; uacreg 6 (Kamailio 6.2) only adds a column.
VERSIONS = {"version": (1,), "uacreg": (5, 6), "address": (6,), "trunk": (1,)}
OPTIONAL = trunk.name  # a database that Kamailio's own scripts made serves without it

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
    engine = create_engine(url, hide_parameters=True, isolation_level="AUTOCOMMIT", connect_args=arguments)
    if is_file:
        event.listen(engine, "connect", delete_securely)
    return engine


def install_notice(engine: Engine) -> str:
    """Install the trigger that gives notice of changed rows. Return why that failed; empty if it did not."""
    if engine.dialect.name != "postgresql":
        return "this kind of server cannot"
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql((FILES / "db/postgresql/notice.sql").read_text())
    except DBAPIError as error:
        return " ".join(str(error.orig).split())
    return ""


def create(engine: Engine) -> list[str]:
    """Create the missing tables and return their names. Raises SchemaError or sqlalchemy.exc.SQLAlchemyError."""
    with engine.connect() as connection:
        missing = [name for name in VERSIONS if not inspect(connection).has_table(name)]
        is_one_write = bool(missing) and engine.dialect.name == "sqlite"  # or each waits for the disk
        if is_one_write:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        make(connection)
        if is_one_write:
            connection.exec_driver_sql("COMMIT")
    check(engine)
    return missing


def make(connection: Connection) -> None:
    """Create the missing tables, and the columns that an older release's table `trunk` lacks. Nothing is checked."""
    statements = _statements(connection.dialect.name)
    for statement in statements:
        connection.execute(text(statement))
    present = {column["name"] for column in inspect(connection).get_columns(trunk.name)}
    (definition,) = (
        statement for statement in statements if statement.startswith(f"CREATE TABLE IF NOT EXISTS {trunk} ")
    )
    for line in definition.splitlines()[1:-1]:
        words = line.strip(" ,")
        name = words.partition(" ")[0]
        if name in trunk.columns and name not in present:
            connection.execute(text(f"ALTER TABLE {trunk} ADD COLUMN {words}"))


def check(engine: Engine) -> None:
    """Check that every table but the optional one exists, and that each can be used. Raises SchemaError or
    sqlalchemy.exc.SQLAlchemyError.
    """
    with engine.connect() as connection:
        inspector = inspect(connection)
        present = [name for name in VERSIONS if inspector.has_table(name)]
        if missing := [name for name in VERSIONS if name not in (*present, OPTIONAL)]:
            raise SchemaError(f"table {missing[0]} is missing; `make db` creates it")
        for name in present:
            found, versions = _version_of(connection, name), VERSIONS[name]
            if found not in versions:
                raise SchemaError(f"table {name} is version {found}, not {' or '.join(map(str, versions))}")
        for table in (table for table in (uacreg, trunk) if table.name in present):
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            if lacking := sorted(set(table.columns.keys()) - columns):
                remedy = "; `make db` adds it" if table is trunk else ""
                raise SchemaError(f"table {table.name} lacks {', '.join(lacking)}{remedy}")


def open_to_loopback(engine: Engine) -> None:
    """Allow calls from 127.0.0.0/8, the only row that a new embedded database starts with."""
    with engine.connect() as connection:
        connection.execute(text("INSERT INTO address (grp, ip_addr, mask) VALUES (1, '127.0.0.0', 8)"))


def _version_of(connection: Connection, name: str) -> int | None:
    return connection.execute(
        select(_version.c.table_version).where(_version.c.table_name == name)
    ).scalar_one_or_none()


def _statements(dialect: str) -> list[str]:
    lines = (FILES / "db" / _SQL_FOLDERS[dialect] / "tables.sql").read_text().splitlines()
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    return [statement.strip() for statement in sql.split(";") if statement.strip()]
