"""The copy of a real server's tables: equal after every change, however it was noticed; what goes wrong leaves a copy
that is right.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from kemi.line import Level, word
from kemi.replica import copy as replica
from kemi.replica import source
from kemi.replica.writer import CopyError
from kemi.start import schema
from tests.db.site import RULES, Site, site
from tests.db.test_tables import run_kamailios_scripts
from tests.lines import told

INSERT = "INSERT INTO uacreg (realm, id, l_uuid, auth_username, auth_password)"

# id 999 and 1000 are on either side of a bucket's end
ROWS = (
    "INSERT INTO uacreg (id, l_uuid, r_domain, auth_username, auth_password) VALUES (1, 'a', 'a.example', 'ua', 'pa')",
    "INSERT INTO uacreg (id, l_uuid, r_domain, auth_username, auth_ha1) VALUES (999, 'b', 'b.example', 'ub', '"
    + "0f" * 16 + "')",
    "INSERT INTO uacreg (id, l_uuid, l_username, l_domain, r_username, r_domain, auth_username, auth_password,"
    " auth_proxy, expires) VALUES (1000, 'c', 'c', 'c', 'c', 'c', 'uc', 'pc', 'sip:c', 60)",
    f"{INSERT} VALUES ('r', 2147483647, 'd', 'ud', 'pd')",
    "INSERT INTO address (id, grp, ip_addr, mask, port, tag) VALUES (1, 1, '192.0.2.1', 32, 0, NULL)",
    "INSERT INTO address (id, grp, ip_addr, mask, port, tag) VALUES (2, 1, '192.0.2.2', 32, 0, '')",
)  # fmt: skip

CHANGES = {
    "a row more": [f"{INSERT} VALUES ('r', 2, 'new', 'un', 'pn')"],
    "a row in a bucket of its own": [f"{INSERT} VALUES ('r', 5000, 'new', 'un', 'pn')"],
    "a row less": ["DELETE FROM uacreg WHERE id = 1"],
    "the last row of a bucket": ["DELETE FROM uacreg WHERE id = 2147483647"],
    "a password": ["UPDATE uacreg SET auth_password = 'other' WHERE id = 1"],
    "a number": ["UPDATE uacreg SET expires = 120 WHERE id = 1000"],
    "another id": ["UPDATE uacreg SET id = 2001 WHERE id = 1"],
    "two ids swapped": [
        "UPDATE uacreg SET id = 7 WHERE id = 1", "UPDATE uacreg SET id = 1 WHERE id = 999",
        "UPDATE uacreg SET id = 999 WHERE id = 7",
    ],
    "two names swapped": [
        "UPDATE uacreg SET l_uuid = '' WHERE id = 1", "UPDATE uacreg SET l_uuid = 'a' WHERE id = 1000",
        "UPDATE uacreg SET l_uuid = 'c' WHERE id = 1",
    ],
    "a text moved to the next column": ["UPDATE uacreg SET l_username = l_domain, l_domain = 'x' WHERE id = 1"],
    "NULL in place of empty": ["UPDATE address SET tag = NULL WHERE id = 2"],
    "empty in place of NULL": ["UPDATE address SET tag = '' WHERE id = 1"],
    "not ASCII": ["UPDATE uacreg SET auth_username = 'Jürgen', auth_password = 'ключ€' WHERE id = 1"],
    "an address less": ["DELETE FROM address WHERE id = 1"],
    "all of it": ["DELETE FROM uacreg", "DELETE FROM address"],
    "all of it, at once": ["TRUNCATE TABLE uacreg", "TRUNCATE TABLE address"],
}  # fmt: skip


@pytest.fixture
def place(server: URL, tmp_path: Path) -> Iterator[Site]:
    """A server with rows, and a node that has never seen them; changes are found by comparison, at every tick."""
    with site(server, tmp_path) as made:
        schema.create(made.dba)
        made.execute(*ROWS)
        yield made


@pytest.fixture
def noticing(postgresql_tables: URL, tmp_path: Path) -> Iterator[Site]:
    """The same with notices, and a first copy; nothing is compared for an hour."""
    with site(postgresql_tables, tmp_path, interval=3600) as made:
        schema.create(made.dba)
        assert not schema.install_notice(made.dba)
        made.execute(*ROWS)
        made.tick()
        assert made.is_equal()
        yield made


def test_the_first_tick_copies_everything(place: Site) -> None:
    assert not place.store.is_ready()
    report = place.tick()
    assert place.is_equal()
    assert not place.store.is_ready()  # Kamailio is told of the addresses first
    place.tick()
    assert place.store.is_ready()
    assert [{**line.fields, "seconds": 0} for line in report.lines] == [
        {"outcome": "database-copied", "rows": 6, "seconds": 0}
    ]
    assert report.addresses  # Kamailio has read the empty copy


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_by_comparison(place: Site, change: str) -> None:
    place.tick()
    place.execute(*CHANGES[change])
    place.tick()
    assert place.is_equal()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(noticing: Site, change: str) -> None:
    noticing.execute(*CHANGES[change])
    noticing.tick_until("the change is in the copy", noticing.is_equal)
    whole_comparisons = 2 if "TRUNCATE" in CHANGES[change][0] else 1
    assert len(noticing.said("database-copied")) == whole_comparisons


def test_nothing_is_fetched_where_nothing_differs(place: Site) -> None:
    place.tick()
    assert [place.tick().lines for _ in range(3)] == [[], [], []]


def test_a_comparison_fetches_the_thousand_rows_that_differ(place: Site) -> None:
    place.execute("DELETE FROM uacreg", "DELETE FROM address")
    with place.dba.connect() as connection:
        rows = [{"id": number, "uuid": f"t{number}"} for number in range(3000)]
        connection.execute(
            text(f"{INSERT} VALUES ('r', :id + 1, :uuid, 'u', 'p')"),
            rows,
        )
    place.tick()
    place.execute("UPDATE uacreg SET auth_password = 'x' WHERE id = 1500")
    [line] = map(told, place.tick().lines)
    assert line.startswith("outcome=database-copied rows=1000 ")
    assert place.is_equal()


def test_many_changes_in_one_commit(noticing: Site) -> None:
    noticing.execute(f"{INSERT} SELECT 'r', n, 'n' || n, 'u', 'p' FROM generate_series(3001, 8000) AS n")
    noticing.tick_until("the rows are in the copy", noticing.is_equal)
    assert len(noticing.said("database-copied")) == 2


def test_a_row_never_comes_without_the_others_of_its_transaction(
    noticing: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ["UPDATE uacreg SET realm = 'later'"]
    snapshot = noticing.keeper._source.snapshot

    def late_snapshot() -> contextlib.AbstractContextManager[None]:
        noticing.execute(*later)
        later.clear()
        return snapshot()

    monkeypatch.setattr(noticing.keeper._source, "snapshot", late_snapshot)
    noticing.execute("UPDATE uacreg SET realm = 'sooner' WHERE id = 1")
    before = noticing.copied()
    noticing.tick_until("the copy is another", lambda: noticing.copied() != before)
    assert noticing.is_equal()


def test_notices_by_now_are_of_all_that_was_committed(noticing: Site) -> None:
    for number in range(100):
        noticing.execute(f"UPDATE uacreg SET expires = {number + 1} WHERE id = 1000")
        assert noticing.keeper._source.notices_by_now() == ["uacreg:1000"]


def test_what_is_affected_is_told(noticing: Site) -> None:
    def told_after(statement: str) -> bool:
        noticing.reports.clear()
        noticing.execute(statement)
        noticing.tick_until("the change is in the copy", noticing.is_equal)
        return any(report.addresses for report in noticing.reports)

    assert not told_after("UPDATE uacreg SET auth_password = 'x' WHERE id = 1000")
    assert told_after("DELETE FROM address WHERE id = 1")


LOST = {
    "a password that is what it was": (
        "UPDATE uacreg SET auth_password = 'tried' WHERE id = 1",
        "UPDATE uacreg SET auth_password = 'pa' WHERE id = 1",
    ),
    "a row that is gone again": (
        f"{INSERT} VALUES ('r', 5000, 'new', 'un', 'pn')",
        "DELETE FROM uacreg WHERE id = 5000",
    ),
    "a row that is there again": (
        "DELETE FROM uacreg WHERE id = 2147483647",
        f"{INSERT} VALUES ('r', 2147483647, 'd', 'ud', 'pd')",
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_a_change_that_was_taken_back_while_nobody_listened(noticing: Site, what: str) -> None:
    change, back = LOST[what]
    noticing.execute(change)
    noticing.tick_until("the change is in the copy", noticing.is_equal)
    noticing.keeper.close()
    noticing.execute(back)
    noticing.tick_until("it is taken back in the copy", noticing.is_equal)


def test_kamailios_own_tables_and_those_of_version_6(server: URL, tmp_path: Path) -> None:
    with site(server, tmp_path) as place:
        run_kamailios_scripts(place.dba)
        place.execute(
            "ALTER TABLE uacreg ADD COLUMN contact_user VARCHAR(64) DEFAULT '' NOT NULL",
            "UPDATE version SET table_version = 6 WHERE table_name = 'uacreg'",
            *ROWS,
        )
        place.tick()
        assert place.is_equal()
        place.execute("DROP TABLE trusted")


# --- what goes wrong


def test_a_table_that_is_missing_for_a_while(place: Site) -> None:
    place.tick()
    place.execute("ALTER TABLE uacreg RENAME TO elsewhere")
    assert len(place.tick().lines) == 1
    assert place.said("outcome=database-away")
    assert place.store.by_uuid("a") is not None
    place.execute("ALTER TABLE elsewhere RENAME TO uacreg", "UPDATE uacreg SET auth_password = 'new' WHERE id = 1")
    place.tick_until("the database is back", lambda: place.said("outcome=database-back"))
    assert place.is_equal()
    assert (len(place.said("away")), len(place.said("back"))) == (1, 1)


def test_a_clock_that_was_set_back_makes_no_copy_of_the_future(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    place.tick()
    hour_ago = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: hour_ago)
    place.execute("ALTER TABLE uacreg RENAME TO elsewhere")
    place.tick()
    assert place.said('served-from="the copy of 0 s ago"')
    place.execute("ALTER TABLE elsewhere RENAME TO uacreg")


def test_a_query_that_takes_longer_than_the_limit_is_ended(
    server: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "OPERATION_LIMIT", 0.2 if server.get_backend_name() == "postgresql" else 1.0)
    with site(server, tmp_path) as place:
        schema.create(place.dba)
        place.execute(*ROWS)
        place.tick()
        sleep = "pg_sleep(60)" if server.get_backend_name() == "postgresql" else "SLEEP(60)"
        slow = f"(SELECT 1 AS one FROM (SELECT {sleep}) AS asleep) AS slow"
        place.execute(
            "ALTER TABLE uacreg RENAME TO elsewhere",
            f"CREATE VIEW uacreg AS SELECT elsewhere.* FROM elsewhere, {slow}",
        )
        place.tick()
        assert place.said("outcome=database-away")
        assert place.store.by_uuid("a") is not None
        place.execute("DROP VIEW uacreg", "ALTER TABLE elsewhere RENAME TO uacreg", "DELETE FROM uacreg WHERE id = 1")
        place.tick_until("the database is back", lambda: place.said("outcome=database-back"))
        assert place.store.by_uuid("a") is None


def overwritten(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def foreign(path: Path) -> None:
    other = path.with_name("other")
    with contextlib.closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE mine (id INTEGER)")
    other.replace(path)


def of_another_database(path: Path) -> None:
    other = path.with_name("other")
    replica.prepare(other, URL.create("postgresql+psycopg", host="192.0.2.1", database="other"), RULES)
    other.replace(path)


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


WRONG_FILES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "damaged": foreign,
    "of another database": of_another_database,
}


@pytest.mark.parametrize("reason", WRONG_FILES)
def test_a_copy_that_is_wrong_while_it_is_in_use_is_made_anew(place: Site, reason: str) -> None:
    place.tick()
    WRONG_FILES[reason](place.file)
    place.tick_until("there is a copy again", lambda: place.file.exists() and not place.said("again") and _right(place))
    assert place.said(f"outcome=copy-made-anew reason={word(reason)}")
    trunk = place.store.by_uuid("a")
    assert trunk is not None
    assert trunk.auth_password == "pa"


def _right(place: Site) -> bool:
    with contextlib.suppress(Exception):
        return place.is_equal()
    return False


@pytest.mark.parametrize("reason", [*WRONG_FILES, "overwritten", "shortened"])
def test_a_copy_that_is_wrong_at_the_start_is_made_anew(server: URL, tmp_path: Path, reason: str) -> None:
    spoil = {**WRONG_FILES, "overwritten": overwritten, "shortened": shortened}
    with site(server, tmp_path) as place:
        schema.create(place.dba)
        place.execute(*ROWS)
        place.tick()
    assert replica.prepare(place.file, server, RULES) == ""
    spoil[reason](place.file)
    assert replica.prepare(place.file, server, RULES) == (reason if reason in WRONG_FILES else "damaged")
    with site(server, tmp_path) as place:
        assert not place.store.is_ready()
        place.tick()
        assert place.is_equal()


def test_a_place_that_cannot_be_written_to_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="unable to open database file"):
        replica.prepare(tmp_path / "none" / "replica.sqlite", URL.create("postgresql+psycopg", database="d"), RULES)


def test_a_sync_that_is_interrupted_leaves_the_old_copy(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    place.tick()
    before = place.copied()
    place.execute("DELETE FROM uacreg WHERE id = 1", "DELETE FROM address")

    def interrupted(*_: object) -> Iterator[None]:
        raise OSError("the line was cut")

    monkeypatch.setattr(source.Source, "rows", interrupted)
    place.tick()
    assert place.copied() == before
    assert place.said('outcome=database-away reason="the line was cut" served-from="the copy of ')
    monkeypatch.undo()
    place.tick_until("the copy is equal again", place.is_equal)


def test_a_full_disk_leaves_the_old_copy(place: Site) -> None:
    """SQLite's own limit stands for the disk's: the error is the same, SQLITE_FULL."""
    place.tick()
    before = place.copied()
    with place.keeper._copy._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with place.dba.connect() as connection:
        rows = [{"id": 3000 + number, "uuid": f"t{number}"} for number in range(2000)]
        connection.execute(text(f"{INSERT} VALUES ('r', :id, :uuid, 'u', 'p')"), rows)
    place.tick()
    assert place.said('outcome=copy-not-kept reason="database or disk is full" served-from="the copy of ')
    assert place.copied() == before
    with place.keeper._copy._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    place.tick_until("the copy is equal again", place.is_equal)


def test_the_connection_says_who_it_is(place: Site) -> None:
    place.tick()
    question = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kemi-trunkauth'",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id()",
    }
    with place.dba.connect() as connection:
        assert connection.execute(text(question[place.url.get_backend_name()])).scalar_one() == 1


def test_no_password_is_in_what_is_said(server: URL, tmp_path: Path) -> None:
    wrong = server.set(password="wr@ng/secret")
    with site(server, tmp_path, reader=wrong) as place:
        [found] = place.tick().lines
    assert found.level is Level.WARNING
    line = told(found)
    assert line.startswith("outcome=database-away")
    assert line.endswith(' served-from="nothing: there is no copy yet"')
    assert not re.search("wr@ng|wr%40ng", line)
