"""Rows that cannot be used, on every kind of database: each is named once, when it comes, and the others work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text

from kemi.line import Level, word
from kemi.names.rows import Rows
from kemi.start import schema
from kemi.trunks import groups
from kemi.trunks.tables import open_file
from tests.db.site import Site, site
from tests.lines import told

GOOD = (
    "INSERT INTO uacreg (id, l_uuid, r_domain, auth_username, auth_password) VALUES (1, 'good', 'd.example', 'u', 'p')",
    "INSERT INTO address (id, ip_addr, mask) VALUES (1, '192.0.2.1', 32)",
)
INSERT = "INSERT INTO uacreg (id, l_uuid, r_domain, auth_username, auth_password)"
NO_PASSWORD = "auth_password and auth_ha1 are empty"


@pytest.fixture
def place(empty_database: URL, tmp_path: Path) -> Iterator[Site]:
    """A database of each kind with a good row in each table, and a node that has copied them."""
    dba = schema.open_database(empty_database)
    schema.create(dba)
    with dba.connect() as connection:
        for statement in GOOD:
            connection.execute(text(statement))
    dba.dispose()
    with site(empty_database, tmp_path) as made:
        made.tick()
        made.tick()
        yield made


def warnings(place: Site) -> list[str]:
    """The warnings of the next tick."""
    return [told(line) for line in place.tick().lines if line.level is Level.WARNING]


def query(place: Site, question: str) -> list[tuple[object, ...]]:
    """What Kamailio's modules read."""
    engine = open_file(place.file)
    with contextlib.closing(engine.raw_connection()) as connection:
        rows: list[tuple[object, ...]] = connection.cursor().execute(question).fetchall()
    engine.dispose()
    return rows


def registering(place: Site) -> list[str]:
    """The trunks that Kamailio's uac module gets."""
    rows = Rows(place.file)
    found = rows.found()
    rows.close()
    return list(found.registering) if found else []


def test_a_trunk_is_named_when_it_breaks_and_used_when_it_is_mended(place: Site) -> None:
    place.execute(f"{INSERT} VALUES (2, 'bad', 'd.example', 'u', '')")
    assert warnings(place) == [f"trunk=bad outcome=unusable reason={word(NO_PASSWORD)}"]
    [bad], [good] = place.store.by_name("bad"), place.store.by_dialled_domain("d.example")
    assert (bad.fault, good.uuid) == (NO_PASSWORD, "good")
    place.execute("UPDATE uacreg SET flags = 1 WHERE id = 1")  # its neighbour: both are fetched anew
    assert warnings(place) == []
    place.execute("UPDATE uacreg SET l_uuid = '' WHERE id = 2")
    assert warnings(place) == ['uacreg=2 outcome=unusable reason="l_uuid is empty"']
    place.execute("UPDATE uacreg SET l_uuid = 'mended', auth_password = 'p' WHERE id = 2")
    assert warnings(place) == []
    place.store.look_again()
    assert [trunk.uuid for trunk in place.store.by_dialled_domain("d.example")] == ["good", "mended"]


USABLE = "SELECT id FROM usable_address ORDER BY id"  # as the permissions module reads them
COVERED = 'address=1 outcome=unusable reason="group 2 lists the same source: a carrier, which may not call"'


def test_a_source_in_both_groups_is_a_carrier_and_no_caller(place: Site) -> None:
    assert query(place, USABLE) == [(1,)]
    place.execute("INSERT INTO address (id, grp, ip_addr, mask) VALUES (2000, 2, '192.0.2.0', 24)")
    assert warnings(place) == [COVERED]
    assert query(place, USABLE) == [(2000,)]
    assert place.reports[-1].addresses
    place.execute("INSERT INTO address (id, grp, ip_addr, mask) VALUES (2, 1, '10.0.0.0', 8), (3, 2, '10.0.0.9', 32)")
    assert warnings(place) == []  # a carrier in a network of callers is no fault; the other one is known
    assert query(place, USABLE) == [(2,), (3,), (2000,)]
    place.execute("DELETE FROM address WHERE id = 2000")
    assert warnings(place) == []
    assert query(place, USABLE) == [(1,), (2,), (3,)]
    place.execute("UPDATE address SET grp = 2, ip_addr = '192.0.2.1', mask = 32 WHERE id = 3")
    assert warnings(place) == [COVERED]


def test_networks_that_kamailio_cannot_take_are_named_and_left_out(
    place: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_NETWORKS", 1)
    place.execute("INSERT INTO address (id, ip_addr, mask) VALUES (2, '10.0.0.0', 8), (2000, '10.1.0.0', 16)")
    assert warnings(place) == ['address=2000 outcome=unusable reason="it is beyond the first 1 networks"']
    assert query(place, USABLE) == [(1,), (2,)]
    place.execute("UPDATE address SET grp = 2, ip_addr = '10.0.0.0', mask = 8 WHERE id = 2000")
    assert warnings(place) == [COVERED.replace("=1 ", "=2 ")]
    assert query(place, USABLE) == [(1,), (2000,)]
    place.execute("DELETE FROM address WHERE id = 2000")
    assert warnings(place) == []
    assert query(place, USABLE) == [(1,), (2,)]


def test_an_address_is_named_when_it_breaks_and_listed_when_it_is_mended(place: Site) -> None:
    place.execute("INSERT INTO address (id, ip_addr, mask) VALUES (2, '10.0.0.0', 99), (3, 'pbx.example', 32)")
    assert warnings(place) == [
        'address=2 outcome=unusable reason="mask is not a number from 0 to 32"',
        'address=3 outcome=unusable reason="ip_addr is not an IP address"',
    ]
    listed = "SELECT ip_addr, mask FROM address ORDER BY id"
    assert query(place, listed) == [("192.0.2.1", 32)]
    place.execute("DELETE FROM address WHERE id = 1", "UPDATE address SET mask = 8 WHERE id = 2")
    assert warnings(place) == []
    assert query(place, listed) == [("10.0.0.0", 8)]
    assert place.reports[-1].addresses


def test_a_trunk_that_cannot_be_registered_is_named_and_serves_calls(place: Site) -> None:
    full = "l_username = 'a', l_domain = 'b', r_username = 'c', auth_proxy = 'sip:c.example', expires = 60"
    place.execute(f"UPDATE uacreg SET {full}")
    assert warnings(place) == []
    assert registering(place) == ["good"]
    place.execute("UPDATE uacreg SET l_domain = ''")
    assert warnings(place) == ['trunk=good outcome=unregistered reason="expires is set and l_domain is empty"']
    assert registering(place) == []
    assert place.store.by_uuid("good")


@pytest.mark.parametrize("number", [2_147_483_000, 2_147_483_647])
def test_the_highest_ids_are_copied(place: Site, number: int) -> None:
    place.execute(f"{INSERT} VALUES ({number}, 'last', 'd.example', 'u', 'p')")
    assert warnings(place) == []
    assert place.is_equal()
    place.execute(f"DELETE FROM uacreg WHERE id = {number}")
    assert warnings(place) == []
    assert place.is_equal()


def test_a_hundred_are_named_and_the_others_counted(place: Site) -> None:
    rows = ", ".join(f"({number}, 'bad{number}', 'd.example', 'u', '')" for number in range(2, 203))
    place.execute(f"{INSERT} VALUES {rows}", "INSERT INTO address (id, ip_addr, mask) VALUES (2, '10.0.0.0', 99)")
    said = warnings(place)
    assert (len(said), said[-1]) == (101, "outcome=more-faults rows=102")
    assert said[:2] == [f"trunk=bad{number} outcome=unusable reason={word(NO_PASSWORD)}" for number in (2, 3)]
    assert warnings(place) == []


def test_a_keeper_that_starts_names_what_the_copy_holds(place: Site) -> None:
    place.execute(f"{INSERT} VALUES (2, 'bad', 'd.example', 'u', '')")
    place.tick()
    place.close()
    with site(place.url, place.file.parent) as again:
        assert warnings(again) == [f"trunk=bad outcome=unusable reason={word(NO_PASSWORD)}"]
        assert warnings(again) == []


def test_a_default_trunk_without_a_row_is_named(empty_database: URL, tmp_path: Path) -> None:
    line = "trunk=other outcome=no-default-trunk"
    dba = schema.open_database(empty_database)
    schema.create(dba)
    dba.dispose()
    with site(empty_database, tmp_path, default_trunk="other") as place:
        assert warnings(place) == []  # there is no copy yet
        assert warnings(place) == [line]
        place.execute(*GOOD)
        assert warnings(place) == []
        place.execute("UPDATE uacreg SET l_uuid = 'other'")
        assert warnings(place) == []
        place.execute("DELETE FROM uacreg")
        assert warnings(place) == [line]


ODD = {
    "a BLOB": "x'ff00'",
    "a BLOB that could be text": "x'6162'",
    "text that is not UTF-8": "CAST(x'ff41' AS TEXT)",
}


@pytest.mark.parametrize("column", ["l_uuid", "l_username", "auth_password", "socket"])
@pytest.mark.parametrize("what", ODD)
def test_what_sqlite_holds_in_place_of_text(tmp_path: Path, what: str, column: str) -> None:
    with in_a_file(tmp_path) as place:
        place.execute(
            f"{INSERT} VALUES (2, 'odd', '', 'u', 'p')", f"UPDATE uacreg SET {column} = {ODD[what]} WHERE id = 2"
        )
        place.execute("INSERT INTO address (id, ip_addr, mask, tag) VALUES (2, '192.0.2.2', 32, x'ff')")
        place.execute("INSERT INTO address (id, ip_addr, mask) VALUES (3, '192.0.2.3', 'all')")
        row = "uacreg=2" if column == "l_uuid" else "trunk=odd"
        assert warnings(place) == [
            f'{row} outcome=unusable reason="{column} is not text in UTF-8"',
            'address=2 outcome=unusable reason="tag is not text in UTF-8"',
            'address=3 outcome=unusable reason="mask is not a number from 0 to 32"',
        ]
        assert [warnings(place) for _ in range(3)] == [[]] * 3
        assert place.said("away") == []
        assert place.store.by_uuid("good")
        place.execute("UPDATE uacreg SET flags = 7 WHERE l_uuid = 'good'")
        assert warnings(place) == []


@pytest.mark.parametrize("number", [2**63 - 1, 2**62 + 999, -1, -1000, -(2**63) + 1])
def test_any_id_that_sqlite_can_hold_is_copied(tmp_path: Path, number: int) -> None:
    with in_a_file(tmp_path) as place:
        place.execute(f"{INSERT} VALUES ({number}, 'odd', 'd.example', 'u', 'p')")
        assert warnings(place) == ['trunk=odd outcome=unusable reason="id is not a number from 0 to 4294967295"']
        assert place.is_equal()
        place.execute("UPDATE uacreg SET id = 4294967295 WHERE l_uuid = 'odd'")
        assert warnings(place) == []
        assert place.is_equal()


@contextlib.contextmanager
def in_a_file(folder: Path) -> Iterator[Site]:
    url = URL.create("sqlite", database=str(folder / "trunks.sqlite"))
    dba = schema.open_database(url)
    schema.create(dba)
    dba.dispose()
    with site(url, folder) as place:
        place.execute(*GOOD)
        place.tick()
        place.tick()
        yield place


def test_text_that_postgresql_does_not_know_the_encoding_of(postgresql: URL, tmp_path: Path) -> None:
    """It is taken for UTF-8, and a row that is not changes nothing for the others."""
    dba = schema.open_database(postgresql)
    with dba.connect() as connection:
        connection.execute(text("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
        with site(postgresql.set(database="ascii"), tmp_path) as place:
            schema.create(place.dba)
            place.execute(
                f"{INSERT} VALUES (1, 'a', 'd.example', 'Jürgen', 'ключ'),"
                " (2, 'b', 'd.example', 'u', convert_from('\\xfc', 'SQL_ASCII'))"
            )
            assert warnings(place) == ['trunk=b outcome=unusable reason="auth_password is not text in UTF-8"']
            trunk = place.store.by_uuid("a")
            assert trunk is not None
            assert (trunk.auth_username, trunk.auth_password) == ("Jürgen", "ключ")
        connection.execute(text("DROP DATABASE ascii WITH (FORCE)"))
    dba.dispose()
