"""The file of resolved names: what is kept in it, who reads it, and what becomes of a damaged one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from kemi.names import file as kept
from kemi.names import rows as module
from kemi.names.file import NamesFile
from kemi.names.rows import Found, Registration, Rows, resolved
from kemi.replica import copy as replica
from kemi.trunks import local
from kemi.trunks.hops import Hop, Hops, Target
from kemi.trunks.names import ResolvedNames
from kemi.trunks.rows import Rules

ONE = Target("one.test")
HERE: Hops = (Hop("192.0.2.1", 5060, "udp", "one.test"), Hop("192.0.2.2", 5060, "udp", "one.test"))
THERE: Hops = (Hop("192.0.2.3", 5060, "udp", "one.test"),)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(local, "FRESH_FOR", 0)
    monkeypatch.setattr(module, "REST", 0)
    return tmp_path / "names.sqlite"


@pytest.fixture
def file(path: Path) -> Iterator[NamesFile]:
    found = NamesFile(path)
    found.open()
    yield found
    found.close()


@pytest.fixture
def worker(path: Path) -> Iterator[ResolvedNames]:
    found = ResolvedNames(path)
    yield found
    found.close()


def row(uuid: str, number: int, proxy: str = "sip:192.0.2.9", password: str = "p") -> Registration:
    return (number, uuid, "a", "b", "c", "d", "r", "u", password, "", proxy, 60, 0, 0, "", "")


def stored(path: Path) -> dict[str, Hops]:
    file = NamesFile(path)
    file.open()
    file.close()
    return dict(file.hops)


def test_a_worker_reads_what_was_kept_and_sees_each_change(file: NamesFile, worker: ResolvedNames) -> None:
    assert worker.find(ONE) is None
    file.keep({ONE.key: HERE}, {})
    assert worker.find(ONE) == HERE
    file.keep({ONE.key: ()}, {})
    assert worker.find(ONE) == ()
    file.keep({}, {})
    assert worker.find(ONE) is None


def test_an_address_needs_no_file(tmp_path: Path) -> None:
    for worker in (ResolvedNames(None), ResolvedNames(tmp_path / "missing")):
        assert [hop.address for hop in worker.find(Target("192.0.2.1")) or ()] == ["192.0.2.1"]
        assert (worker.find(ONE), worker.find(Target())) == (None, ())
        worker.close()


@pytest.mark.parametrize("hops", ["[1", "[1]", "7", "", None])
def test_a_row_that_cannot_be_read_is_a_name_that_nobody_has_tried_and_costs_no_other(
    path: Path, file: NamesFile, worker: ResolvedNames, hops: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Target("two.test")
    file.keep({ONE.key: HERE, other.key: THERE}, {})
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE resolved_name SET hops = ? WHERE target = ?", (hops, ONE.key))
    assert worker.find(other) == THERE
    with monkeypatch.context() as patched:
        patched.setattr(worker, "close", lambda: pytest.fail("the file is closed"))
        assert [worker.find(ONE), worker.find(other)] == [None, THERE]
    file.keep({ONE.key: THERE, other.key: THERE}, {})
    assert worker.find(ONE) == THERE


DAMAGE = {"no file": None, "not a database": b"x" * 4096, "empty": b""}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_made_anew(path: Path, file: NamesFile, worker: ResolvedNames, content: bytes | None) -> None:
    file.keep({ONE.key: HERE}, {"t": row("t", 1)})
    file.close()
    for each in path.parent.glob("names.sqlite*"):
        each.unlink()
    if content is not None:
        path.write_bytes(content)
    assert worker.find(ONE) is None
    file.open()
    file.keep({ONE.key: THERE}, {"t": row("t", 1)})
    assert worker.find(ONE) == THERE


def overwritten(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as octets:
        octets.seek(4096)
        octets.write(b"\xff" * (size - 4096))


HARM: dict[str, Callable[[Path], None]] = {
    "taken away": Path.unlink, "cut": lambda path: os.truncate(path, 0), "overwritten": overwritten,
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_file_that_is_harmed_in_use_is_put_back(
    path: Path, file: NamesFile, worker: ResolvedNames, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(kept, "CHECKED_EVERY", 0.0)
    file.keep({ONE.key: HERE}, {})
    file.keep({ONE.key: HERE}, {})
    harm(path)
    assert worker.find(ONE) is None
    file.keep({ONE.key: HERE}, {})
    assert worker.find(ONE) == HERE


def test_a_file_that_somebody_holds_is_not_taken_for_damaged(
    path: Path, file: NamesFile, worker: ResolvedNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "CHECKED_EVERY", 0.0)
    file.keep({ONE.key: HERE}, {"t": row("t", 1)})
    before = path.stat().st_ino
    monkeypatch.setattr(file._engine, "connect", failing)
    with pytest.raises(OperationalError):
        file.keep({ONE.key: HERE}, {"t": row("t", 1)})
    assert path.stat().st_ino == before
    assert worker.find(ONE) == HERE


def failing() -> None:
    raise OperationalError("PRAGMA quick_check", None, sqlite3.OperationalError("database is locked"))


def test_what_is_kept_is_there_after_a_restart(path: Path, file: NamesFile) -> None:
    file.keep({ONE.key: HERE}, {})
    assert stored(path) == {ONE.key: HERE}


def test_nothing_is_written_if_nothing_changed(path: Path, file: NamesFile) -> None:
    file.keep({ONE.key: HERE}, {"t": row("t", 1)})
    with contextlib.closing(sqlite3.connect(path)) as other:
        before = other.execute("PRAGMA data_version").fetchone()
        file.keep({ONE.key: HERE}, {"t": row("t", 1)})
        assert other.execute("PRAGMA data_version").fetchone() == before


def test_the_registrations_that_changed_are_told(file: NamesFile) -> None:
    before = {"same": row("same", 1), "other": row("other", 2), "gone": row("gone", 3)}
    assert sorted(file.keep({}, before)) == ["gone", "other", "same"]
    after = {"same": row("same", 1), "other": row("other", 2, password="q"), "new": row("new", 3)}
    assert sorted(file.keep({}, after)) == ["gone", "new", "other"]


def test_rows_may_trade_their_ids(file: NamesFile) -> None:
    file.keep({}, {"a": row("a", 1), "b": row("b", 2)})
    assert sorted(file.keep({}, {"a": row("a", 2), "b": row("b", 1)})) == ["a", "b"]


def test_a_registration_keeps_its_address_while_the_name_has_it() -> None:
    rows = {"t": row("t", 1, "sip:one.test")}
    first = resolved(rows, {ONE: HERE}, {})
    assert proxy(first) == "sip:192.0.2.1:5060;transport=udp"
    turned = resolved(rows, {ONE: HERE[::-1]}, first)
    assert proxy(turned) == proxy(first)
    assert proxy(resolved(rows, {ONE: THERE}, turned)) == "sip:192.0.2.3:5060;transport=udp"
    assert resolved(rows, {ONE: ()}, turned) == {}


def proxy(rows: dict[str, Registration]) -> str:
    return str(rows["t"][10])


# --- what the rows want


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    replica.prepare(tmp_path / "rows.sqlite", URL.create("postgresql+psycopg", database="d"), Rules())
    with contextlib.closing(sqlite3.connect(tmp_path / "rows.sqlite", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def rows(path: Path, tmp_path: Path) -> Iterator[Rows]:
    found = Rows(tmp_path / "rows.sqlite")
    yield found
    found.close()


def targets(rows: Rows) -> set[str]:
    found = rows.found()
    assert found
    return {target.host for target in found.targets}


INSERT = "INSERT INTO uacreg (l_uuid, auth_proxy, r_domain) VALUES (?, ?, ?)"
FAULT = "INSERT INTO replica_fault VALUES ('uacreg', ?, '', ?, 'a reason')"


def test_names_are_wanted_and_addresses_are_not(database: sqlite3.Connection, rows: Rows) -> None:
    database.executemany(
        INSERT,
        [("a", "sip:one.test", "d.test"), ("b", "sip:192.0.2.1", "d.test"), ("c", "", "two.test"), ("d", "", "")],
    )
    assert targets(rows) == {"one.test", "two.test"}
    database.execute("DELETE FROM uacreg WHERE l_uuid = 'a'")
    assert targets(rows) == {"two.test"}


def test_names_of_rows_that_cannot_be_used_are_not_wanted(database: sqlite3.Connection, rows: Rows) -> None:
    database.executemany(INSERT, [("a", "sip:one.test", ""), ("b", "sip:two.test", ""), ("c", b"sip:\xff", b"\xff")])
    database.execute(FAULT, (2, "unregistered"))  # calls use it
    database.execute(FAULT, (3, "unusable"))
    assert targets(rows) == {"one.test", "two.test"}


def test_what_was_read_last_holds_while_the_file_cannot_be_read(
    database: sqlite3.Connection, rows: Rows, tmp_path: Path
) -> None:
    database.executemany(INSERT, [("a", "sip:one.test", "")])
    assert targets(rows) == {"one.test"}
    (tmp_path / "rows.sqlite").rename(tmp_path / "elsewhere.sqlite")
    assert targets(rows) == {"one.test"}


def test_nothing_is_known_before_the_file_was_read(path: Path, tmp_path: Path) -> None:
    assert Rows(tmp_path / "rows.sqlite").found() is None


def test_only_rows_that_can_register_do(database: sqlite3.Connection, rows: Rows) -> None:
    insert = "INSERT INTO uacreg (l_uuid, auth_proxy, expires) VALUES (?, 'sip:192.0.2.1', ?)"
    database.executemany(insert, [("good", 60), ("for calls", 0), ("no l_domain", 60), ("no password", 60)])
    database.executemany(FAULT, [(3, "unregistered"), (4, "unusable")])
    found = rows.found()
    assert isinstance(found, Found)
    assert list(found.registering) == ["good"]
