"""A running Kamailio that the tests talk to: as a process of this machine, or in a container.

Both are started the way that an operator starts them, read the same settings and the same tables, and are stopped for
good at the end. What a test needs to know of one is here: where it listens, what it logs, its database, its RPC.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote_plus

import docker
from docker.errors import DockerException
from docker.models.containers import Container
from sqlalchemy import URL, NullPool, create_engine

from kemi import schema
from tests.live.caller import Caller
from tests.live.endpoint import Address

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[2]
IMAGE = "kemi-trunkauth:test"
READY_WITHIN = 15.0
LOOKS_EVERY = 0.05  # seconds
ONCE_WITHIN = 60.0  # seconds for a program that runs to its end in a container
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
STRINGS = (
    "l_uuid", "l_username", "l_domain", "r_username", "r_domain", "realm", "auth_username", "auth_password",
    "auth_ha1", "auth_proxy", "contact_addr", "socket",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What one Kamailio is started with. trunks: rows of uacreg that are there before it starts.

    modparams: (module, name, number), put after those of kamailio.cfg. database: a server's, prepared before; None: the
    embedded file. db_url: how Kamailio reaches that server, if not as the test does. state: a state directory that
    another Kamailio has left, to go on with.
    """

    workers: int = 2
    default_trunk: str = ""
    callers: tuple[str, ...] = ("127.0.0.1",)
    modparams: tuple[tuple[str, str, int], ...] = ()
    trunks: tuple[Mapping[str, str | int], ...] = ()
    database: ServerDatabase | None = None
    db_url: URL | None = None
    compare_interval: int = 1
    state: Path | None = None
    preemptive: str = "auto"


Execute = Callable[[str, tuple[str | int, ...]], Any]


class Database:
    """The embedded database file, written beside the running Kamailio as a DBA would write it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets: set[str] = set()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Execute]:
        """What is executed in the block is committed at its end."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            yield connection.execute

    def execute(self, statement: str, values: tuple[str | int, ...] = ()) -> None:
        with self.transaction() as execute:
            execute(statement, values)

    def insert_trunk(self, row: Mapping[str, str | int]) -> None:
        """A row of uacreg; columns that are not named are empty or 0."""
        full: dict[str, str | int] = {**dict.fromkeys(STRINGS, ""), "expires": 0, "flags": 0, "reg_delay": 0, **row}
        self.note_secrets(full)
        names, places = ", ".join(full), ", ".join("?" * len(full))
        self.execute(f"INSERT INTO uacreg ({names}) VALUES ({places})", tuple(full.values()))

    def note_secrets(self, columns: Mapping[str, str | int]) -> None:
        """What no log may show, of these columns of uacreg."""
        self.secrets |= {str(columns[name]) for name in ("auth_password", "auth_ha1") if columns.get(name)}

    def delete_trunk(self, uuid: str) -> None:
        self.execute("DELETE FROM uacreg WHERE l_uuid = ?", (uuid,))

    def list_callers(self, hosts: tuple[str, ...]) -> None:
        """These may call, and nobody else."""
        self.execute("DELETE FROM address")
        for host in hosts:
            self.execute("INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, ?, 32, 0)", (host,))


class ServerDatabase(Database):
    """An empty database of a server, as `make db` fills it. gives_notice: with the trigger."""

    def __init__(self, url: URL, *, gives_notice: bool = False) -> None:
        super().__init__(Path())
        self.url = url
        self.secrets = {word for word in (url.password, quote_plus(url.password or "")) if word}
        self._engine = create_engine(url, poolclass=NullPool)
        maker = schema.open_database(url)
        schema.create(maker)
        refusal = schema.install_notice(maker) if gives_notice else ""
        maker.dispose()
        assert not refusal, refusal

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Execute]:
        with self._engine.begin() as connection:
            yield lambda statement, values: connection.exec_driver_sql(statement.replace("?", "%s"), values or None)


class Program(Protocol):
    """The running program, wherever it runs. stop: returns all that it logged. kill: all of it, at once."""

    def alive(self) -> bool: ...
    def log(self) -> str: ...
    def stop(self) -> str: ...
    def kill(self) -> None: ...


@dataclass(frozen=True)
class Kamailio:
    """A Kamailio that answers. `sip` is its UDP and its TCP address."""

    version: str
    sip: Address
    state: Path
    database: Database
    program: Program = field(repr=False)

    @property
    def rpc_socket(self) -> Path:
        return self.state / "rpc.sock"

    def log(self) -> str:
        return self.program.log()

    def last_log_lines(self, count: int = 12) -> str:
        return "\n".join(self.log().splitlines()[-count:])

    def wait_for(self, what: str, found: Callable[[], T | None], within: float) -> T:
        """What `found` returns as soon as it is true; `what` names it in the error."""
        deadline = time.monotonic() + within
        pause = threading.Event()
        while not (result := found()):
            assert time.monotonic() < deadline, f"not seen within {within:g} s: {what}\n{self.last_log_lines()}"
            pause.wait(0.05)
        return result

    def wait_for_log(self, text: str, within: float = 5.0, after: int = 0) -> str:
        """The log from a length on, once this is in it: what Kamailio says comes to us a little later than what it
        sends.
        """

        def found() -> str:
            log = self.log()[after:]
            return log if text in log else ""

        return self.wait_for(f"{text!r} in the log", found, within)

    def wait_until_looked_at(self) -> None:
        """Until no worker goes by what the local file held before: each looks at it anew after so long at most."""
        changed = time.monotonic()
        self.wait_for("every worker looks again", lambda: time.monotonic() > changed + LOOKS_EVERY, within=1)

    def judge_log(self, log: str, secrets: Collection[str]) -> None:
        """Nothing that Kamailio says may hold a traceback or one of these passwords."""
        assert "Traceback" not in log, log[-6000:]
        assert not [secret for secret in secrets if secret in log], "a password is in the log"

    def rpc(self, *words: str) -> str:
        """What kamcmd prints for this command; raises on an error answer."""
        command = ["kamcmd", "-s", f"unixs:{self.rpc_socket}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env={"PATH": SBIN})
        if done.returncode or done.stdout.startswith("error"):
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def wait_until_ready(self) -> None:
        """Until OPTIONS is answered 200; one that ended says so at once."""
        deadline = time.monotonic() + READY_WITHIN
        with Caller(self.sip) as caller:
            while self.program.alive() and time.monotonic() < deadline:
                with contextlib.suppress(AssertionError):
                    caller.request("OPTIONS", f"sip:{self.sip[0]}:{self.sip[1]}").expect(200, within=0.3)
                    return
        what = "no 200 to OPTIONS" if self.program.alive() else "it has ended"
        raise AssertionError(
            f"Kamailio {self.version} not ready within {READY_WITHIN:g} s: {what}\n{self.last_log_lines()}"
        )


class Installation(Protocol):
    """A Kamailio that can be started, again and again."""

    name: str

    def running(self, options: Options = ...) -> contextlib.AbstractContextManager[Kamailio]: ...
    def close(self) -> None: ...


class Native:
    """The machine's own Kamailio, through `python -m kemi run`."""

    name = "native"

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    @contextlib.contextmanager
    def running(self, options: Options = Options()) -> Iterator[Kamailio]:
        version = native_version()
        assert version, "no kamailio on this machine; on Debian: kamailio/install"
        state, sip = options.state or _new_state(self._workspace), _free_address()
        environment = {**os.environ, **_settings(state, sip, options)}
        command = [sys.executable, "-m", "kemi"]
        if options.database is None:
            subprocess.run([*command, "db"], cwd=PROJECT, env=environment, check=True, capture_output=True, timeout=30)
        database = _prepared(state, options)
        log = self._workspace / f"{sip[1]}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                [*command, "run", *_arguments(state, PROJECT, options)],
                cwd=PROJECT,
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        kamailio = Kamailio(version, sip, state, database, _Process(process, log))
        yield from _ready(kamailio)

    def close(self) -> None:
        """Nothing is held between two runs."""


class InContainer:
    """The project's image, built from kamailio/Dockerfile, through its own entry point and user."""

    name = "container"

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        try:
            self._client = docker.from_env()
            self._client.ping()
        except DockerException as error:
            advice = "apt-get install docker.io; TRUNKAUTH_NO_DOCKER=1 leaves the containers out"
            raise AssertionError(f"no Docker engine answers ({error}); on Debian: {advice}") from None
        image, _ = self._client.images.build(path=str(PROJECT), dockerfile="kamailio/Dockerfile", tag=IMAGE, rm=True)
        self._image = str(image.id)  # whoever builds another one meanwhile takes the tag
        self._version = _version(self._program("kamailio", "-v"))
        self._project = Path(self._program("python3", "-c", "import kemi.settings as s; print(s.PROJECT)").strip())

    @contextlib.contextmanager
    def running(self, options: Options = Options()) -> Iterator[Kamailio]:
        state, sip = options.state or _new_state(self._workspace), _free_address()
        how: dict[str, Any] = {
            "environment": _settings(state, sip, options),
            "volumes": {str(state): {"bind": str(state), "mode": "rw"}},
            "network_mode": "host",
            **self._user(state),
        }
        if options.database is None:
            self._once(["db"], **how)
        database = _prepared(state, options)
        arguments = _arguments(state, self._project, options)
        container = self._client.containers.run(self._image, ["run", *arguments], detach=True, **how)
        kamailio = Kamailio(self._version, sip, state, database, _Container(container))
        yield from _ready(kamailio)

    def close(self) -> None:
        self._client.close()

    def _user(self, state: Path) -> dict[str, str]:
        """Who runs in the container: its own user, given the state directory; where we cannot give, ourselves."""
        if os.getuid():
            return {"user": f"{os.getuid()}:{os.getgid()}"}
        os.chown(state, int(self._program("id", "-u")), int(self._program("id", "-g")))
        return {}

    def _program(self, *command: str) -> str:
        """Output of a program of the image."""
        return self._once(list(command[1:]), entrypoint=[command[0]], network_mode="none")

    def _once(self, command: list[str], **how: Any) -> str:
        """Output of a container that runs to its end; its volume goes with it, which run(remove=True) would leave."""
        container = self._client.containers.create(self._image, command, **how)
        try:
            container.start()
            status = container.wait(timeout=ONCE_WITHIN)["StatusCode"]
            output: bytes = container.logs(stderr=False)
            assert status == 0, f"{command} in {IMAGE}: status {status}\n{container.logs().decode(errors='replace')}"
        finally:
            container.remove(force=True, v=True)
        return output.decode()


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    path: Path

    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def stop(self) -> str:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise
        return self.log()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@dataclass(frozen=True)
class _Container:
    container: Container

    def alive(self) -> bool:
        self.container.reload()
        return bool(self.container.status in ("created", "running"))

    def log(self) -> str:
        output: bytes = self.container.logs()
        return output.decode(errors="replace")

    def stop(self) -> str:
        try:
            self.container.stop(timeout=10)
            return self.log()
        finally:
            self.container.remove(force=True, v=True)  # v: the volume that the image declares

    def kill(self) -> None:
        self.container.kill()


def native_version() -> str:
    """Version of the kamailio on this machine; empty when there is none."""
    program = shutil.which("kamailio", path=SBIN)
    return _version(subprocess.check_output([program, "-v"], text=True)) if program else ""


def _ready(kamailio: Kamailio) -> Iterator[Kamailio]:
    try:
        kamailio.wait_until_ready()
        yield kamailio
    finally:
        log = kamailio.program.stop()
    kamailio.judge_log(log, kamailio.database.secrets)


def _version(output: str) -> str:
    found = re.search(r"kamailio (\d+\.\d+\.\d+)", output)
    assert found, output
    return found[1]


def _new_state(workspace: Path) -> Path:
    """A fresh state directory. Its name is short: a Unix socket's path has 107 bytes at most."""
    state = workspace / f"s{len(list(workspace.iterdir()))}"
    state.mkdir(mode=0o700)
    return state


def _arguments(state: Path, project: Path, options: Options) -> list[str]:
    """Extra arguments for Kamailio: a configuration that is the project's with more module parameters after it.

    --modparam would not do: it is read before the configuration has loaded the module.
    """
    if not options.modparams:
        return []
    lines = [f'include_file "{project}/kamailio/kamailio.cfg"']
    lines += [f'modparam("{module}", "{name}", {number})' for module, name, number in options.modparams]
    config = state / "test.cfg"
    config.write_text("\n".join([*lines, ""]))
    config.chmod(0o644)
    return ["-f", str(config)]


def _settings(state: Path, sip: Address, options: Options) -> dict[str, str]:
    host, port = sip
    url = options.db_url or (options.database.url if options.database else None)
    return {
        "TRUNKAUTH_DB_URL": url.render_as_string(hide_password=False) if url else "",
        "TRUNKAUTH_DB_INTERVAL": str(options.compare_interval),
        "TRUNKAUTH_STATE_DIR": str(state),
        "TRUNKAUTH_LISTEN": f"udp:{host}:{port} tcp:{host}:{port}",
        "TRUNKAUTH_DEFAULT_TRUNK": options.default_trunk,
        "TRUNKAUTH_REG_CONTACT": "",
        "TRUNKAUTH_WORKERS": str(options.workers),
        "TRUNKAUTH_LOG_LEVEL": "1",
        "TRUNKAUTH_PREEMPTIVE": options.preemptive,
    }


def _prepared(state: Path, options: Options) -> Database:
    if options.database is not None:
        return options.database
    database = Database(state / "trunkauth.sqlite")
    database.list_callers(options.callers)
    for row in options.trunks:
        database.insert_trunk(row)
    return database


def _free_address() -> Address:
    """A loopback port that is free for UDP and for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            address: Address = udp.getsockname()
            try:
                tcp.bind(address)
            except OSError:
                continue
            return address
