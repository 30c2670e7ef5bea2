"""A running Kamailio that the tests talk to, as a process of this machine (here) or in a container (container.py).

Both are started the way that an operator starts them, read the same settings and the same tables, and are stopped for
good at the end. What a test needs to know of one is here: where it listens, what it logs, its database, its RPC.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import URL

from lab.programs import Foreground, free_port, wait_for
from tests.harness import logfmt
from tests.harness.agent import Exchange
from tests.harness.caller import Caller
from tests.harness.database import Database, ServerDatabase, trunks_of
from tests.harness.endpoint import Address, written
from tests.harness.machine import PROJECT, SBIN, native_version
from tests.harness.network import Network

T = TypeVar("T")
READY_WITHIN = 30.0
LOOKS_EVERY = 0.05  # seconds
REGISTERS_EVERY_SECOND = (("uac", "reg_timer_interval", 1),)


@dataclass(frozen=True)
class Options:
    """What one Kamailio is started with. workers: for TCP. udp_workers: for each UDP socket; more than one do not keep
    the order of messages. trunks: rows of uacreg that are there before it starts.

    modparams: (module, name, number), put after those of kamailio.cfg. database: a server's, prepared before; None: an
    SQLite file, the embedded one if db_url names no other. db_url: how Kamailio reaches a server, if not as the test
    does. state, sip: the state directory and the address that another Kamailio has left, to go on with. at_first: what
    OPTIONS is answered by then; 503 without a copy. resolv_conf: its own /etc/resolv.conf, which takes root; None: the
    machine's. network: the one that it runs in; None: the machine's, as for containers. also: more of its environment.
    secrets: a folder that it can read, in a container too. gives_up_root: as it comes; else it stays the user who runs
    the tests. config: makes a kamailio.cfg to start with, in the state directory, and returns it; it is given that and
    where the project is there. None: the project's.
    """

    workers: int = 2
    udp_workers: int = 1
    default_trunk: str = ""
    callers: tuple[str, ...] = ("127.0.0.1",)
    modparams: tuple[tuple[str, str, int], ...] = ()
    trunks: tuple[Mapping[str, str | int], ...] = ()
    database: ServerDatabase | None = None
    db_url: URL | None = None
    compare_interval: int = 1
    state: Path | None = None
    sip: Address | None = None
    preemptive: str = "auto"
    max_cps: int = 0
    memory: int = 512
    at_first: int = 200
    resolv_conf: Path | None = None
    network: Network | None = None
    ring_seconds: int = 180
    setup_seconds: int = 300
    also: Mapping[str, str] = field(default_factory=dict)
    secrets: Path | None = None
    gives_up_root: bool = False
    config: Callable[[Path, Path], Path] | None = None


AS_IT_COMES = Options()


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
        result = wait_for(found, within)
        assert result, f"not seen within {within:g} s: {what}\n{self.last_log_lines()}"
        return result

    def wait_for_log(self, text: str, within: float = 5.0, after: int = 0) -> str:
        """The log from a length on, once this is in it: what Kamailio says comes to us a little later than what it
        sends.
        """

        def found() -> str:
            log = self.log()[after:]
            return log if text in log else ""

        return self.wait_for(f"{text!r} in the log", found, within)

    def wait_until_copied(self) -> None:
        """Until the trunks of the embedded database are in its copy; a server's are waited for by the test."""
        if self.database.path.exists():
            copy = self.state / "replica.sqlite"
            self.wait_for("the copy of the trunks", lambda: trunks_of(copy) == trunks_of(self.database.path), within=5)

    def wait_until_looked_at(self) -> None:
        """Until no worker goes by what the embedded database held before."""
        self.wait_until_copied()
        self.wait_for_workers()

    def wait_for_workers(self) -> None:
        """Until no worker goes by what the copy held before: each looks at it anew after so long at most."""
        changed = time.monotonic()
        self.wait_for("every worker looks again", lambda: time.monotonic() > changed + LOOKS_EVERY, within=1)

    def wait_until_disconnected(self) -> None:
        """Until it has seen the end of every TCP connection: it sends over one, and counts it, until then."""
        self.wait_for("no connection is left", lambda: "state:" not in self.rpc("core.tcp_list"), within=10)

    def judge_log(self, log: str, secrets: Collection[str]) -> None:
        """Nothing that Kamailio says may hold a traceback or one of these passwords, and the product's lines are logfmt
        or JSON.
        """
        for line in log.splitlines():
            if line.startswith("level="):
                logfmt.parse(line)
            elif line.startswith('{"level"'):
                json.loads(line)
        assert "Traceback" not in log, log[-6000:]
        assert not [secret for secret in secrets if secret in log], "a password is in the log"

    def rpc(self, *words: str) -> str:
        """What kamcmd prints for this command; raises on an error answer."""
        command = ["kamcmd", "-s", f"unixs:{self.rpc_socket}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env={"PATH": SBIN})
        if done.returncode or done.stdout.startswith("error"):
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def wait_until_ready(self, status: int = 200) -> None:
        """Until OPTIONS is answered with this status; one that ended says so at once."""
        asked: list[Exchange] = []

        def answers() -> bool:
            asked.append(caller.request("OPTIONS", f"sip:{written(self.sip)}"))
            with contextlib.suppress(AssertionError):
                asked[-1].expect(status, within=0.3)
            return any(one.final and one.final.status == status for one in asked)  # on a busy machine, an earlier one

        with Caller(self.sip, host=own_address(self.sip)) as caller:
            if wait_for(lambda: not self.program.alive() or answers(), READY_WITHIN) and self.program.alive():
                return
        what = f"no {status} to OPTIONS" if self.program.alive() else "it has ended"
        raise AssertionError(
            f"Kamailio {self.version} not ready within {READY_WITHIN:g} s: {what}\n{self.last_log_lines()}"
        )


class Installation(Protocol):
    """A Kamailio that can be started, again and again. image: the container's; None: it runs in none."""

    name: str

    @property
    def image(self) -> str | None: ...
    def running(self, options: Options = ...) -> contextlib.AbstractContextManager[Kamailio]: ...
    def close(self) -> None: ...


class Native:
    """The machine's own Kamailio, through `python -m kemi run`."""

    name = "native"
    image: str | None = None

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    @contextlib.contextmanager
    def running(self, options: Options = AS_IT_COMES) -> Iterator[Kamailio]:
        state, sip = options.state or new_state(self._workspace), options.sip or ("127.0.0.1", free_port())
        environment = {**os.environ, **settings(state, sip, options)}
        database = prepared(state, options)
        log = self._workspace / f"{state.name}-{sip[1]}.log"
        user = [] if options.gives_up_root else ["-u", str(os.geteuid())]
        command = [sys.executable, "-m", "kemi", "run", *user, *arguments(state, PROJECT, options)]
        if options.resolv_conf:
            bind = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", bind, str(options.resolv_conf), *command]
        if options.network:
            command = [*options.network.command, *command]
        program = Foreground("Kamailio", command, log, environment=environment, folder=PROJECT)
        yield from ready(Kamailio(native_version(), sip, state, database, program), options)

    def close(self) -> None:
        """Nothing is held between two runs."""


def ready(kamailio: Kamailio, options: Options) -> Iterator[Kamailio]:
    """Yield it once it answers, and stop it at the end; its log is judged then."""
    try:
        kamailio.wait_until_ready(options.at_first)
        yield kamailio
    finally:
        log = kamailio.program.stop()
    kamailio.judge_log(log, kamailio.database.secrets)


def own_address(peer: Address) -> str:
    """Return this machine's address on the way to a peer."""
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return str(probe.getsockname()[0])


def new_state(workspace: Path) -> Path:
    """A fresh state directory. Its name is short: a Unix socket's path has 107 bytes at most."""
    state = workspace / f"s{len(list(workspace.iterdir()))}"
    state.mkdir(mode=0o700)
    return state


def arguments(state: Path, project: Path, options: Options) -> list[str]:
    """Extra arguments for Kamailio: how many workers a UDP socket has, and a configuration that is the project's with
    more module parameters after it.

    --modparam would not do: it is read before the configuration has loaded the module.
    """
    given = ["-A", f"UDP_WORKERS={options.udp_workers}"] if options.udp_workers > 1 else []
    if not (options.modparams or options.config):
        return given
    base = options.config(state, project) if options.config else project / "kamailio/kamailio.cfg"
    lines = [f'include_file "{base}"']
    lines += [f'modparam("{module}", "{name}", {number})' for module, name, number in options.modparams]
    config = state / "test.cfg"
    config.write_text("\n".join([*lines, ""]))
    config.chmod(0o644)
    return [*given, "-f", str(config)]


def settings(state: Path, sip: Address, options: Options) -> dict[str, str]:
    """Return the environment that it is started with."""
    url = options.db_url or (options.database.url if options.database else None)
    return {
        "TRUNKAUTH_DB_URL": url.render_as_string(hide_password=False) if url else "",
        "TRUNKAUTH_DB_INTERVAL": str(options.compare_interval),
        "TRUNKAUTH_STATE_DIR": str(state),
        "TRUNKAUTH_LISTEN": f"udp:{written(sip)} tcp:{written(sip)}",
        "TRUNKAUTH_DEFAULT_TRUNK": options.default_trunk,
        "TRUNKAUTH_REG_CONTACT": "",
        "TRUNKAUTH_WORKERS": str(options.workers),
        "TRUNKAUTH_MEMORY": str(options.memory),
        "TRUNKAUTH_LOG_LEVEL": "1",
        "TRUNKAUTH_HTTP": "",
        "TRUNKAUTH_MAX_CPS": str(options.max_cps or ""),
        "TRUNKAUTH_PREEMPTIVE": options.preemptive,
        "TRUNKAUTH_RING_SECONDS": str(options.ring_seconds),
        "TRUNKAUTH_SETUP_SECONDS": str(options.setup_seconds),
        **options.also,
    }


def prepared(state: Path, options: Options) -> Database:
    """Return the database that it is started with, with the rows that have to be there before."""
    if options.database is not None:
        return options.database
    database = Database(Path((options.db_url and options.db_url.database) or state / "trunkauth.sqlite"))
    database.make()
    database.list_callers(options.callers)
    for row in options.trunks:
        database.insert_trunk(row)
    return database
