"""Real database servers for the tests: PostgreSQL and MariaDB as the machine has them installed, and as Debian 13 has
them, in containers; each with a data directory and a port of its own, started for the tests and gone after them. A
server that is not installed is a failure, not a skip.

The password holds what URLs are broken by, so that every test shows that it gets through.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from lab.programs import free_port

USER, PASSWORD, DATABASE = "kamailio", "p@ss/w:rd", "trunks"
PROJECT = Path(__file__).resolve().parents[2]
START_LIMIT = 30.0  # seconds
PAUSE = 0.1  # seconds between two tries


def program(name: str, folder: str = "") -> str:
    """The path of an installed program, in Debian's folder for it or on PATH. Fails the test where there is none."""
    found = sorted(str(path) for path in Path("/usr").glob(f"{folder}/{name}")) if folder else []
    found += filter(None, [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")])
    if not found:
        pytest.fail(f"{name} is not installed: `make test` installs it")
    return found[0]


@contextlib.contextmanager
def home_of(owner: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A directory for a server, and who is to run its programs: its owner where we are root, we ourselves elsewhere."""
    home = Path(tempfile.mkdtemp(prefix=f"trunkauth-{owner}-"))
    try:
        if os.getuid() != 0:
            yield home, {}
        else:
            shutil.chown(home, owner)
            yield home, {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
    finally:
        shutil.rmtree(home, ignore_errors=True)


class Server:
    """One server: it can be frozen, stopped, killed and started again, always on the same port and directory.

    url: its first database. end_signal: what makes it end at once, whoever is connected.
    """

    def __init__(
        self, command: list[str], owner: dict[str, Any], url: URL, log: Path, end_signal: signal.Signals
    ) -> None:
        self.url = url
        self._command, self._owner, self._log, self._end_signal = command, owner, log, end_signal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it lets its user in; one that does not fails the test."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, cwd="/", **self._owner)
        wait_until_open(self._process, self.url, self._log)

    def stop(self) -> None:
        """End it as its operator would."""
        self.thaw()
        if self._process:
            self._process.send_signal(self._end_signal)
            self._process.wait(START_LIMIT)
            self._process = None

    def kill(self) -> None:
        """End it as a machine that goes down would."""
        self.freeze()
        family = self._family()
        self._signal_all(signal.SIGKILL)
        if self._process:
            self._process.wait(START_LIMIT)
            self._process = None
        wait_until_gone(family)

    def freeze(self) -> None:
        """Stop every process of it where it is; whoever is connected stays connected."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def restore(self) -> None:
        """Make it run, whatever has been done to it."""
        self.thaw()
        if self._process is None:
            self.start()

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(errors="replace")

    def new_database(self) -> URL:
        """An empty database of its own for whoever asks."""
        name = f"db_{secrets.token_hex(4)}"
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return self.url.set(database=name)

    def _family(self) -> list[int]:
        """Its processes: the first, and all that have come of it."""
        family = [self._process.pid] if self._process else []
        for pid in family:
            family += children_of(pid)
        return family

    def _signal_all(self, number: signal.Signals) -> None:
        """The first process goes first, so that it starts no other; its children are asked for again after that."""
        known = self._family()
        for pid in known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        for pid in set(self._family()) - set(known):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def children_of(parent: int) -> list[int]:
    """The processes that this one has started and that still are."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            match = re.fullmatch(r"(\d+) \(.*\) \S (\d+) .*", stat.read_text().strip(), re.DOTALL)
            if match and int(match[2]) == parent:
                found.append(int(match[1]))
    return found


def wait_until_gone(pids: list[int]) -> None:
    """Wait until none of these processes is there any more."""
    deadline = time.monotonic() + START_LIMIT
    pause = threading.Event()
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there after {START_LIMIT:g} s: one of the processes {pids}"
        pause.wait(PAUSE)


def is_alive(pid: int) -> bool:
    """Whether the process is there, and more than a zombie that nobody has asked for yet."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server until the block is left."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def wait_until_open(server: subprocess.Popen[bytes], url: URL, log: Path) -> None:
    """Wait until the server lets its user in; one that ends, or takes longer than the limit, fails the test."""
    engine = create_engine(url)
    deadline = time.monotonic() + START_LIMIT
    refusal = open_once(engine)
    while refusal and server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(PAUSE)
        refusal = open_once(engine)
    engine.dispose()
    if refusal:
        lines = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        pytest.fail(f"{server.args!r} does not let its user in: {refusal}\n{lines}")


def open_once(engine: Engine) -> str:
    """Why the server does not let its user in now; empty if it does."""
    try:
        engine.connect().close()
    except OperationalError as error:
        return str(error.orig)
    return ""


@contextlib.contextmanager
def postgresql(*options: str) -> Iterator[Server]:
    """A PostgreSQL server with an empty database. options: more of its command line's."""
    initdb = program("initdb", "lib/postgresql/*/bin")
    with home_of("postgres") as (home, owner):
        secret = home / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [initdb, "-D", str(home / "data"), "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256"],
            check=True, capture_output=True, cwd="/", **owner,
        )  # fmt: skip
        port = free_port()
        command = [str(Path(initdb).with_name("postgres")), "-D", str(home / "data"), "-k", str(home)]
        command += ["-h", "127.0.0.1", "-p", str(port), *options]
        url = URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", port, "postgres")
        with running(Server(command, owner, url, home / "log", signal.SIGINT)) as server:
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {DATABASE}"))
            engine.dispose()
            server.url = url.set(database=DATABASE)
            yield server


USERS_OF_MARIADB = (
    f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4;\n"
    f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
    f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION;\n"
)

# What a container's shell runs; it finds PORT, and START: the first user's password, or the SQL that makes him.
IN_CONTAINER = {
    "postgresql": """printf %s "$START" > /tmp/secret; programs=$(echo /usr/lib/postgresql/*/bin)
        "$programs/initdb" -D /tmp/data -U kamailio --pwfile /tmp/secret -A scram-sha-256 --encoding UTF8 &&
        exec "$programs/postgres" -D /tmp/data -k /tmp -h 127.0.0.1 -p "$PORT" """,
    "mariadb": """printf %s "$START" > /tmp/start.sql
        mariadb-install-db --no-defaults --datadir=/tmp/data --skip-test-db &&
        exec mariadbd --no-defaults --datadir=/tmp/data --port="$PORT" --socket=/tmp/socket \
            --bind-address=127.0.0.1 --init-file=/tmp/start.sql --skip-name-resolve""",
}


@contextlib.contextmanager
def in_container(kind: str) -> Iterator[URL]:
    """A server of Debian 13, `postgresql` or `mariadb`, with a database of its own, in a container."""
    image = f"kemi-trunkauth-test-{kind}"
    build = ["docker", "build", "-q", "-t", image, "--target", kind, "-f", "tests/db/Dockerfile", "tests/db"]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    port = free_port()
    start = PASSWORD if kind == "postgresql" else USERS_OF_MARIADB
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "host",
        "--tmpfs",
        "/tmp",
        "-e",
        f"PORT={port}",
        "-e",
        f"START={start}",
    ]
    command += ["--entrypoint", "sh", image, "-c", IN_CONTAINER[kind]]
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log"
        if kind == "postgresql":
            url = URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", port, "postgres")
            ending = signal.SIGINT
        else:
            url = URL.create("mysql+pymysql", USER, PASSWORD, "127.0.0.1", port, DATABASE)
            ending = signal.SIGTERM
        with running(Server(command, {}, url, log, ending)) as server:
            yield server.new_database()


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[Server]:
    """A MariaDB server with an empty database. options: more of its command line's."""
    with home_of("mysql") as (home, owner):
        # a server that starts takes temporary files of another one for its own leftovers
        places = [f"--datadir={home}/data", f"--tmpdir={home}"]
        install = [program("mariadb-install-db"), "--no-defaults", *places, "--skip-test-db"]
        subprocess.run(install, check=True, capture_output=True, cwd="/", **owner)
        start = home / "start.sql"
        start.write_text(USERS_OF_MARIADB)
        start.chmod(0o644)
        port = free_port()
        command = [program("mariadbd"), "--no-defaults", *places, f"--port={port}"]
        command += [
            f"--socket={home}/socket",
            "--bind-address=127.0.0.1",
            f"--init-file={start}",
            "--skip-name-resolve",
            *options,
        ]
        url = URL.create("mysql+pymysql", USER, PASSWORD, "127.0.0.1", port, DATABASE)
        with running(Server(command, owner, url, home / "log", signal.SIGTERM)) as server:
            yield server
