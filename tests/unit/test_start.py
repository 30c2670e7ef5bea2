"""`python -m kemi`: whatever keeps Kamailio from starting is one line that says which setting and what to do."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kemi.settings import PROJECT


def kemi(state: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKAUTH_")}
    return subprocess.run(
        [sys.executable, "-m", "kemi", command],
        env={**own, "PYTHONPATH": str(PROJECT), "TRUNKAUTH_STATE_DIR": str(state), **environment},
        cwd="/", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    return line


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_the_embedded_database_is_made_for_its_user_alone(state: Path) -> None:
    first, again = kemi(state, "db"), kemi(state, "db")
    database = f"sqlite:///{state}/trunkauth.sqlite"
    assert first.stdout == f"{database}: created version, uacreg, address\n"
    assert again.stdout == f"{database}: up to date\n"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "trunkauth.sqlite").stat().st_mode) == 0o600


def test_a_wrong_setting(state: Path) -> None:
    line = the_line(kemi(state, "run", TRUNKAUTH_WORKERS="many"))
    assert line == "TRUNKAUTH_WORKERS: 'many' is not a whole number from 1 to 256"


@pytest.mark.parametrize(("proto", "kind"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)])
def test_a_port_that_is_taken(state: Path, proto: str, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if proto == "tcp":
            other.listen()
        port = other.getsockname()[1]
        line = the_line(kemi(state, "run", TRUNKAUTH_LISTEN=f"{proto}:127.0.0.1:{port}"))
    assert line.startswith(f"TRUNKAUTH_LISTEN: {proto}:127.0.0.1:{port}: Address already in use; ")


def test_an_address_of_another_machine(state: Path) -> None:
    line = the_line(kemi(state, "run", TRUNKAUTH_LISTEN="udp:192.0.2.123:5060"))
    assert line.endswith("; choose an address of this machine")


def test_a_database_that_cannot_be_opened(state: Path, tmp_path: Path) -> None:
    for command in ("run", "db"):
        line = the_line(kemi(state, command, TRUNKAUTH_DB_URL=f"sqlite:///{tmp_path}/missing/trunks.sqlite"))
        assert line.startswith(f"TRUNKAUTH_DB_URL: sqlite:///{tmp_path}/missing/trunks.sqlite: unable to open")


def test_a_database_server_that_does_not_answer_and_whose_password_stays_out_of_sight(state: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://kamailio:secret@127.0.0.1:{closed.getsockname()[1]}/trunks"
        line = the_line(kemi(state, "db", TRUNKAUTH_DB_URL=url))
    assert line.startswith("TRUNKAUTH_DB_URL: postgresql+psycopg://kamailio:***@127.0.0.1:")
    assert "secret" not in line


def test_a_database_without_tables(state: Path, tmp_path: Path) -> None:
    line = the_line(kemi(state, "run", TRUNKAUTH_DB_URL=f"sqlite:///{tmp_path}/empty.sqlite"))
    assert line.endswith(": table version is missing; `make db` creates it")


@pytest.mark.parametrize(("name", "mode"), [("", 0o750), ("trunkauth.sqlite", 0o640)])
def test_a_state_directory_that_others_can_read(state: Path, name: str, mode: int) -> None:
    kemi(state, "db")
    path = state / name
    path.chmod(mode)
    line = the_line(kemi(state, "run"))
    assert line.endswith(f"others can read {path}, which holds passwords: chmod {'600' if name else '700'} {path}")


def test_a_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert the_line(kemi(tmp_path / "file" / "state", "db")).startswith("TRUNKAUTH_STATE_DIR: ")
