"""Where all trunks' next hops are, by which SIP workers know carriers: who writes it, who reads it, and what an earlier
release has left.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.names import rows as module
from kemi.names.file import NamesFile
from kemi.names.rows import Rows
from kemi.replica import copy as replica
from kemi.trunks import local
from kemi.trunks.hops import Hop, Target
from kemi.trunks.listen import Listen
from kemi.trunks.names import ResolvedNames
from kemi.trunks.rows import Rules
from kemi.trunks.tables import RULES

SOURCE = URL.create("postgresql+psycopg", database="d")
HERE = "192.0.2.1 5060 udp"
PLACES = frozenset({"192.0.2.1 5060", "2001:db8::1 5061", "2001:db8::1 0"})


@pytest.fixture(autouse=True)
def looks_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "FRESH_FOR", 0)
    monkeypatch.setattr(module, "REST", 0)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[NamesFile]:
    made = NamesFile(tmp_path / "names.sqlite")
    made.open()
    yield made
    made.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[ResolvedNames]:
    made = ResolvedNames(tmp_path / "names.sqlite")
    yield made
    made.close()


def test_a_worker_knows_a_next_hop_by_address_and_port(file: NamesFile, worker: ResolvedNames) -> None:
    assert not worker.is_next_hop(HERE)
    file.keep({}, {}, PLACES)
    sources = (HERE, "192.0.2.1 5060 TCP", "192.0.2.1 5061 udp", "192.0.2.2 5060 udp", "2001:DB8:0:0:0:0:0:1 5061 tls")
    assert [worker.is_next_hop(source) for source in sources] == [True, True, False, False, True]
    connecting = ("2001:db8::1 40000 tcp", "2001:db8::1 40000 udp", "192.0.2.1 40000 tcp")
    assert [worker.is_next_hop_host(source) for source in connecting] == [True, False, False]
    file.keep({}, {}, PLACES - {"192.0.2.1 5060"})
    assert [worker.is_next_hop(source) for source in (HERE, "2001:db8::1 5061 tcp")] == [False, True]


def test_without_a_file_nobody_is_a_next_hop(tmp_path: Path) -> None:
    for worker in (ResolvedNames(None), ResolvedNames(tmp_path / "missing")):
        assert not worker.is_next_hop(HERE)
        assert not worker.is_next_hop_host("192.0.2.1 40000 tcp")


def test_they_are_known_after_a_restart(tmp_path: Path, file: NamesFile, worker: ResolvedNames) -> None:
    file.keep({}, {}, PLACES)
    again = NamesFile(tmp_path / "names.sqlite")
    again.open()
    assert again.places == PLACES
    again.close()
    assert worker.is_next_hop(HERE)


def test_a_file_of_an_earlier_release_keeps_what_it_holds(tmp_path: Path, file: NamesFile) -> None:
    hops = {Target("one.test").key: (Hop("192.0.2.1", 5060, "udp", "one.test"),)}
    file.keep(hops, {}, PLACES)
    file.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "names.sqlite", isolation_level=None)) as connection:
        connection.execute("DROP TABLE next_hop")
    file.open()
    assert (dict(file.hops), file.places) == (hops, frozenset())
    file.keep(hops, {}, PLACES)
    assert file.places == PLACES


def test_all_rows_whose_next_hop_can_be_one_say_where_it_is(tmp_path: Path) -> None:
    copy = tmp_path / "rows.sqlite"
    replica.prepare(copy, SOURCE, Rules())
    insert = "INSERT INTO uacreg (id, l_uuid, auth_proxy, r_domain) VALUES (?, ?, ?, ?)"
    trunks = [
        (1, "a", "sip:192.0.2.1", "d.test"),
        (2, "b", "sip:[2001:db8::1]:5070;transport=tcp", ""),
        (3, "c", "", "one.test"),
        (4, "d", "sip:192.0.2.4", ""),
        (5, "e", "", ""),
        (6, "f", "", "four.test"),
        (11, "us", "sip:192.0.2.100", "d.test"),
        (12, "us-by-domain", "", "192.0.2.100"),
        (13, "no-uri", "192.0.2.13", "d.test"),
        (14, "no-host", "", "five.test:99999"),
        (15, "no-socket", "sip:192.0.2.15;transport=tls", ""),
    ]
    pbxs = [("a", "sip:pbx.test, sip:192.0.2.9"), ("b", "")]
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.executemany(insert, trunks)
        connection.execute(
            "INSERT INTO replica_fault SELECT 'uacreg', id, '', 'unusable', 'a reason' FROM uacreg WHERE id >= 4"
        )
        connection.executemany("INSERT INTO trunk (l_uuid, inbound_uri) VALUES (?, ?)", pbxs)
        connection.execute("INSERT INTO trunk (id, l_uuid, inbound_uri) VALUES (9, 'c', 'sip:bad.test')")
        connection.execute("INSERT INTO replica_fault VALUES ('trunk', 9, '', 'unusable', 'a reason')")
    rows = Rows(copy, Rules((Listen("udp", "192.0.2.100", 5060), Listen("tcp", "[2001:db8::100]", 5060))))
    found = rows.found()
    rows.close()
    assert found
    literal = {"192.0.2.1 5060", "2001:db8::1 5070", "2001:db8::1 0", "192.0.2.4 5060"}
    assert found.places == literal
    assert {target.host for target in found.targets} == {"one.test", "four.test", "pbx.test"}
    hops = {
        Target(name): (Hop(address, 5062, "udp"),) for name, address in (("one.test", "192.0.2.3"), ("pbx.test", "x"))
    }
    assert found.all_places(hops) == literal | {"192.0.2.3 5062"}  # a PBX is no carrier


def test_a_copy_of_an_earlier_release_gets_what_it_lacks(tmp_path: Path) -> None:
    copy = tmp_path / "replica.sqlite"
    replica.prepare(copy, SOURCE, Rules())
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("INSERT INTO trunk (l_uuid, priority) VALUES ('kept', 7)")
        connection.execute("DROP VIEW usable_address")
        connection.execute("DELETE FROM version WHERE table_name = 'usable_address'")
        connection.execute("ALTER TABLE trunk DROP COLUMN inbound_uri")
        connection.execute("UPDATE replica_state SET value = 'of before' WHERE name = ?", (RULES,))
    for _ in range(2):
        assert replica.prepare(copy, SOURCE, Rules()) == ""
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("SELECT l_uuid, priority, inbound_uri FROM trunk").fetchall() == [("kept", 7, "")]
            assert connection.execute("SELECT * FROM usable_address").fetchall() == []
            asked = "SELECT table_version FROM version WHERE table_name = 'usable_address'"
            assert connection.execute(asked).fetchall() == [(6,)]
