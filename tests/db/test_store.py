"""What workers read: the store keeps its answers until the file changes, and no longer; it follows a file that is
replaced. And the embedded database, which is the file itself: what the DBA changes in it is told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, event
from sqlalchemy.exc import SQLAlchemyError

from kemi import schema
from kemi.replica import copy as replica
from kemi.replica.keeper import Keeper
from kemi.replica.watch import Report
from kemi.trunks import store as trunks
from kemi.trunks.store import TrunkStore


class File:
    """An embedded database, as the DBA writes to it, and a worker's store on it. selects: what the store asked it. now:
    the store's clock, which goes on from question to question as far as it takes the store to look at the file.
    """

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.path = path
        self.make(path)
        self.store = TrunkStore(path)
        self.selects: list[str] = []
        event.listen(self.store._engine, "before_cursor_execute", self._note)

    @staticmethod
    def make(path: Path) -> None:
        engine = schema.open_database(URL.create("sqlite", database=str(path)))
        schema.create(engine)
        engine.dispose()

    def execute(self, statement: str, path: Path | None = None) -> None:
        connection = sqlite3.connect(path or self.path)
        with connection:
            connection.execute(statement)
        connection.close()

    def password(self, uuid: str = "a", after: float = trunks.FRESH_FOR) -> str | None:
        self.now += after
        found = self.store.by_uuid(uuid)
        return found.auth_password if found else None

    def _note(self, *arguments: object) -> None:
        self.selects.append(str(arguments[2]))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    made = File(tmp_path / "trunks.sqlite")
    monkeypatch.setattr(trunks, "monotonic", lambda: made.now)
    made.execute(
        "INSERT INTO uacreg (id, l_uuid, l_username, l_domain, r_domain, auth_username, auth_password)"
        " VALUES (1, 'a', '100', 'pbx.example', 'Carrier.example', 'u', 'first')"
    )
    yield made
    made.store.close()


def test_the_file_is_asked_once(file: File) -> None:
    assert [file.password() for _ in range(3)] == ["first"] * 3
    assert [file.password("none") for _ in range(3)] == [None] * 3
    assert len(file.selects) == 2


def test_a_busy_store_looks_for_changes_now_and_then(file: File) -> None:
    assert file.password() == "first"
    file.execute("UPDATE uacreg SET auth_password = 'second'")
    assert file.password(after=trunks.FRESH_FOR / 2) == "first"
    assert file.password(after=trunks.FRESH_FOR / 2) == "second"


def test_a_busy_store_looks_again_when_it_is_told_to(file: File) -> None:
    assert file.password() == "first"
    file.execute("UPDATE uacreg SET auth_password = 'second'")
    file.store.look_again()
    assert file.password(after=0) == "second"


def test_a_change_is_seen_at_the_next_question(file: File) -> None:
    assert (file.password(), file.password("b")) == ("first", None)
    file.execute("UPDATE uacreg SET auth_password = 'second'")
    assert file.password() == "second"
    file.execute("INSERT INTO uacreg (l_uuid, auth_username, auth_password) VALUES ('b', 'u', 'third')")
    assert file.password("b") == "third"
    file.execute("DELETE FROM uacreg WHERE l_uuid = 'a'")
    assert file.password() is None


def test_a_change_that_is_not_committed_is_not_seen(file: File) -> None:
    file.execute("PRAGMA journal_mode = WAL")
    other = sqlite3.connect(file.path)
    other.execute("UPDATE uacreg SET auth_password = 'second'")
    assert file.password() == "first"
    other.rollback()
    other.close()
    assert file.password() == "first"


def test_what_is_kept_is_bounded(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunks, "MOST_KEPT", 8)
    for number in range(100):
        assert file.store.by_caller(f"{number}", "nowhere.example") == ()
        assert len(file.store._kept) <= 8
    assert file.password() == "first"


def test_every_door_to_a_trunk(file: File) -> None:
    assert file.store.by_caller("100", "PBX.example") == file.store.by_dialled_domain("carrier.EXAMPLE")
    assert file.store.by_caller("100", "other.example") == ()
    assert file.store.by_dialled_domain("") == ()


def test_a_row_that_cannot_be_used_is_passed_over(file: File) -> None:
    file.execute("UPDATE uacreg SET auth_username = ''")
    assert file.password() is None
    file.execute("INSERT INTO uacreg (l_uuid, r_domain, auth_username) VALUES ('b', 'carrier.example', 'u')")
    assert [trunk.uuid for trunk in file.store.by_dialled_domain("carrier.example")] == ["b"]


def test_a_file_that_is_replaced_is_opened_anew(file: File) -> None:
    assert file.password() == "first"
    other = file.path.with_name("other")
    file.make(other)
    file.execute("INSERT INTO uacreg (l_uuid, auth_username, auth_password) VALUES ('a', 'u', 'moved')", other)
    other.replace(file.path)
    assert file.password() == "moved"


def test_a_file_that_is_damaged_gives_no_answer_until_it_is_whole_again(file: File) -> None:
    assert file.password() == "first"
    other, whole = file.path.with_name("other"), file.path.with_name("whole")
    other.write_bytes(b"no database" * 1000)
    file.path.rename(whole)
    other.replace(file.path)
    with pytest.raises((SQLAlchemyError, sqlite3.DatabaseError)):
        file.password()
    whole.replace(file.path)
    assert file.password() == "first"


def test_the_file_itself_is_ready_at_once_and_a_copy_when_it_is_filled(file: File, tmp_path: Path) -> None:
    assert file.store.is_ready()
    copy = tmp_path / "replica.sqlite"
    source = URL.create("postgresql+psycopg", database="d")
    replica.prepare(copy, source)
    store = TrunkStore(copy, source)
    assert not store.is_ready()
    writers = replica.Copy(copy)
    with writers.transaction() as writer:
        writer.note_synced()
    writers.close()
    assert store.is_ready()
    store.close()


def test_the_copy_of_another_database_gives_no_answer(tmp_path: Path) -> None:
    copy, source = tmp_path / "replica.sqlite", URL.create("postgresql+psycopg", host="192.0.2.1", database="d")
    replica.prepare(copy, source.set(database="other"))
    with pytest.raises(OSError, match="the copy of another database"):
        TrunkStore(copy, source).by_uuid("t")
    store = TrunkStore(copy, source.set(database="other", username="anybody", password="x"))
    assert store.by_uuid("t") is None
    store.close()


# --- the file itself, watched


@pytest.fixture
def keeper(file: File) -> Iterator[Keeper]:
    made = Keeper(file.path, None, 10)
    assert made.tick() == Report(addresses=True)  # Kamailio has just read it, and they may have changed since
    yield made
    made.close()


def test_nothing_is_told_where_nothing_changed(file: File, keeper: Keeper) -> None:
    assert [keeper.tick() for _ in range(3)] == [Report()] * 3


def test_an_address_that_the_dba_changed(file: File, keeper: Keeper) -> None:
    file.execute("INSERT INTO address (ip_addr) VALUES ('192.0.2.1')")
    assert keeper.tick().addresses
    assert not keeper.tick().addresses
    file.execute("DELETE FROM address")
    assert keeper.tick().addresses


def test_a_row_that_cannot_be_used_is_named_once_per_change(file: File, keeper: Keeper) -> None:
    file.execute("UPDATE uacreg SET auth_proxy = 'sbc.example'")
    assert keeper.tick().lines == [(True, "trunk='a' outcome=unusable reason='auth_proxy is not a SIP URI'")]
    file.execute("INSERT INTO uacreg (l_uuid, auth_username) VALUES ('b', 'u')")
    assert keeper.tick().lines == []
    file.execute("UPDATE uacreg SET auth_proxy = '' WHERE l_uuid = 'a'")
    assert keeper.tick().lines == []
    file.execute("UPDATE uacreg SET auth_proxy = 'sbc.example' WHERE l_uuid = 'a'")
    assert len(keeper.tick().lines) == 1
