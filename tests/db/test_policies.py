"""The optional table `trunk`, on every kind of server: a database without it serves as it always did, one that gets it
is read at once, and a row that cannot be used takes its trunk with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.line import word
from kemi.start import schema
from kemi.trunks.trunk import DEFAULT, Policy
from tests.db.site import Site, site

TRUNK = (
    "INSERT INTO uacreg (id, l_uuid, l_username, realm, auth_username, auth_password)"
    " VALUES ({}, '{}', 'u', 'r', 'x', 'p')"
)


@pytest.fixture
def place(empty_database: URL, tmp_path: Path) -> Iterator[Site]:
    """A database of three trunks of one caller, without the table."""
    dba = schema.open_database(empty_database)
    schema.create(dba)
    dba.dispose()
    with site(empty_database, tmp_path) as made:
        made.execute("DROP TABLE trunk", *[TRUNK.format(number, uuid) for number, uuid in enumerate("abc", 1)])
        yield made


def policy_of(place: Site, uuid: str) -> Policy | None:
    place.store.look_again()
    trunk = place.store.by_uuid(uuid)
    return trunk.policy if trunk else None


def has_priority(place: Site, priority: int) -> bool:
    return policy_of(place, "a") == DEFAULT._replace(priority=priority)


def in_order(place: Site) -> str:
    place.store.look_again()
    return "".join(trunk.uuid for trunk in place.store.by_caller("u", ""))


def test_without_it_every_trunk_has_the_defaults(place: Site) -> None:
    place.tick()
    place.tick()
    assert place.store.is_ready()
    assert (policy_of(place, "a"), in_order(place)) == (DEFAULT, "abc")
    assert place.said("away") == []


def test_a_table_that_is_made_while_calls_run_is_read_and_one_that_is_dropped_is_forgotten(place: Site) -> None:
    place.tick()
    schema.create(place.dba)
    place.execute(
        "INSERT INTO trunk"
        " (l_uuid, enabled, priority, weight, max_calls, max_cps, probe, source_tag, inbound_uri, from_user,"
        " from_domain, identity, weakest_algorithm, answers_far_end, asks_alone, strip, prefix,"
        " number_format, country, tls_verify)"
        " VALUES ('a', 0, 0, 3, 4, 5, 6, 'pbx', 'sip:pbx.test', '$', 'a.test', 'pai', 'SHA-256', 0, 1, 7, '0',"
        " 'national', 'DE', 0)",
        "INSERT INTO trunk (l_uuid, priority) VALUES ('b', 2)",
    )
    place.tick_until("the copy is equal", place.is_equal)
    assert policy_of(place, "a") == Policy(
        0, 0, 3, 4, 5, 6, "pbx", "sip:pbx.test", "$", "a.test", "pai", "SHA-256", 0, 1, 7, "0", "national", "DE", 0
    )
    assert policy_of(place, "b") == DEFAULT._replace(priority=2)
    assert in_order(place) == "cba"  # the one that is not enabled last, then by priority
    place.execute("DROP TABLE trunk")
    place.tick_until("it is forgotten", lambda: policy_of(place, "a") == DEFAULT)


def test_a_row_that_cannot_be_used_takes_its_trunk_with_it_and_is_named(place: Site) -> None:
    schema.create(place.dba)
    place.execute("INSERT INTO trunk (id, l_uuid, priority) VALUES (7, 'a', -1)")
    place.tick()
    assert policy_of(place, "a") is None
    reason = "priority is not a number from 0 to 2147483647"
    assert place.said("trunk=a") == [f"trunk=a outcome=unusable reason={word(reason)}"]
    assert [trunk.fault for trunk in place.store.by_name("a")] == [reason]
    place.execute("UPDATE trunk SET priority = 1 WHERE id = 7")
    place.tick_until("it is mended", lambda: policy_of(place, "a") == DEFAULT._replace(priority=1))


def test_its_changes_are_noticed(postgresql_tables: URL, tmp_path: Path) -> None:
    with site(postgresql_tables, tmp_path, interval=3600) as place:
        schema.create(place.dba)
        place.execute("DROP TABLE trunk", TRUNK.format(1, "a"))
        schema.create(place.dba)
        assert not schema.install_notice(place.dba)
        place.tick()
        for priority in (1, 2):
            place.execute("DELETE FROM trunk", f"INSERT INTO trunk (l_uuid, priority) VALUES ('a', {priority})")
            place.tick_until("it is in the copy", partial(has_priority, place, priority))
        assert len(place.said("database-copied")) == 1


def test_a_table_that_comes_while_the_others_are_noticed_is_noticed_too(postgresql_tables: URL, tmp_path: Path) -> None:
    with site(postgresql_tables, tmp_path, interval=3600) as place:
        schema.create(place.dba)
        assert not schema.install_notice(place.dba)
        place.execute("DROP TABLE trunk", TRUNK.format(1, "a"))
        place.tick()
        schema.create(place.dba)
        place.execute("INSERT INTO trunk (l_uuid, priority) VALUES ('a', 5)")
        assert not schema.install_notice(place.dba)
        place.tick_until("it is in the copy", lambda: policy_of(place, "a") == DEFAULT._replace(priority=5))
