"""SIPp on both sides of a proxy: the PBX that calls (caller.xml) and the carrier that is called (carrier.xml), and what
each of them counted. Nothing that is started here outlives its block.
"""

from __future__ import annotations

import contextlib
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.programs import Foreground, wait_for

HERE = Path(__file__).resolve().parent

ROUND_TRIP = 0.040  # seconds to a far carrier and back
# SIPp's clock has ticks, of 4 ms on many machines, and a pause ends with the tick after it.
PAUSE = f'<pause milliseconds="{ROUND_TRIP * 1000 - 1:.0f}"/>'

COUNTED = "200ms"  # how often SIPp writes down what it has counted
BUFFER = "2097152"  # bytes: SIPp's own sockets are not to be what drops a datagram
START_LIMIT = 10.0  # seconds until SIPp runs
SETTLE_LIMIT = 5.0  # seconds until the last call is counted on the other side as well
END_LIMIT = 40.0  # seconds for the last calls of a load to end, those that nobody answers too
LEAST_TIMED = 0.99  # of the calls that succeeded
ERRORS = "errors.log"  # what the caller did not expect


class BenchError(RuntimeError):
    """What kept the bench from measuring; the text is for whoever runs it."""


@dataclass(frozen=True)
class Account:
    """Who may call over the carrier: what a trunk's row holds."""

    realm: str
    user: str
    password: str


@dataclass(frozen=True)
class Load:
    """So many calls, in calls per second. talk: seconds from the ACK of each to its BYE. patience: seconds that its
    caller waits for an answer before a call is lost.
    """

    rate: int
    calls: int
    talk: float = 0.1  # two UDP workers that have ACK and BYE at the same moment may send them in the other order
    patience: float = 8.0

    @property
    def seconds(self) -> float:
        return self.calls / self.rate + self.talk


@dataclass(frozen=True)
class Counts:
    """What one SIPp has sent and received: messages without retransmissions, and those."""

    messages: int
    retransmissions: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.messages + other.messages, self.retransmissions + other.retransmissions)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.messages - other.messages, self.retransmissions - other.retransmissions)


@dataclass(frozen=True)
class Calls:
    """What the caller saw. setup: seconds from each INVITE to its 200. rate: calls per second that it came to.
    answered: calls that got a 200, whatever came of them then.
    """

    lost: int
    counts: Counts
    setup: list[float]
    rate: float
    answered: int


class Carrier:
    """A SIPp that is called, for as long as it runs; its nonce stays the same."""

    def __init__(self, sipp: Foreground, folder: Path) -> None:
        self._sipp, self._folder = sipp, folder

    def counts(self) -> Counts:
        return _counts(self._row())

    def wait_until_running(self) -> None:
        """Until it has written down its first counts: it is bound by then. Raises BenchError."""
        _wait_for("the carrier's first counts", self._has_ended_or_counted, START_LIMIT, self._sipp)
        if not self._sipp.alive():
            status = self._sipp.process.returncode
            raise BenchError(f"the carrier's SIPp ended with status {status}\n{self._sipp.last_lines()}")

    def wait_until_settled(self, calls: int) -> None:
        """Until it has counted the end of this many calls in all; where some are lost, for SETTLE_LIMIT."""
        with contextlib.suppress(BenchError):
            _wait_for(f"the end of {calls} calls", lambda: self.ended_calls() >= calls, SETTLE_LIMIT, self._sipp)

    def _has_ended_or_counted(self) -> bool:
        return not self._sipp.alive() or bool(self._row())

    def ended_calls(self) -> int:
        """Of how many calls it has seen the end: the scenario's last message is the 200 to BYE."""
        row = self._row()
        return next((row[name] for name in reversed(row) if name.endswith("_Sent")), 0)

    def _row(self) -> dict[str, int]:
        return _last_row(_counts_file(self._folder, self._sipp))


@contextlib.contextmanager
def carrier(
    folder: Path, address: str, account: Account, nonce: str, *, challenges: bool, is_far: bool
) -> Iterator[Carrier]:
    """A carrier at this address until the block ends. folder: empty, for its files."""
    scenario = (HERE / "carrier.xml").read_text()
    words = {
        "nonce": nonce,
        "user": account.user,
        "realm": account.realm,
        "if_valid": 'test="valid"' if challenges else "",
        "distance": PAUSE if is_far else "",
    }
    for word, text in words.items():
        scenario = scenario.replace(f"{{{word}}}", text)
    (folder / "carrier.xml").write_text(scenario)
    host, _, port = address.partition(":")
    command = ["sipp", "-sf", "carrier.xml", "-i", host, "-p", port, "-key", "password", account.password]
    with _running(command, folder) as sipp:
        called = Carrier(sipp, folder)
        called.wait_until_running()
        yield called


def place_calls(folder: Path, source: str, proxy: str, trunk: str, load: Load) -> Calls:
    """Place these calls through a proxy, and wait for their end. folder: empty, for SIPp's files; trunk: l_uuid. Raises
    BenchError.
    """
    host, _, port = source.partition(":")
    command = ["sipp", proxy, "-sf", str(HERE / "caller.xml"), "-i", host, "-p", port, "-key", "trunk", trunk]
    command += [
        "-s",
        "4930123456",
        "-d",
        f"{load.talk * 1000:.0f}",
        "-r",
        str(load.rate),
        "-m",
        str(load.calls),
        "-l",
        str(load.calls),
    ]
    command += ["-trace_logs", "-log_file", "setup.log", "-trace_stat", "-stf", "statistics.csv"]
    command += ["-trace_err", "-error_file", ERRORS]
    command += ["-recv_timeout", f"{load.patience * 1000:.0f}", "-default_behaviors", "all,-bye"]
    with _running(command, folder) as sipp:
        limit = load.seconds * 1.5 + END_LIMIT
        _wait_for(f"the end of {load.calls} calls", lambda: not sipp.alive(), limit, sipp)
        counts = _counts(_last_row(_counts_file(folder, sipp)))
    log = folder / "setup.log"
    lines = log.read_text().splitlines() if log.exists() else []
    times = [[float(word) for word in line.split()] for line in lines]
    times = [four for four in times if len(four) == 4]  # SIPp has left out a value now and then, once in 50,000 calls
    successful = _last_row(folder / "statistics.csv").get("SuccessfulCall(C)", 0)
    if len(times) < LEAST_TIMED * successful:
        raise BenchError(f"SIPp has written down the times of {len(times)} calls, of {successful}\n{sipp.last_lines()}")
    sent = sorted(seconds + micro / 1e6 for seconds, micro, _, _ in times)
    setup = [came - seconds + (came_micro - micro) / 1e6 for seconds, micro, came, came_micro in times]
    lasted = sent[-1] - sent[0] if sent else 0.0
    rate = (len(sent) - 1) / lasted if lasted else 0.0
    return Calls(load.calls - successful, counts, setup, rate, len(lines))


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[Foreground]:
    """A SIPp that counts; Ctrl-C reaches it through us."""
    command = [*command, "-nostdin", "-trace_counts", "-fd", COUNTED, "-buff_size", BUFFER]
    sipp = Foreground("SIPp", command, folder / "output", folder=folder)
    try:
        yield sipp
    finally:
        sipp.kill()


def _wait_for(what: str, condition: Callable[[], bool], limit: float, sipp: Foreground) -> None:
    """Wait until it is true; raises BenchError after `limit` seconds, with the last lines that SIPp said."""
    if not wait_for(condition, limit):
        raise BenchError(f"not seen within {limit:g} s: {what}\n{sipp.last_lines()}")


def _counts_file(folder: Path, sipp: Foreground) -> Path:
    """SIPp names it after the scenario and itself."""
    return next(folder.glob(f"*_{sipp.process.pid}_counts.csv"), folder / "none")


def _last_row(path: Path) -> dict[str, int]:
    """The whole numbers of the last row that SIPp has written to its end, by column."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file, delimiter=";") if row]
    whole = [row for row in rows[1:] if len(row) == len(rows[0])]
    if not whole:
        return {}
    return {name: int(value) for name, value in zip(rows[0], whole[-1], strict=True) if value.isdecimal()}


def _counts(row: dict[str, int]) -> Counts:
    """Columns are called `4_401_Sent`, `4_401_Retrans`, `5_ACK_Recv`, `5_ACK_Unexp`, …"""
    sums = Counter[str]()
    for name, value in row.items():
        sums[name.rpartition("_")[2]] += value
    return Counts(sums["Sent"] + sums["Recv"], sums["Retrans"])
