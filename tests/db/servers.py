"""Real database servers for the tests: PostgreSQL and MariaDB as the machine has them installed, each with a data
directory and a port of its own, started for the tests and gone after them. A server that is not installed is a
failure, not a skip.

The password holds what URLs are broken by, so that every test shows that it gets through.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

USER, PASSWORD, DATABASE = "kamailio", "p@ss/w:rd", "trunks"
START_LIMIT = 30.0  # seconds
PAUSE = 0.1  # seconds between two tries


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str, folder: str = "") -> str:
    """The path of an installed program, in Debian's folder for it or on PATH. Fails the test where there is none."""
    found = sorted(str(path) for path in Path("/usr").glob(f"{folder}/{name}")) if folder else []
    found += filter(None, [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")])
    if not found:
        pytest.fail(f"{name} is not installed: `make test` installs it")
    return found[0]


@contextlib.contextmanager
def home_of(owner: str) -> Iterator[tuple[Path, list[str]]]:
    """A directory for a server, and the words before its command: root runs it as its owner, anyone else as himself."""
    home = Path(tempfile.mkdtemp(prefix=f"trunkauth-{owner}-"))
    try:
        if os.getuid() != 0:
            yield home, []
        else:
            shutil.chown(home, owner)
            yield home, ["runuser", "-u", owner, "--"]
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def running(command: list[str], url: URL, log: Path) -> Iterator[URL]:
    """Run a server until the block is left; its log's last lines are in the error if it does not come up."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, cwd="/")
    try:
        wait_until_open(server, url, log)
        yield url
    finally:
        server.terminate()
        server.wait(START_LIMIT)


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
def postgresql() -> Iterator[URL]:
    """A PostgreSQL server with an empty database."""
    initdb = program("initdb", "lib/postgresql/*/bin")
    with home_of("postgres") as (home, as_owner):
        secret = home / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [*as_owner, initdb, "-D", str(home / "data"), "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        port = free_port()
        command = [*as_owner, str(Path(initdb).with_name("postgres")), "-D", str(home / "data"), "-k", str(home)]
        command += ["-h", "127.0.0.1", "-p", str(port)]
        url = URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", port, "postgres")
        with running(command, url, home / "log"):
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {DATABASE}"))
            engine.dispose()
            yield url.set(database=DATABASE)


@contextlib.contextmanager
def mariadb() -> Iterator[URL]:
    """A MariaDB server with an empty database."""
    with home_of("mysql") as (home, as_owner):
        install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={home}/data", "--skip-test-db"]
        subprocess.run([*as_owner, *install], check=True, capture_output=True, cwd="/")
        start = home / "start.sql"
        start.write_text(
            f"CREATE DATABASE {DATABASE};\nCREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON {DATABASE}.* TO '{USER}'@'127.0.0.1';\n"
        )
        start.chmod(0o644)
        port = free_port()
        command = [*as_owner, program("mariadbd"), "--no-defaults", f"--datadir={home}/data", f"--port={port}"]
        command += [
            f"--socket={home}/socket",
            "--bind-address=127.0.0.1",
            f"--init-file={start}",
            "--skip-name-resolve",
        ]
        with running(
            command, URL.create("mysql+pymysql", USER, PASSWORD, "127.0.0.1", port, DATABASE), home / "log"
        ) as url:
            yield url
