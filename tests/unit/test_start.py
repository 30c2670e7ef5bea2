"""`python -m kemi`: a reason not to start Kamailio is one line that says which setting and what to do.

Most of it runs in this process, which must not become Kamailio: a program of that name that nobody starts stands first
on PATH, and the exec is noted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kemi import cli
from kemi.settings import PROJECT
from kemi.start import memory
from kemi.start import run as start
from kemi.start.sockets import Socket

Exec = tuple[str, list[str], dict[str, str]]
Refusal = Callable[..., str]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def environment(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing set but the state directory, and no root to give up; the umask is the caller's again at the end."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in [name for name in os.environ if name.startswith("TRUNKAUTH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRUNKAUTH_STATE_DIR", str(state))
    mask = os.umask(0o022)
    yield
    os.umask(mask)


@pytest.fixture
def kamailio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kamailio that is found."""
    program = tmp_path / "bin" / "kamailio"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


@pytest.fixture
def started(kamailio: Path, monkeypatch: pytest.MonkeyPatch) -> list[Exec]:
    """Every program that this process would have become, its arguments and its environment."""
    noted: list[Exec] = []
    monkeypatch.chdir(Path.cwd())  # where every test is again afterwards
    monkeypatch.setattr(os, "execve", lambda *become: noted.append(become))
    return noted


@pytest.fixture
def refusal(started: list[Exec], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a command with these settings and return the one line that it fails with."""

    def fail(*command: str, **settings: str) -> str:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        assert cli.main(command) == 1
        assert started == []
        [line] = capsys.readouterr().err.splitlines()
        return line

    return fail


def process(*command: str) -> subprocess.CompletedProcess[str]:
    """`python -m kemi` as its operator runs it, from anywhere."""
    return subprocess.run(
        [sys.executable, "-m", "kemi", *command],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd="/", capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_process_makes_the_embedded_database_for_its_user_alone(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"sqlite:///{state}/trunkauth.sqlite"
    assert process("db").stdout == f"{database}: created version, uacreg, address, trunk\n"
    assert cli.main(["db"]) == 0
    assert capsys.readouterr().out == f"{database}: up to date\n"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "trunkauth.sqlite").stat().st_mode) == 0o600


def test_a_process_that_fails_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKAUTH_WORKERS", "many")
    done = process("run")
    line = "TRUNKAUTH_WORKERS: 'many' is not a whole number from 1 to 256\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_it_becomes_kamailio_with_every_setting_spelled_out(
    state: Path, kamailio: Path, started: list[Exec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKAUTH_LISTEN", "udp:lo:5060")
    monkeypatch.setenv("TRUNKAUTH_MEMORY", "256")
    monkeypatch.setenv("TRUNKAUTH_SETUP_SECONDS", "600")
    assert cli.main(["run", "-m", "64"]) == 0
    [(program, arguments, environment)] = started
    assert program == arguments[0] == str(kamailio)
    assert arguments[1:] == [
        "-DD", "-E", "-f", f"{PROJECT}/kamailio/kamailio.cfg", "-Y", str(state), "-x", "tlsf", "-m", "256",
        "-M", "64", "-w", str(state), "-m", "64",
    ]  # fmt: skip
    assert environment["TRUNKAUTH_KAMAILIO_DB_URL"] == f"sqlite:///{state}/replica.sqlite"
    assert (environment["TRUNKAUTH_LISTEN"], environment["TRUNKAUTH_REG_CONTACT"]) == ("udp:lo:5060", "127.0.0.1:5060")
    assert environment["TRUNKAUTH_KEY_FILE"] == f"{state}/key"
    assert stat.S_IMODE((state / "key").stat().st_mode) == 0o600
    assert environment["PYTHONPATH"].split(":")[0] == str(PROJECT)
    assert environment["TRUNKAUTH_SEQUENCES"] == "sequences=>size=12;autoexpire=660;"  # a minute to try again
    assert "TRUNKAUTH_DB_URL" not in environment


@pytest.fixture
def embed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install an app_python3 that embeds this version of Python."""

    def install(version: str) -> None:
        modules = tmp_path / "usr/lib/x86_64-linux-gnu/kamailio/modules"
        modules.mkdir(parents=True)
        (modules / "app_python3.so").write_bytes(b"\0libpython" + version.encode() + b".so.1.0\0")
        monkeypatch.setattr(start, "DEBIANS_PREFIX", tmp_path / "usr")

    return install


def test_the_embedded_python_is_at_home_in_its_own_prefix(
    embed: Callable[[str], None], started: list[Exec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/opt/another")
    embed(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert cli.main(["run"]) == 0
    [(_, _, environment)] = started
    assert environment["PYTHONHOME"] == f"{tmp_path}/usr"


def test_an_embedded_python_of_another_version(embed: Callable[[str], None], refusal: Refusal) -> None:
    embed("3.9")
    assert refusal("run").startswith("app_python3 embeds Python 3.9, and this is 3.")


def test_more_memory_than_there_is(refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    memory.MACHINE.write_text("MemAvailable:  523264 kB\n")
    line = "TRUNKAUTH_MEMORY: 512 MiB are more than the 511 MiB that are available; choose less"
    assert refusal("run") == line


def test_a_user_who_is_not_there(refusal: Refusal) -> None:
    line = "-u no-such-user: there is no such user; name another one with -u"
    assert refusal("run", "-u", "no-such-user") == line


def test_another_user_is_roots_to_become(refusal: Refusal) -> None:
    assert refusal("run", "-u", "root") == "-u root: only root can become another user"


SECRETS_SHOWN = "makes Kamailio print passwords; choose 2 or less, or set TRUNKAUTH_LOG_SECRETS=1"


def test_a_log_level_that_prints_passwords(refusal: Refusal) -> None:
    assert refusal("run", TRUNKAUTH_LOG_LEVEL="3") == f"TRUNKAUTH_LOG_LEVEL: 3 {SECRETS_SHOWN}"


@pytest.mark.parametrize("arguments", [("-ddd",), ("-d", "-dd"), ("-Eddd",), ("--debug=3",), ("--debug", "4")])
def test_arguments_that_make_kamailio_print_passwords(refusal: Refusal, arguments: tuple[str, ...]) -> None:
    assert refusal("run", *arguments).endswith(SECRETS_SHOWN)


@pytest.mark.parametrize("arguments", [("-ddd",), ("--debug=3",), ("-d", "-DD"), ("--debug=2",), ()])
def test_passwords_are_printed_for_whoever_asks_for_it(
    started: list[Exec], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TRUNKAUTH_LOG_LEVEL", "3")
    monkeypatch.setenv("TRUNKAUTH_LOG_SECRETS", "1")
    assert cli.main(["run", *arguments]) == 0
    assert len(started) == 1


def test_http_and_rtpengine_are_arguments_for_kamailio(started: list[Exec], monkeypatch: pytest.MonkeyPatch) -> None:
    """And JSON is not: strangers end a Kamailio that writes it by its own engine (docs/log-lines.md)."""
    assert cli.main(["run"]) == 0
    monkeypatch.setenv("TRUNKAUTH_HTTP", "[::1]:9494")
    monkeypatch.setenv("TRUNKAUTH_LOG", "json")
    monkeypatch.setenv("TRUNKAUTH_RTPENGINE", "udp:[::1]:2223 RTP/SAVP")
    monkeypatch.setattr(start, "check_http", lambda *_: None)
    assert cli.main(["run"]) == 0
    (_, before, _), (_, after, environment) = started
    assert after == [*before, "-A", "HTTP=1", "-A", "RTPENGINE=1"]
    assert (environment["TRUNKAUTH_HTTP"], environment["TRUNKAUTH_LOG"]) == ("[::1]:9494", "json")
    assert environment["TRUNKAUTH_RTPENGINE"] == "udp:[::1]:2223"


def test_a_port_for_http_that_is_taken(refusal: Refusal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        line = refusal("run", TRUNKAUTH_HTTP=address)
    assert line == f"TRUNKAUTH_HTTP: {address}: Address already in use; stop what uses it, or choose another port"


@pytest.mark.parametrize(("proto", "kind"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)])
def test_a_port_that_is_taken(refusal: Refusal, proto: str, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if proto == "tcp":
            other.listen()
        port = other.getsockname()[1]
        line = refusal("run", TRUNKAUTH_LISTEN=f"{proto}:127.0.0.1:{port}")
    assert line.startswith(f"TRUNKAUTH_LISTEN: {proto}:127.0.0.1:{port}: Address already in use; ")


def test_an_address_of_another_machine(refusal: Refusal) -> None:
    line = refusal("run", TRUNKAUTH_LISTEN="udp:192.0.2.123:5060")
    assert line.endswith("; choose an address of this machine")


@pytest.mark.parametrize("listen", [
    "udp:no.name.invalid:5060", "udp:127.0.0.1:5060/no.name.invalid:5060", "udp:no..name:5060",
])  # fmt: skip
def test_a_name_that_cannot_be_resolved(refusal: Refusal, listen: str) -> None:
    line = refusal("run", TRUNKAUTH_LISTEN=listen)
    assert line.startswith(f"TRUNKAUTH_LISTEN: {listen}: ")
    assert line.endswith("; write an address")


@pytest.mark.parametrize(("addresses", "socket_"), [
    (("2001:db8::7", "192.0.2.7"), "udp:192.0.2.7:5060"), (("2001:db8::7",), "udp:[2001:db8::7]:5060"),
])  # fmt: skip
def test_kamailio_gets_an_address_for_a_name(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...], socket_: str
) -> None:
    found = [
        (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_DGRAM, 17, "", (one, 0)) for one in addresses
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert str(Socket.parse("udp:sip.example:5060").looked_up()) == socket_


@pytest.mark.parametrize("command", ["run", "db"])
def test_a_database_that_cannot_be_opened(refusal: Refusal, tmp_path: Path, command: str) -> None:
    line = refusal(command, TRUNKAUTH_DB_URL=f"sqlite:///{tmp_path}/missing/trunks.sqlite")
    assert line.startswith(f"TRUNKAUTH_DB_URL: sqlite:///{tmp_path}/missing/trunks.sqlite: unable to open")


def test_a_database_server_that_does_not_answer_and_whose_password_stays_out_of_sight(
    refusal: Refusal,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://kamailio:secret@127.0.0.1:{closed.getsockname()[1]}/trunks"
        line = refusal("db", TRUNKAUTH_DB_URL=url)
    assert line.startswith("TRUNKAUTH_DB_URL: postgresql+psycopg://kamailio:***@127.0.0.1:")
    assert "secret" not in line


def test_a_database_without_tables(refusal: Refusal, tmp_path: Path) -> None:
    line = refusal("run", TRUNKAUTH_DB_URL=f"sqlite:///{tmp_path}/empty.sqlite")
    assert line.endswith(": table version is missing; `make db` creates it")


def execute(file: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def query(state: Path, question: str) -> list[tuple[object, ...]]:
    """What workers and Kamailio's modules read."""
    with contextlib.closing(sqlite3.connect(state / "replica.sqlite")) as connection:
        return connection.execute(question).fetchall()


TRUNK = "INSERT INTO uacreg (l_uuid, auth_username, auth_password) VALUES ('t', 'u', 'p')"


@pytest.fixture
def trunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The DBA's own file, with a trunk in it."""
    file = tmp_path / "trunks.sqlite"
    monkeypatch.setenv("TRUNKAUTH_DB_URL", f"sqlite:///{file}")
    assert cli.main(["db"]) == 0
    capsys.readouterr()
    execute(file, TRUNK)
    return file


def test_a_file_is_copied_before_kamailio_starts(trunks: Path, state: Path, started: list[Exec]) -> None:
    assert cli.main(["run"]) == 0
    assert query(state, "SELECT l_uuid FROM uacreg") == [("t",)]
    assert query(state, "SELECT count(*) FROM replica_state WHERE name = 'synced_at'") == [(1,)]
    assert stat.S_IMODE((state / "replica.sqlite").stat().st_mode) == 0o600


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "no database": lambda file: file.write_text("no database" * 1000),
    "without a table": lambda file: execute(file, "DROP TABLE address"),
    "without a column": lambda file: execute(file, "ALTER TABLE uacreg DROP COLUMN socket"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_cannot_be_read_stops_the_first_start_alone(
    trunks: Path, state: Path, started: list[Exec], refusal: Refusal, what: str
) -> None:
    whole = trunks.read_bytes()
    BROKEN[what](trunks)
    assert refusal("run").startswith(f"TRUNKAUTH_DB_URL: sqlite:///{trunks}: ")
    trunks.write_bytes(whole)
    assert cli.main(["run"]) == 0
    BROKEN[what](trunks)
    assert cli.main(["run"]) == 0
    assert len(started) == 2
    assert query(state, "SELECT l_uuid FROM uacreg") == [("t",)]
    assert trunks.exists() == (what != "missing")


@pytest.mark.parametrize("embedded", [True, False])
def test_a_file_that_is_locked_is_not_waited_for(
    trunks: Path, state: Path, started: list[Exec], monkeypatch: pytest.MonkeyPatch, embedded: bool
) -> None:
    for module in ("kemi.start.schema", "kemi.replica.file"):
        monkeypatch.setattr(f"{module}.BUSY_LIMIT", 0.05)
    if embedded:
        monkeypatch.delenv("TRUNKAUTH_DB_URL")
    assert cli.main(["run"]) == 0
    with contextlib.closing(sqlite3.connect(state / "trunkauth.sqlite" if embedded else trunks)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert cli.main(["run"]) == 0
    assert len(started) == 2


# What 0.1.0 leaves: every address as it is, no replica_fault, nothing about rules.
OLD_COPY = (
    "DROP TABLE replica_fault", "DELETE FROM replica_state WHERE name = 'rules'",
    "INSERT INTO address (id, ip_addr, mask) VALUES (1, '10.0.0.0', 99), (2, '192.0.2.7', 32), (3, 'pbx', 32)",
    "INSERT INTO uacreg (id, l_uuid, realm, auth_username, auth_password)"
    " VALUES (8, 'bad', 'r', 'u', ''), (9, 'good', 'r', 'u', 'p')",
    "INSERT INTO replica_state VALUES ('synced_at', '1')", "INSERT INTO replica_sum VALUES ('address', 0, '3:1')",
)  # fmt: skip
# What a damaged one may hold.
BAD_ADDRESS = ("UPDATE address SET mask = 99", "INSERT INTO address (ip_addr, mask) VALUES ('192.0.2.7', 32)")


def test_a_start_does_not_depend_on_what_an_old_copy_holds(
    state: Path, started: list[Exec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKAUTH_DB_URL", "postgresql+psycopg://u:p@127.0.0.1:1/d")
    assert cli.main(["run"]) == 0
    execute(state / "replica.sqlite", *OLD_COPY)
    assert cli.main(["run"]) == 0
    assert query(state, "SELECT ip_addr FROM address") == [("192.0.2.7",)]
    assert query(state, "SELECT * FROM replica_sum") == []
    faults = query(state, "SELECT subject FROM replica_fault ORDER BY table_name DESC, id")
    assert faults == [("trunk=bad",), ("address=1",), ("address=3",)]
    execute(state / "replica.sqlite", *BAD_ADDRESS)
    assert cli.main(["run"]) == 0
    assert query(state, "SELECT ip_addr, mask FROM address") == [("192.0.2.7", 32)]


@pytest.mark.parametrize(("name", "mode"), [("", 0o750), ("trunkauth.sqlite", 0o640)])
def test_a_state_directory_that_others_can_read(refusal: Refusal, state: Path, name: str, mode: int) -> None:
    assert cli.main(["db"]) == 0
    path = state / name
    path.chmod(mode)
    line = refusal("run")
    assert line.endswith(f"others can read {path}, which holds passwords: chmod {'600' if name else '700'} {path}")


def test_a_key_that_others_can_read(refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o644)
    line = refusal("run", TRUNKAUTH_KEY_FILE=str(path))
    assert line.endswith(f"TRUNKAUTH_KEY_FILE: others can read {path}: chmod 600 {path}")


def test_a_state_directory_that_cannot_be_made(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal("db", TRUNKAUTH_STATE_DIR=str(tmp_path / "file" / "state")).startswith("TRUNKAUTH_STATE_DIR: ")
