"""The DBA's own SQLite file as a source: its commits are in the copy at the next tick. Nothing that is wrong with it,
and no lock on it, changes what calls are served from.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.replica import file as source
from kemi.start import schema
from tests.db.site import Site, site

ROWS = (
    "INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password) VALUES (1, 'a', 'r', 'u', 'first')",
    "INSERT INTO address (id, ip_addr) VALUES (1, '192.0.2.1')",
)
CHANGED = "UPDATE uacreg SET auth_password = 'second'"


def made(path: Path, *statements: str) -> URL:
    """Make a file with the tables, and do these things in it."""
    url = URL.create("sqlite", database=str(path))
    engine = schema.open_database(url)
    schema.create(engine)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
    return url


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    """A file whose name has to be quoted in a URL, and a node that has copied it."""
    with site(made(tmp_path / "trunks 100%?#.sqlite", *ROWS), tmp_path) as found:
        found.tick()
        found.tick()
        assert found.is_equal()
        yield found


def path_of(place: Site) -> Path:
    return Path(place.url.database or "")


def password(place: Site) -> str:
    place.store.look_again()
    trunk = place.store.by_uuid("a")
    return trunk.auth_password if trunk else ""


@contextlib.contextmanager
def locked(place: Site) -> Iterator[sqlite3.Connection]:
    """Somebody holds the file, as a backup does."""
    with contextlib.closing(sqlite3.connect(path_of(place), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_commit_is_in_the_copy_at_the_next_tick(place: Site, mode: str) -> None:
    with contextlib.closing(sqlite3.connect(path_of(place))) as dba:
        dba.execute(f"PRAGMA journal_mode = {mode}")
        place.tick()
        dba.execute(CHANGED)
        assert place.tick().lines == []
        dba.commit()
        place.tick()
        assert password(place) == "second"
        dba.execute("DELETE FROM address")
        dba.commit()
        assert place.tick().addresses
        assert place.is_equal()
    assert [place.tick().lines for _ in range(3)] == [[]] * 3


def test_a_change_behind_a_nul_is_found(place: Site) -> None:
    place.execute("UPDATE uacreg SET auth_password = 'first' || char(0)")
    place.tick()
    assert place.said('trunk=a outcome=unusable reason="auth_password has a control character"')
    place.execute("UPDATE uacreg SET auth_password = 'first'")
    place.tick()
    assert password(place) == "first"


def test_a_lock_is_not_waited_for(place: Site) -> None:
    with locked(place) as other:
        started = time.monotonic()
        place.tick_until(
            "it is said", lambda: place.said('outcome=database-away reason="database is locked" served-from=')
        )
        assert time.monotonic() - started < 1.5
        assert password(place) == "first"
        other.execute(CHANGED)
        other.execute("COMMIT")
    place.tick_until("the change is in the copy", lambda: password(place) == "second", within=2)
    assert (len(place.said("away")), len(place.said("back"))) == (1, 1)


def test_the_keeper_locks_nothing(place: Site) -> None:
    for number in range(20):
        place.tick()
        with locked(place) as other:
            other.execute(f"UPDATE uacreg SET flags = {number}")
            other.execute("COMMIT")
    assert place.said("away") == []


def test_a_change_is_in_use_soon_after_the_longest_lock() -> None:
    """A try that has just begun to wait fails, and so many seconds and a quarter later comes the next one."""
    assert source.BUSY_LIMIT + 1.25 * source.File.longest_pause < 2  # seconds, as the README says


WRONG = {
    "missing": "unable to open database file|No such file or directory",
    "no database": "file is not a database",
    "without a table": "no such table: address",
    "without a column": "no such column: socket",
}


@pytest.mark.parametrize("what", WRONG)
def test_calls_go_on_with_what_was_last_read(place: Site, what: str) -> None:
    path, broken = path_of(place), path_of(place).with_name("broken")
    if what in ("missing", "no database"):
        broken.write_bytes(b"no database" * 1000)
    else:
        made(broken, "DROP TABLE address" if what == "without a table" else "ALTER TABLE uacreg DROP COLUMN socket")
    whole = path.rename(path.with_name("whole"))
    if what != "missing":
        broken.replace(path)
    place.tick_until("it is said", lambda: place.said("outcome=database-away"))
    place.tick_until("it was tried again", lambda: place.keeper._pause > 0.5)
    assert password(place) == "first"
    assert path.exists() == (what != "missing")
    with contextlib.closing(sqlite3.connect(whole)) as dba, dba:
        dba.execute(CHANGED)
    whole.replace(path)
    place.tick_until("the change is in the copy", lambda: password(place) == "second", within=3)
    assert (len(place.said("away")), len(place.said("back"))) == (1, 1)
    assert re.search(WRONG[what], place.said("away")[0])


def test_a_file_that_is_put_in_its_place_is_copied(place: Site) -> None:
    other = made(path_of(place).with_name("other"), *ROWS, CHANGED)
    Path(other.database or "").replace(path_of(place))
    place.tick()
    assert password(place) == "second"
    assert place.said("away") == []
    with contextlib.closing(sqlite3.connect(path_of(place))) as dba, dba:
        dba.execute("UPDATE uacreg SET auth_password = 'third'")
    place.tick()
    assert password(place) == "third"


KILLED = """
import os, sqlite3, sys
dba = sqlite3.connect(sys.argv[1], isolation_level=None)
dba.executescript("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; UPDATE uacreg SET auth_password = 'never'")
dba.executemany("INSERT INTO uacreg (l_uuid, realm) VALUES (?, ?)", ((str(n), "x" * 60) for n in range(5000)))
os._exit(1)
"""


def test_what_a_writer_that_was_killed_has_left_is_not_read(place: Site) -> None:
    subprocess.run([sys.executable, "-c", KILLED, path_of(place)], check=False, timeout=30)
    assert path_of(place).with_name(f"{path_of(place).name}-journal").stat().st_size > 0
    place.tick_until("the file is read again", lambda: place.tick().lines == [])
    assert password(place) == "first"
    assert place.is_equal()
    assert place.said("away") == []
