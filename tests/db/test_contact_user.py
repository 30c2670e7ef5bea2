"""The column `contact_user`, which uacreg has from Kamailio 6.2 on: inbound calls are found by it if it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.start import schema
from tests.db.site import Site, site

ROW = """INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password)
         VALUES (1, 'a', 'r', 'ua', 'pa'), (2, 'b', 'r', 'ub', 'pb')"""
VERSION_6 = (
    "ALTER TABLE uacreg ADD COLUMN contact_user VARCHAR(255) DEFAULT '' NOT NULL",
    "UPDATE version SET table_version = 6 WHERE table_name = 'uacreg'",
    "UPDATE uacreg SET contact_user = '4930' WHERE id = 1",
)


@pytest.fixture
def place(empty_database: URL, tmp_path: Path) -> Iterator[Site]:
    with site(empty_database, tmp_path) as made:
        schema.create(made.dba)
        made.execute(ROW)
        made.tick()
        yield made


def found(place: Site, user: str) -> list[str]:
    place.store.look_again()
    return [trunk.uuid for trunk in place.store.by_contact_user(user)]


def test_a_table_without_it_serves(place: Site) -> None:
    assert place.is_equal()
    assert [trunk.uuid for trunk in place.store.by_name("a")] == ["a"]
    assert found(place, "4930") == found(place, "") == []


def test_a_table_that_gets_it_is_read_with_it_from_the_next_connection_on(place: Site) -> None:
    place.execute(*VERSION_6)
    schema.check(place.dba)
    place.tick()
    assert place.said("away") == []
    place.keeper.close()
    place.tick()
    assert place.is_equal()
    assert (found(place, "4930"), found(place, "")) == (["a"], [])
    place.execute("UPDATE uacreg SET contact_user = '4940' WHERE id = 2")
    place.tick_until("the change is in the copy", place.is_equal)
    assert (found(place, "4930"), found(place, "4940")) == (["a"], ["b"])


def test_a_table_that_loses_it_serves(place: Site) -> None:
    place.execute(*VERSION_6)
    place.keeper.close()
    place.tick()
    place.execute("ALTER TABLE uacreg DROP COLUMN contact_user")
    place.tick_until("the copy without it", lambda: not found(place, "4930"))
    assert place.is_equal()
