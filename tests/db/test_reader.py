"""What db/ has for the DBA to run by hand, run by hand: the role that may read what calls need and nothing else, and
HA1s in place of passwords.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError

from kemi.settings import PROJECT
from kemi.start import schema
from tests.db.servers import program
from tests.db.site import Site, site
from tests.db.test_contact_user import VERSION_6

ROLE, SECRET = "kemi_trunkauth", "re@der/pw"
FOLDERS = {"postgresql": "postgresql", "mysql": "mysql"}
ROWS = (
    "INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password) VALUES (1, 'a', 'r', 'ua', 'pa')",
    "INSERT INTO address (id, ip_addr, tag) VALUES (1, '192.0.2.1', 'pbx')",
    "INSERT INTO trunk (id, l_uuid, priority) VALUES (1, 'a', 2)",
)


def by_hand(url: URL, name: str) -> None:
    """Run a file of db/ with the server's own client, as the README says."""
    kind = url.get_backend_name()
    path = PROJECT / "db" / FOLDERS[kind] / name
    host, port, user, secret, database = map(str, (url.host, url.port, url.username, url.password, url.database))
    with path.open() as sql, tempfile.NamedTemporaryFile("w") as options:
        options.write(
            f'[client]\npassword="{secret}"\n'
        )  # given by MYSQL_PWD, it is none to the client's TLS, which warns
        options.flush()
        if kind == "postgresql":
            command = [program("psql"), "-d", database, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(path)]
            command += ["-h", host, "-p", port, "-U", user]
        else:
            command = [
                program("mariadb"),
                f"--defaults-file={options.name}",
                "-h",
                host,
                "-P",
                port,
                "-u",
                user,
                database,
            ]
        environment = {**os.environ, "PGPASSWORD": secret}
        done = subprocess.run(
            command, stdin=sql, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


def set_password(place: Site) -> None:
    """What reader.sql leaves to the DBA."""
    if place.url.get_backend_name() == "postgresql":
        place.execute(f"ALTER ROLE {ROLE} PASSWORD '{SECRET}'")
    else:
        place.execute(f"ALTER USER {ROLE} IDENTIFIED BY '{SECRET}' ACCOUNT UNLOCK")


@pytest.fixture
def place(server: URL, tmp_path: Path) -> Iterator[Site]:
    """Tables that hold more than calls need, and a node that connects as the reader."""
    with site(server, tmp_path, reader=server.set(username=ROLE, password=SECRET)) as made:
        schema.create(made.dba)
        made.execute(
            *ROWS,
            "ALTER TABLE uacreg ADD COLUMN secret VARCHAR(64) DEFAULT 'hidden'",
            "CREATE TABLE subscriber (id INTEGER, password VARCHAR(64))",
        )
        by_hand(server, "reader.sql")
        set_password(made)
        yield made
        is_postgresql = server.get_backend_name() == "postgresql"
        made.keeper.close()
        made.execute(*([f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}"] if is_postgresql else [f"DROP USER {ROLE}"]))


def test_the_reader_gets_all_that_calls_need(place: Site) -> None:
    place.tick()
    assert place.is_equal()
    place.execute("UPDATE uacreg SET auth_password = 'other'")
    place.tick()
    assert place.is_equal()
    assert place.said("away") == []


def test_the_reader_gets_notices(postgresql_tables: URL, tmp_path: Path) -> None:
    reader = postgresql_tables.set(username=ROLE, password=SECRET)
    with site(postgresql_tables, tmp_path, reader=reader, interval=3600) as place:
        schema.create(place.dba)
        assert not schema.install_notice(place.dba)
        by_hand(postgresql_tables, "reader.sql")
        set_password(place)
        place.execute(*ROWS)
        place.tick()
        place.execute("UPDATE uacreg SET auth_password = 'other'")
        place.tick_until("the change is in the copy", place.is_equal)
        assert len(place.said("database-copied")) == 1
        place.keeper.close()
        place.execute(f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def test_the_reader_gets_contact_user_once_it_is_run_again(place: Site) -> None:
    """Until then it is as if the table had none."""
    place.execute(*VERSION_6)
    place.tick()
    assert [trunk.uuid for trunk in place.store.by_name("a")] == ["a"]
    by_hand(place.url, "reader.sql")
    place.keeper.close()
    place.tick()
    assert [trunk.uuid for trunk in place.store.by_contact_user("4930")] == ["a"]
    assert place.said("away") == []


REFUSED = (
    "SELECT secret FROM uacreg",
    "SELECT * FROM uacreg",
    "SELECT * FROM subscriber",
    "INSERT INTO address (ip_addr) VALUES ('192.0.2.9')",
    "UPDATE uacreg SET auth_password = ''",
    "UPDATE version SET table_version = 9",
    "DELETE FROM address",
    "UPDATE trunk SET enabled = 0",
    "DELETE FROM uacreg WHERE id = 1",
    "DROP TABLE address",
    "ALTER TABLE uacreg DROP COLUMN secret",
)


def test_the_reader_may_do_nothing_else(place: Site) -> None:
    engine = schema.open_database(place.reader)
    try:
        for statement in REFUSED:
            with engine.connect() as connection, pytest.raises(DBAPIError, match=r"denied|must be owner"):
                connection.execute(text(statement))
    finally:
        engine.dispose()


def test_running_it_again_narrows_what_was_granted_meanwhile(place: Site) -> None:
    place.execute(f"GRANT SELECT, DELETE ON uacreg TO {ROLE}")
    by_hand(place.url, "reader.sql")
    engine = schema.open_database(place.reader)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT l_uuid FROM uacreg")).scalar_one() == "a"
        with pytest.raises(DBAPIError, match="denied"):
            connection.execute(text("DELETE FROM uacreg"))
    engine.dispose()


# --- HA1s in place of passwords


def h(algorithm: str, *words: str) -> str:
    """H(unq(username) ":" unq(realm) ":" passwd), RFC 7616 3.4.2."""
    return hashlib.new(algorithm, ":".join(words).encode()).hexdigest()


# l_uuid: (auth_username, realm, auth_password, auth_ha1) before, (auth_password, auth_ha1) after
HA1S: dict[str, tuple[tuple[str, str, str, str], tuple[str, str]]] = {
    "rfc": (("Mufasa", "http-auth@example.org", "Circle of Life", ""),
            ("", "3d78807defe7de2157e2b0b6573a855f")),  # the HA1 of RFC 7616 3.9.1's MD5 example
    "not ASCII": (("Jürgen", "träger", "€uro", ""), ("", h("md5", "Jürgen", "träger", "€uro"))),
    "colons": (("a:b", "c", ":d:", ""), ("", h("md5", "a:b", "c", ":d:"))),
    "blanks": (("u", "r", "  ", ""), ("", h("md5", "u", "r", "  "))),
    "no realm": (("u", "", "p", ""), ("p", "")),
    "no password": (("u", "r", "", ""), ("", "")),
    "an HA1 of the DBA's": (("u", "r", "", "0" * 64), ("", "0" * 64)),
    "an HA1 and a password": (("u", "r", "p", "0" * 32), ("", "0" * 32)),
}  # fmt: skip


@pytest.fixture
def with_passwords(server: URL, tmp_path: Path) -> Iterator[Site]:
    with site(server, tmp_path) as made:
        schema.create(made.dba)
        for uuid, ((user, realm, password, ha1), _) in HA1S.items():
            made.execute(
                "INSERT INTO uacreg (l_uuid, auth_username, realm, auth_password, auth_ha1)"
                " VALUES (:i, :u, :r, :p, :h)",
                i=uuid, u=user, r=realm, p=password, h=ha1,
            )  # fmt: skip
        yield made


def secrets_in(place: Site) -> dict[str, tuple[Any, ...]]:
    with place.dba.connect() as connection:
        rows = connection.execute(text("SELECT l_uuid, auth_password, auth_ha1 FROM uacreg"))
        return {uuid: (password, ha1) for uuid, password, ha1 in rows}


def test_ha1_sql_leaves_no_password_where_there_is_a_realm(with_passwords: Site) -> None:
    assert h("md5", "Mufasa", "http-auth@example.org", "Circle of Life") == HA1S["rfc"][1][1]
    after = {uuid: expected for uuid, (_, expected) in HA1S.items()}
    by_hand(with_passwords.url, "ha1.sql")
    assert secrets_in(with_passwords) == after
    by_hand(with_passwords.url, "ha1.sql")
    assert secrets_in(with_passwords) == after


def test_ha1_sql_has_a_statement_for_sha_256(with_passwords: Site) -> None:
    path = PROJECT / "db" / FOLDERS[with_passwords.url.get_backend_name()] / "ha1.sql"
    lines = [line.removeprefix("--") for line in path.read_text().splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith(" UPDATE"))
    end = next(number for number, line in enumerate(lines) if number > start and line.endswith(";"))
    statement = "\n".join(lines[start : end + 1]).replace("carrier.example", "träger")
    with_passwords.execute(statement.replace("':'", "'\\:'"))  # a colon would be a parameter's
    found = secrets_in(with_passwords)
    assert found["not ASCII"] == ("", h("sha256", "Jürgen", "träger", "€uro"))
    assert found["rfc"] == ("Circle of Life", "")
