"""What is left of a password in the local files, byte for byte, after its row has changed or gone."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.names.file import NamesFile
from kemi.start import schema
from tests.db.site import Site, site
from tests.db.test_names_file import row
from tests.harness.machine import PROJECT

SECRETS = ("the-deleted-password", "the-replaced-password", "d" * 32)
INSERT = "INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password, auth_ha1)"


def holds(folder: Path, secret: str, name: str) -> list[str]:
    """The files of this name in which the text is, their logs included."""
    return [file.name for file in folder.glob(f"{name}*") if secret.encode() in file.read_bytes()]


def insecure(path: str, **how: object) -> sqlite3.Connection:
    """As an SQLite that was built without secure_delete opens files."""
    connection = REAL(path, **how)  # type: ignore[call-overload]
    connection.execute("PRAGMA secure_delete = OFF")
    return connection  # type: ignore[no-any-return]


REAL = sqlite3.dbapi2.connect


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The embedded database, with rows enough for several pages, and its copy."""
    monkeypatch.setattr(sqlite3.dbapi2, "connect", insecure)
    (tmp_path / "dba").mkdir()
    with site(URL.create("sqlite", database=str(tmp_path / "dba/trunks.sqlite")), tmp_path) as made:
        schema.create(made.dba)
        made.execute(*(f"{INSERT} VALUES ({n}, 't{n}', 'r', 'u', 'p{n}', '')" for n in range(100, 200)))
        made.execute(f"{INSERT} VALUES (1, 'a', 'r', 'u', '{SECRETS[0]}', '')")
        made.execute(f"{INSERT} VALUES (2, 'b', 'r', 'u', '{SECRETS[1]}', '{SECRETS[2]}')")
        made.tick_until("a first copy", made.is_equal)
        yield made


def test_a_deleted_and_a_replaced_password_are_gone_from_the_copy(place: Site, tmp_path: Path) -> None:
    assert place.store.by_uuid("a")  # a worker has the file open
    for secret in SECRETS:
        assert holds(tmp_path, secret, "replica.sqlite")
    place.execute(
        "DELETE FROM uacreg WHERE id = 1", "UPDATE uacreg SET auth_password = 'new', auth_ha1 = '' WHERE id = 2"
    )
    place.tick_until("the change", place.is_equal)
    assert [holds(tmp_path, secret, "replica.sqlite") for secret in SECRETS] == [[]] * 3


def test_they_are_gone_from_the_embedded_database_that_a_command_has_written(place: Site, tmp_path: Path) -> None:
    place.execute("DELETE FROM uacreg WHERE id < 3")
    assert [holds(tmp_path / "dba", secret, "trunks.sqlite") for secret in SECRETS] == [[]] * 3


def test_what_a_reader_keeps_in_the_log_goes_after_him(
    place: Site, tmp_path: Path, in_use: Callable[[Path], sqlite3.Connection]
) -> None:
    reader = in_use(place.file)
    place.execute("DELETE FROM uacreg WHERE id < 3")
    place.tick_until("the change", place.is_equal)
    assert holds(tmp_path, SECRETS[0], "replica.sqlite")
    reader.rollback()
    place.tick()
    assert [holds(tmp_path, secret, "replica.sqlite") for secret in SECRETS] == [[]] * 3


@pytest.fixture
def in_use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], sqlite3.Connection]]:
    """A transaction that reads a file."""
    opened: list[sqlite3.Connection] = []

    def read(path: Path) -> sqlite3.Connection:
        connection = REAL(path, isolation_level=None)
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM uacreg").fetchall()
        opened.append(connection)
        return connection

    yield read
    for connection in opened:
        connection.close()


def test_a_registrations_password_is_gone_from_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3.dbapi2, "connect", insecure)
    file = NamesFile(tmp_path / "names.sqlite")
    file.open()
    others = {f"t{n}": row(f"t{n}", n) for n in range(100, 200)}
    file.keep({}, {**others, "a": row("a", 1, password=SECRETS[0]), "b": row("b", 2, password=SECRETS[1])})
    assert holds(tmp_path, SECRETS[0], "names.sqlite")
    file.keep({}, {**others, "b": row("b", 2, password="new")})
    assert [holds(tmp_path, secret, "names.sqlite") for secret in SECRETS[:2]] == [[], []]
    file.close()


SNAPSHOT = """
import os, signal, sys
from kemi.command.snapshot import snapshot
from kemi.settings import Settings

for each in signal.SIGTERM, signal.SIGHUP:  # as at a terminal: behind nohup or & they are ignored
    signal.signal(each, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
with snapshot(Settings.from_environment(os.environ)):
    os.kill(os.getpid(), int(sys.argv[1]))
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_ended_leaves_no_copy_behind(tmp_path: Path, number: signal.Signals) -> None:
    """The copy of explain and test has every password."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TRUNKAUTH_STATE_DIR": str(tmp_path / "state"), "TMPDIR": str(temporary)}
    for arguments in (["-m", "kemi", "db"], ["-c", SNAPSHOT, str(int(number))]):
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=PROJECT, capture_output=True, check=False, timeout=30
        )
    assert done.returncode != 0
    assert [*temporary.iterdir()] == []
