"""The calls of `make bench`: six ways to place them, what one run of one of them costs, and four to compare with.

Every configuration is the same Kamailio with as many workers and the same memory manager, between the same two SIPps
(sipp.py). Four are native.cfg, two are this package, two are bare.py, the least that Python costs, and two are least.py
and ahead.py, the least that the package's work costs in Python. A run starts its own Kamailio and carrier, warms both
up, and measures.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kemi.settings import Settings
from kemi.start.run import ALLOCATOR, kamailio_environment, prepare_database
from lab.demo import REALM, TRUNK, free_addresses, own_environment
from lab.programs import Foreground, ProgramError
from tests.bench import processes, sipp
from tests.bench.sipp import Account, BenchError, Calls, Load
from tests.db import servers
from tests.harness.database import Database, ServerDatabase
from tests.harness.machine import SBIN

HERE = Path(__file__).parent
NATIVE = HERE / "native.cfg"
WORKERS = 1  # on the UDP socket, as `python -m kemi run` starts it
MOST_TOLD = 5  # errors
COPIED_A_SECOND = 5000  # rows, at least
SHARED_MEMORY = "512"  # MiB: what TRUNKAUTH_MEMORY is, unless somebody sets it


@dataclass(frozen=True)
class Configuration:
    """One way to place a call. define: what native.cfg is told by -A; empty: this package, or the script in the place
    of its own, with this config.
    """

    letter: str
    name: str
    define: str = ""
    preemptive: str = ""
    script: str = ""
    config: str = "bare.cfg"
    challenges: bool = True


CONFIGURATIONS = (
    Configuration("a", "no authentication", "OPEN", challenges=False),
    Configuration("b", "uac_auth(), password in the script", "FIXED"),
    Configuration("c", "sqlops on PostgreSQL, uac_auth()", "SQLOPS"),
    Configuration("d", "uac_reg_request_to(), uac_auth()", "REGISTRATIONS"),
    Configuration("e", "this package, preemptive off", preemptive="off"),
    Configuration("f", "this package", preemptive="auto"),
    Configuration("k", "no authentication, in Python", script="bare.py", challenges=False),
    Configuration("r", "uac_auth() in Python, password in the script", script="bare.py"),
    Configuration("s", "the work of (e) in the least Python", script="least.py", config="least.cfg"),
    Configuration("t", "the work of (f) in the least Python", script="ahead.py", config="least.cfg"),
)
PACKAGE = next(one for one in CONFIGURATIONS if one.preemptive == "auto")
RECIPE = next(one for one in CONFIGURATIONS if one.define == "FIXED")
LINES = ("near", "far")


@dataclass(frozen=True)
class Run:
    """One run. cpu: seconds of all Kamailio processes per call. setup_p50, setup_p99: seconds from INVITE to 200.
    messages: per call, on both sides of Kamailio, without retransmissions. rate: calls per second that it came to.
    """

    configuration: str
    line: str
    calls: int
    lost: int
    retransmissions: int
    messages: float
    cpu: float
    setup_p50: float
    setup_p99: float
    rate: float


@dataclass
class Proxy:
    """A running Kamailio between a caller and a carrier."""

    kamailio: Foreground
    workers: list[int]
    address: str
    source: str
    carrier: sipp.Carrier
    folder: Path = field(repr=False)
    calls: int = 0

    def place(self, load: Load) -> Calls:
        """Place these calls, and wait until both ends have counted them; counts are of both ends. Raises BenchError."""
        before = self.carrier.counts()
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            seen = sipp.place_calls(Path(folder), self.source, self.address, TRUNK, load)
        self.check_running()
        self.calls += load.calls - seen.lost
        self.carrier.wait_until_settled(self.calls)
        return replace(seen, counts=seen.counts + self.carrier.counts() - before)

    def rpc(self, *words: str) -> str:
        """What kamcmd prints for this command."""
        command = ["kamcmd", "-s", f"unixs:{self.folder}/state/rpc.sock", *words]
        environment = {"PATH": SBIN}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True).stdout

    def cpu_seconds(self) -> float:
        """Of all its processes, idle ones too."""
        return processes.cpu_seconds(processes.of_group(self.kamailio.process.pid))

    def check_running(self) -> None:
        """Raise BenchError where Kamailio has ended."""
        if not self.kamailio.alive():
            raise BenchError(f"{self.kamailio.name}: Kamailio has ended\n{self.kamailio.last_lines()}")

    def check_log(self) -> None:
        """Raise BenchError where Kamailio has logged an error: figures of a faulty run are none. That it may not write
        core files, as a user whose limit for them is 0, is no fault of the run; nor is a BYE that comes again on a busy
        machine, which is counted.
        """
        if found := re.findall(r".*(?:ERROR|CRITICAL):(?!.*(?:set_core_dump|bogus event)).*", self.kamailio.log()):
            raise BenchError("\n".join([f"{self.kamailio.name}: errors in the log", *found[:MOST_TOLD]]))


@contextlib.contextmanager
def running(
    configuration: Configuration,
    line: str,
    server: ServerDatabase | None = None,
    *,
    workers: int = WORKERS,
    is_right: bool = True,
    config: str = "",
    also: Mapping[str, str] | None = None,
    trunks: int = 0,
) -> Iterator[Proxy]:
    """A Kamailio so configured, and its carrier. server: of SQLOPS. is_right: whether the trunk's password is the one
    that the carrier takes. config: in the place of kamailio.cfg; empty: that one. also: more of its environment.
    trunks: how many rows there are beside the one that is called over; the first 10,000 have limits and a weight, as
    the one has then. Raises BenchError.
    """
    account = Account(REALM, TRUNK, secrets.token_hex(16))
    given = account.password if is_right else secrets.token_hex(16)
    address, source, carrier_address = free_addresses(3)
    with tempfile.TemporaryDirectory(prefix="trunkauth-bench-") as place, contextlib.ExitStack() as started:
        work = Path(place)
        state, far = work / "state", work / "far"
        far.mkdir()
        environment = own_environment(state, address) | {
            "PATH": SBIN,
            "TRUNKAUTH_PREEMPTIVE": configuration.preemptive or "auto",
            **(also or {}),
        }
        state.mkdir(mode=0o700)
        own = Database(state / "trunkauth.sqlite")
        own.make()
        for database in filter(None, (own, server)):
            _fill(database, carrier_address, given)
        if trunks:
            _add(own, trunks)
        environment |= _native_environment(state, address, carrier_address, given, workers, server)
        if configuration.script:
            settings = Settings.from_environment(environment)
            prepare_database(settings)
            environment = kamailio_environment(settings, environment)
            environment["TRUNKAUTH_SCRIPT"] = str(HERE / configuration.script)
        try:
            carrier = started.enter_context(
                sipp.carrier(
                    far, carrier_address, account, secrets.token_hex(16),
                    challenges=configuration.challenges, is_far=line == "far",
                )
            )  # fmt: skip
            command = _command(configuration, state, workers)
            if config:
                (work / "test.cfg").write_text(config)
                command += ["-f", str(work / "test.cfg")]
            kamailio = Foreground(configuration.name, command, work / "kamailio.log", environment=environment)
            started.callback(kamailio.end)
            kamailio.wait_until_it_answers(address, trunks / COPIED_A_SECOND)
        except ProgramError as error:
            raise BenchError(str(error)) from None
        yield Proxy(kamailio, _workers(state, environment), address, source, carrier, work)


def measure(configuration: Configuration, line: str, warm_up: Load, load: Load, server: ServerDatabase) -> Run:
    """One run of one configuration."""
    with running(configuration, line, server) as proxy:
        lost = proxy.place(warm_up).lost
        before = proxy.cpu_seconds()
        seen = proxy.place(load)
        cpu = proxy.cpu_seconds() - before
        proxy.check_log()
    p50, p99 = quantiles(seen.setup)
    return Run(
        configuration.letter, line, load.calls, lost + seen.lost, seen.counts.retransmissions,
        seen.counts.messages / load.calls, cpu / load.calls, p50, p99, seen.rate,
    )  # fmt: skip


def round_trip(load: Load) -> float:
    """What the far carrier's distance comes to, in seconds: the setup time of calls placed to it directly."""
    source, address = free_addresses(2)
    with tempfile.TemporaryDirectory(prefix="trunkauth-bench-") as place:
        near, far = Path(place) / "near", Path(place) / "far"
        near.mkdir()
        far.mkdir()
        account = Account(REALM, TRUNK, secrets.token_hex(16))
        with sipp.carrier(far, address, account, secrets.token_hex(16), challenges=False, is_far=True):
            return quantiles(sipp.place_calls(near, source, address, TRUNK, load).setup)[0]


def quantiles(times: list[float]) -> tuple[float, float]:
    """The median, and what 99 of 100 stay below."""
    if len(times) < 2:
        return (0.0, 0.0)
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return cuts[49], cuts[98]


@contextlib.contextmanager
def postgresql() -> Iterator[ServerDatabase]:
    """A PostgreSQL for SQLOPS. Its user's password has nothing in it that Kamailio's form of a URL cannot hold."""
    with servers.postgresql() as server:
        password = secrets.token_hex(16)
        url = server.url.set(password=password)
        ServerDatabase(server.url).execute(f"ALTER ROLE {url.username} PASSWORD '{password}'")
        yield ServerDatabase(url)


def _fill(database: Database, carrier: str, password: str) -> None:
    """Make one trunk the only row of uacreg. It is complete: the uac module leaves out a row that is not."""
    database.execute("DELETE FROM uacreg")
    database.insert_trunk({
        "l_uuid": TRUNK, "l_username": "pbx", "l_domain": "pbx.example", "r_username": TRUNK, "r_domain": REALM,
        "realm": REALM, "auth_proxy": f"sip:{carrier}", "auth_username": TRUNK, "auth_password": password,
    })  # fmt: skip


def _add(database: Database, trunks: int) -> None:
    """Add so many trunks, and limits: none of them is ever reached."""
    numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
    row = (
        "'t' || n, '49' || n, 'pbx.example', '49' || n, 'carrier.test', 'carrier.test', 'sip:192.0.2.1', 'u', 'secret'"
    )
    columns = "l_uuid, l_username, l_domain, r_username, r_domain, realm, auth_proxy, auth_username, auth_password"
    database.execute(f"{numbers} INSERT INTO uacreg ({columns}) SELECT {row} FROM n", (trunks,))
    policies = "INSERT INTO trunk (l_uuid, weight, max_calls, max_cps)"
    database.execute(f"{numbers} {policies} SELECT 't' || n, 2, 30, 30 FROM n", (min(trunks, 10_000),))
    database.execute(f"{policies} VALUES (?, 2, 100000, 100000)", (TRUNK,))


def _command(configuration: Configuration, state: Path, workers: int) -> list[str]:
    of_our_config = ["-A", f"UDP_WORKERS={workers}"]
    if configuration.preemptive:
        return [sys.executable, "-m", "kemi", "run", "-u", str(os.geteuid()), *of_our_config]
    kamailio = shutil.which("kamailio", path=SBIN) or "kamailio"
    command = [kamailio, "-DD", "-E", f"-m{SHARED_MEMORY}", "-x", ALLOCATOR, "-Y", str(state)]
    if configuration.script:
        return [*command, *of_our_config, "-f", str(HERE / configuration.config)]
    return [*command, "-f", str(NATIVE), "-A", configuration.define]


def _native_environment(
    state: Path, address: str, carrier: str, password: str, workers: int, server: ServerDatabase | None
) -> dict[str, str]:
    """The names that native.cfg and bare.py read."""
    url = server.url.set(drivername="postgres").render_as_string(hide_password=False) if server else ""
    return {
        "BENCH_LISTEN": f"udp:{address}",
        "BENCH_WORKERS": str(workers),
        "BENCH_RPC_SOCKET": f"unixs:{state}/rpc.sock",
        "BENCH_SQLITE_URL": f"sqlite:///{state}/trunkauth.sqlite",
        "BENCH_POSTGRESQL_URL": f"trunks=>{url}",
        "BENCH_CARRIER": f"sip:{carrier}",
        "BENCH_DOMAIN": REALM,
        "BENCH_USER": TRUNK,
        "BENCH_PASSWORD": password,
    }


def _workers(state: Path, environment: dict[str, str]) -> list[int]:
    """The SIP workers, as Kamailio itself lists its processes: number, then what it is."""
    command = ["kamcmd", "-s", f"unixs:{state}/rpc.sock", "core.ps"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True).stdout
    lines = listed.splitlines()
    return [int(pid) for pid, what in itertools.pairwise(lines) if what.startswith("udp receiver")]
