"""`make db` and the store of trunks on every kind of server: tables as Kamailio's own scripts make them, no row
touched.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, Engine, Inspector, inspect, text
from sqlalchemy.exc import OperationalError

from kemi.start import schema

KAMAILIO_SCRIPTS = Path("/usr/share/kamailio")
KAMAILIOS = ("version", "uacreg", "address")
FOLDERS = {"sqlite": "db_sqlite", "postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}


@pytest.fixture
def engine(empty_database: URL) -> Iterator[Engine]:
    engine = schema.open_database(empty_database)
    yield engine
    engine.dispose()


def execute(engine: Engine, *statements: str) -> None:
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


def run_kamailios_scripts(engine: Engine) -> None:
    """What `kamdbctl create` runs for the tables that calls need."""
    folder = KAMAILIO_SCRIPTS / FOLDERS[engine.dialect.name]
    for name in ("standard", "uac", "permissions"):
        sql = (folder / f"{name}-create.sql").read_text()
        execute(engine, *(statement for statement in sql.split(";") if statement.strip()))


def columns(inspector: Inspector, table: str) -> list[tuple[str, str, bool, str]]:
    """Name, type, nullability and default of every column, as the server itself describes them."""
    described = inspector.get_columns(table)
    return [
        (column["name"], str(column["type"]), column["nullable"], re.sub(r"'(\d+)'", r"\1", str(column["default"])))
        for column in described
    ]


def versions_in(connection: Connection) -> dict[str, int]:
    rows = connection.execute(text("SELECT table_name, table_version FROM version"))
    return {str(row.table_name): int(row.table_version) for row in rows}


def test_tables_are_those_of_kamailios_own_scripts(engine: Engine) -> None:
    run_kamailios_scripts(engine)
    kamailios = {table: columns(inspect(engine), table) for table in KAMAILIOS}
    with engine.connect() as connection:
        versions = versions_in(connection)
    execute(engine, *(f"DROP TABLE {table}" for table in (*KAMAILIOS, "trusted")))
    assert schema.create(engine) == list(schema.VERSIONS)
    assert {table: columns(inspect(engine), table) for table in KAMAILIOS} == kamailios
    with engine.connect() as connection:
        mine = versions_in(connection)
    assert mine == {table: versions[table] for table in KAMAILIOS} | {"trunk": 1}


def test_a_file_gets_all_tables_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one write: each alone would wait for the disk."""
    statements = schema._statements
    monkeypatch.setattr(schema, "_statements", lambda dialect: [*statements(dialect), "no SQL"])
    engine = schema.open_database(URL.create("sqlite", database=str(tmp_path / "trunks.sqlite")))
    with pytest.raises(OperationalError):
        schema.create(engine)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_a_database_made_by_kamailios_scripts_is_used_as_it_is(engine: Engine) -> None:
    run_kamailios_scripts(engine)
    execute(engine, "INSERT INTO uacreg (l_uuid, auth_username) VALUES ('kept', 'me')")
    schema.check(engine)
    assert schema.create(engine) == ["trunk"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT l_uuid, auth_username FROM uacreg")).all() == [("kept", "me")]


def test_creating_again_touches_no_row(engine: Engine) -> None:
    schema.create(engine)
    execute(
        engine,
        "INSERT INTO uacreg (l_uuid, auth_password) VALUES ('kept', 'x')",
        "INSERT INTO address (ip_addr, mask) VALUES ('192.0.2.0', 24)",
        "UPDATE version SET table_version = 6 WHERE table_name = 'uacreg'",  # Kamailio 6.2's: works as well
    )
    assert schema.create(engine) == []
    with engine.connect() as connection:
        rows = [
            connection.execute(text(f"SELECT {what} ORDER BY 1")).all()
            for what in (
                "l_uuid, auth_password FROM uacreg",
                "ip_addr FROM address",
                "table_name, table_version FROM version",
            )
        ]
    assert rows == [[("kept", "x")], [("192.0.2.0",)], [("address", 6), ("trunk", 1), ("uacreg", 6), ("version", 1)]]


def test_the_table_trunk_of_an_older_release_gets_the_columns_that_it_lacks(engine: Engine) -> None:
    schema.create(engine)
    new = columns(inspect(engine), "trunk")
    execute(
        engine,
        "INSERT INTO trunk (l_uuid, priority) VALUES ('kept', 7)",
        "ALTER TABLE trunk DROP COLUMN country",
        "ALTER TABLE trunk DROP COLUMN number_format",
        "ALTER TABLE trunk DROP COLUMN tls_verify",
    )
    assert schema.create(engine) == []
    assert columns(inspect(engine), "trunk") == new
    with engine.connect() as connection:
        row = connection.execute(text("SELECT l_uuid, priority, number_format, country, tls_verify FROM trunk")).one()
    assert row == ("kept", 7, "as-dialled", "", 1)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ("UPDATE version SET table_version = 4 WHERE table_name = 'uacreg'", "table uacreg is version 4, not 5 or 6"),
        ("DELETE FROM version WHERE table_name = 'address'", "table address is version None, not 6"),
        ("DROP TABLE address", "table address is missing; `make db` creates it"),
        ("ALTER TABLE uacreg DROP COLUMN socket", "table uacreg lacks socket"),
        ("UPDATE version SET table_version = 2 WHERE table_name = 'trunk'", "table trunk is version 2, not 1"),
        ("ALTER TABLE trunk DROP COLUMN weight", "table trunk lacks weight; `make db` adds it"),
        ("ALTER TABLE trunk DROP COLUMN inbound_uri", "table trunk lacks inbound_uri; `make db` adds it"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(engine: Engine, damage: str, line: str) -> None:
    schema.create(engine)
    execute(engine, damage)
    with pytest.raises(schema.SchemaError) as refused:
        schema.check(engine)
    assert str(refused.value) == line
