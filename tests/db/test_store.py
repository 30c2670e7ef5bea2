"""What workers read: the store keeps its answers until the copy changes, and no longer; it follows a copy that is
replaced.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import SQLAlchemyError

from kemi.replica import copy as replica
from kemi.trunks import local
from kemi.trunks import store as trunks
from kemi.trunks.local import FRESH_FOR
from kemi.trunks.rows import Rules
from kemi.trunks.selection import MOST_CANDIDATES
from kemi.trunks.store import MOST_OF_A_KEY, TrunkStore
from kemi.trunks.tables import copied_uacreg
from kemi.trunks.trunk import Trunk

SOURCE = URL.create("postgresql+psycopg", host="192.0.2.1", database="d")
RULES = Rules()
NO_USER = "auth_username is empty or has a control character"


class File:
    """A copy, as the keeper writes to it, and a worker's store on it. selects: what the store asked it. now: the
    store's clock, which goes on from question to question as far as it takes the store to look at the file.
    """

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.path = path
        self.make(path)
        self.store = TrunkStore(path, SOURCE)
        self.selects: list[str] = []
        event.listen(self.store._engine, "connect", lambda driver, _: driver.set_trace_callback(self.selects.append))

    @staticmethod
    def make(path: Path) -> None:
        replica.prepare(path, SOURCE, RULES)

    def execute(self, statement: str, path: Path | None = None) -> None:
        connection = sqlite3.connect(path or self.path)
        with connection:
            connection.execute(statement)
        connection.close()

    def password(self, uuid: str = "a", after: float = FRESH_FOR) -> str | None:
        self.now += after
        found = self.store.by_uuid(uuid)
        return found.auth_password if found else None


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    made = File(tmp_path / "trunks.sqlite")
    for module in (local, trunks):
        monkeypatch.setattr(module, "monotonic", lambda: made.now)
    made.execute(
        "INSERT INTO uacreg (id, l_uuid, l_username, l_domain, r_domain, auth_username, auth_password)"
        " VALUES (1, 'a', '100', 'pbx.example', 'Carrier.example', 'u', 'first')"
    )
    yield made
    made.store.close()


def test_once_warm_no_look_up_makes_its_sql(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    file.store.warm_up()
    monkeypatch.setattr(SQLiteCompiler, "__init__", lambda *_, **__: pytest.fail("SQL is made"))
    store = file.store
    assert store.is_ready() is False
    assert [found and found.uuid for found in (store.by_uuid("a"), store.by_row(1))] == ["a", "a"]
    lists = store.by_caller("100", "pbx.example"), store.by_number("100"), store.by_dialled_domain("carrier.example")
    assert [[one.uuid for one in found] for found in lists] == [["a"]] * 3
    assert not store.places(store.by_dialled_domain("carrier.example")[0]).exact


def test_warming_up_raises_nothing(tmp_path: Path) -> None:
    store = TrunkStore(tmp_path / "none" / "trunks.sqlite", SOURCE)
    store.warm_up()
    assert not store.can_be_read()


def test_the_file_is_asked_once(file: File) -> None:
    assert [file.password() for _ in range(3)] == ["first"] * 3
    assert [file.password("none") for _ in range(3)] == [None] * 3
    assert len([select for select in file.selects if "FROM uacreg" in select]) == 2


def test_a_busy_store_looks_for_changes_now_and_then(file: File) -> None:
    assert file.password() == "first"
    file.execute("UPDATE uacreg SET auth_password = 'second'")
    assert file.password(after=FRESH_FOR / 2) == "first"
    assert file.password(after=FRESH_FOR / 2) == "second"


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


def test_a_key_that_no_column_can_hold_is_neither_looked_up_nor_kept(file: File) -> None:
    assert file.password() == "first"
    asked = len(file.selects)
    for name in ("x" * 65, "x" * 55_000):
        assert file.store.by_name(name) == file.store.by_dialled_domain(name) == ()
        assert file.store.by_caller(name, "") == file.store.by_caller("100", name) == ()
    assert len(file.selects) == asked
    assert len(file.store._kept) == 1


def test_every_question_has_an_index(file: File) -> None:
    """Without one, an unknown caller would cost a walk through the whole table."""
    file.store.by_name("x")
    file.store.by_row(1)
    file.store.by_caller("x", "y")
    file.store.by_dialled_domain("x")
    file.store.by_contact_user("x")
    questions = [select for select in file.selects if "FROM uacreg" in select]
    assert len(questions) == 5
    connection = sqlite3.connect(file.path)
    for question in questions:
        values = ["x"] * question.count("?")
        plan = [str(step[3]) for step in connection.execute(f"EXPLAIN QUERY PLAN {question}", values)]
        assert not [step for step in plan if step.startswith("SCAN")], plan
        assert {"uacreg", "trunk", "fault", "policy_fault"} == {step.split()[1] for step in plan if "SEARCH" in step}, (
            plan
        )
    connection.close()


def test_every_door_to_a_trunk(file: File) -> None:
    assert file.store.by_caller("100", "PBX.example") == file.store.by_dialled_domain("carrier.EXAMPLE")
    assert file.store.by_caller("100", "other.example") == ()
    assert file.store.by_dialled_domain("") == ()


def insert(file: File, *rows: tuple[str, str]) -> None:
    """Insert rows with an l_uuid and an auth_username, one after the other, all for the same domain."""
    columns = copied_uacreg.columns.keys()
    with contextlib.closing(replica.Copy(file.path, RULES)) as copy, copy.transaction() as writer:
        for number, (uuid, user) in enumerate(rows, 2):
            row = dict.fromkeys(columns, "") | {"id": number, "l_uuid": uuid, "auth_username": user}
            row |= {"r_domain": "carrier.example", "auth_password": "p", "expires": 0, "flags": 0, "reg_delay": 0}
            writer.insert(copied_uacreg, [tuple(row.values())])


def test_a_row_that_is_judged_again_keeps_what_it_holds(file: File) -> None:
    def gone(text: str) -> str:
        if text.startswith("file:"):
            raise ValueError("names no file")
        return text

    file.execute("UPDATE uacreg SET auth_password = 'file:/gone', contact_user = '4930'")
    with contextlib.closing(replica.Copy(file.path, Rules(revealed=gone))) as copy, copy.transaction() as writer:
        writer.judge_secrets()
    (found,) = file.store.by_contact_user("4930")
    assert (found.uuid, found.fault) == ("a", "auth_password names no file")


def test_a_row_that_cannot_be_used_is_found_where_there_is_no_other(file: File) -> None:
    file.execute("DELETE FROM uacreg")
    insert(file, ("bad", ""), ("worse", ""))
    assert file.store.by_dialled_domain("carrier.example") == (Trunk("bad", fault=NO_USER),)
    assert file.store.by_name("worse") == (Trunk("worse", fault=NO_USER),)
    assert file.store.by_uuid("worse") is file.store.by_row(2) is None
    insert(file, ("bad", ""), ("worse", ""), ("good", "u"))
    file.now += 2 * FRESH_FOR
    assert [trunk.uuid for trunk in file.store.by_dialled_domain("carrier.example")] == ["good"]


def test_so_many_rows_of_one_domain_are_candidates(file: File) -> None:
    insert(file, *((f"t{number}", "u") for number in range(100)))
    found = file.store.by_dialled_domain("carrier.example")
    assert [trunk.uuid for trunk in found] == ["a", *(f"t{number}" for number in range(MOST_CANDIDATES - 1))]


def test_so_many_rows_of_one_domain_are_looked_at(file: File) -> None:
    file.execute("DELETE FROM uacreg")
    insert(file, *((f"bad{number}", "") for number in range(MOST_OF_A_KEY)), ("good", "u"))
    assert file.store.by_dialled_domain("carrier.example") == (Trunk("bad0", fault=NO_USER),)
    file.execute("DELETE FROM uacreg WHERE l_uuid = 'bad0'")
    file.now += FRESH_FOR
    assert [trunk.uuid for trunk in file.store.by_dialled_domain("carrier.example")] == ["good"]


def test_the_name_of_a_row_that_cannot_be_used_is_one_line(file: File) -> None:
    insert(file, ("a\nb", "u"))
    assert [trunk.uuid for trunk in file.store.by_name("a\nb")] == ["'a\\nb'"]


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


def test_a_copy_is_ready_once_it_is_filled(file: File) -> None:
    assert not file.store.is_ready()
    with contextlib.closing(replica.Copy(file.path, RULES)) as copy, copy.transaction() as writer:
        writer.note_synced()
    file.now += 2 * FRESH_FOR
    assert file.store.is_ready()


def test_the_copy_of_another_database_gives_no_answer(tmp_path: Path) -> None:
    copy = tmp_path / "replica.sqlite"
    replica.prepare(copy, SOURCE.set(database="other"), RULES)
    with pytest.raises(OSError, match="the copy of another database"):
        TrunkStore(copy, SOURCE).by_uuid("t")
    store = TrunkStore(copy, SOURCE.set(database="other", username="anybody", password="x"))
    assert store.by_uuid("t") is None
    store.close()


def carriers(file: File, uuid: str = "a") -> set[str]:
    """The addresses that group 2 lists for a trunk."""
    file.now += 2 * FRESH_FOR
    trunk = file.store.by_uuid(uuid)
    assert trunk
    return {str(one.network.network_address) for one in file.store.places(trunk).listed}


def test_carriers_are_found_by_tag_and_kept_until_the_copy_changes(file: File) -> None:
    file.execute("INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (2, '192.0.2.1', 32, 0, 'a')")
    file.execute("INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (2, '192.0.2.2', 32, 0, 'b')")
    file.execute("INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (1, '192.0.2.3', 32, 0, 'a')")
    file.execute("INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (2, '192.0.2.4', 32, 0, NULL)")
    assert carriers(file) == {"192.0.2.1"}
    before = len(file.selects)
    assert carriers(file) == {"192.0.2.1"}
    assert not [select for select in file.selects[before:] if "address" in select]
    file.execute("DELETE FROM address WHERE tag = 'a'")
    assert carriers(file) == set()
    file.execute("UPDATE uacreg SET auth_proxy = '', r_domain = '', realm = 'r' WHERE l_uuid = 'a'")
    assert carriers(file) == {"192.0.2.4"}


def test_carriers_that_cannot_be_read_raise_and_are_asked_for_anew(file: File) -> None:
    trunk = file.store.by_uuid("a")
    assert trunk
    file.path.unlink()
    file.now += 2 * FRESH_FOR
    with pytest.raises(OSError, match="No such file"):
        file.store.places(trunk)
    file.make(file.path)
    assert file.store.places(trunk).listed == ()
