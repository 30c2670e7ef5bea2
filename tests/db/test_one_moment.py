"""The copy never shows half of a transaction, or tables as they never were, whatever is done to them while they are
read; and it is kept of tables that were made anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Table, text

from kemi.replica.source import Source
from kemi.start import schema
from tests.db.conftest import drop_tables
from tests.db.site import Site, site

INSERT = "INSERT INTO uacreg (id, l_uuid, r_domain, auth_username, auth_password)"
ROWS = (f"{INSERT} VALUES (1, 'a', 'a.example', 'u', 'p')", "INSERT INTO address (id, ip_addr) VALUES (1, '192.0.2.1')")
SOON = 5.0  # seconds


@pytest.fixture
def place(postgresql_tables: URL, tmp_path: Path) -> Iterator[Site]:
    """PostgreSQL without triggers, and a copy; compared at every tick."""
    with site(postgresql_tables, tmp_path) as made:
        schema.create(made.dba)
        made.execute(*ROWS)
        made.tick()
        made.tick()
        assert made.is_equal()
        yield made


PUT_IN_PLACE = {
    "emptied": ("TRUNCATE uacreg",),
    "made anew": (
        "CREATE TABLE next AS SELECT * FROM uacreg WITH NO DATA", "DROP TABLE uacreg",
        "ALTER TABLE next RENAME TO uacreg",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", PUT_IN_PLACE)
def test_rows_that_were_put_in_place_of_the_others_while_the_keeper_waited_for_their_table(
    place: Site, what: str
) -> None:
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kemi-trunkauth' AND wait_event = 'relation'"
    )
    pause = threading.Event()
    with place.dba.connect() as dba:
        for statement in ("BEGIN", *PUT_IN_PLACE[what]):
            dba.execute(text(statement))
        tick = threading.Thread(target=place.tick)
        tick.start()
        with place.dba.connect() as other:
            while not other.execute(text(waits)).scalar_one():
                assert tick.is_alive()
                pause.wait(0.02)
        dba.execute(text(f"{INSERT} VALUES (2, 'b', 'b.example', 'u', 'p')"))
        dba.execute(text("COMMIT"))
    tick.join()
    assert [row[:2] for row in place.copied()[0]] == [(2, "b")]
    assert not place.said("database-away")


def test_a_transaction_is_whole_whatever_isolation_the_server_has(
    mariadb: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = ["BEGIN", "UPDATE uacreg SET realm = 'later'", "UPDATE address SET tag = 'later'", "COMMIT"]
    sums = Source.sums

    def slow_sums(source: Source, table: Table) -> dict[int, str]:
        found = sums(source, table)
        node.execute(*later)
        later.clear()
        return found

    with site(mariadb, tmp_path) as node:
        try:
            node.execute("SET GLOBAL tx_isolation = 'READ-COMMITTED'")
            schema.create(node.dba)
            node.execute(*ROWS)
            node.tick()
            node.tick()
            monkeypatch.setattr(Source, "sums", slow_sums)
            node.tick()
            assert "later" not in str(node.copied())
            node.tick()
            assert node.is_equal()
        finally:
            node.execute("SET GLOBAL tx_isolation = 'REPEATABLE-READ'")
            drop_tables(mariadb)


TRIGGERS_GONE = {
    "with its table": (
        "CREATE TABLE next AS SELECT * FROM uacreg", "DROP TABLE uacreg", "ALTER TABLE next RENAME TO uacreg",
    ),
    "for a while": ("ALTER TABLE uacreg DISABLE TRIGGER kemi_trunkauth_notice",),
}  # fmt: skip


@pytest.mark.parametrize("how", TRIGGERS_GONE)
def test_changes_are_found_by_comparison_once_a_trigger_is_gone(
    postgresql_tables: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("kemi.replica.keeper.HEARTBEAT", 0.1)
    with site(postgresql_tables, tmp_path, interval=0.1) as place:
        schema.create(place.dba)
        assert not schema.install_notice(place.dba)
        place.execute(*ROWS)
        place.tick()
        place.execute(*TRIGGERS_GONE[how])
        for password in ("second", "third"):
            place.execute(f"UPDATE uacreg SET auth_password = '{password}'")
            place.tick_until("the change is in the copy", place.is_equal, SOON)


def test_a_row_whose_id_no_copy_can_hold_keeps_no_other_out(mariadb: URL, tmp_path: Path) -> None:
    with site(mariadb, tmp_path) as place:
        try:
            schema.create(place.dba)
            place.execute("ALTER TABLE uacreg MODIFY id BIGINT UNSIGNED", *ROWS)
            for number, name in ((2**63 - 1, "most"), (2**63, "one more"), (2**64 - 1, "of all")):
                place.execute(f"{INSERT} VALUES ({number}, '{name}', 'd.example', 'u', 'p')")
            for _ in range(2):
                place.tick()
                assert [row[:2] for row in place.copied()[0]] == [(1, "a"), (2**63 - 1, "most")]
            place.execute("UPDATE uacreg SET auth_password = 'other' WHERE id = 1")
            place.tick()
            assert "other" in str(place.copied())
        finally:
            drop_tables(mariadb)
