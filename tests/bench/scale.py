"""How much one Kamailio carries, by its number of UDP workers, with this package and with the recipe in Kamailio's own
language; what the first call after a start or after silence takes, and a call over one of a million trunks; how
workers' memory grows.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from lab.programs import wait_for
from tests.bench import processes
from tests.bench.calls import PACKAGE, RECIPE, WORKERS, Configuration, Proxy, quantiles, running
from tests.bench.sipp import BenchError, Calls, Load

COUNTS = (1, 2, 4)  # workers
RATES = (100, 200, 300, 400, 500, 600, 700, 800, 900, *range(1000, 3000, 200), *range(3000, 6001, 500))
COMPARED = 300  # of these: the rate at which CPU per call is noted
STEP = 5.0  # seconds at each rate
WARM_UP = Load(100, 200)
COMPARED_LOAD = Load(COMPARED, 2100)

MOST_SENT_AGAIN = 0.01  # of all messages
LEAST_REACHED = 0.95  # of the rate that SIPp was asked for

FEW, MANY, GROWTH_RATE = 1_000, 100_000, 300
PARTS = 20  # of the calls until memory is looked at again
MOST_GROWTH = 1 << 20  # bytes


STARTS = 7  # the first call of each is looked at
TRUNKS = (10, 1_000_000)  # beside the one that is called over
IDLE, IDLE_WITHIN = 0.1, 60.0  # of a core; seconds


@dataclass(frozen=True)
class Capacity:
    """The highest rate that was carried, in calls per second, 0 where the lowest was not; CPU time of Kamailio per call
    at the rate COMPARED, in seconds, 0 where that was not carried; and what 99 of 100 calls were set up within at half
    of the highest rate, in seconds.
    """

    configuration: str
    workers: int
    rate: int
    cpu: float
    setup_p99: float


@dataclass(frozen=True)
class First:
    """How long the first call after a start, or after silence, took to be set up, in seconds."""

    configuration: str
    starts: int
    median: float
    worst: float


@dataclass(frozen=True)
class Trunks:
    """What a call costs with so many other trunks in the table: CPU time of Kamailio and setup, in seconds."""

    trunks: int
    cpu: float
    setup_p50: float
    setup_p99: float


@dataclass(frozen=True)
class Growth:
    """Of the worker that grew most, in bytes: its private memory after few and after many calls, and what it shares
    with the others then.
    """

    few: int
    many: int
    private_before: int
    private_after: int
    shared_after: int
    lost: int

    @property
    def bytes(self) -> int:
        return self.private_after - self.private_before


def capacity(
    workers: int = WORKERS,
    rates: tuple[int, ...] = RATES,
    seconds: float = STEP,
    configuration: Configuration = PACKAGE,
) -> Capacity:
    """Climb the ladder of rates until one is not carried. Raises BenchError."""
    carried, cpu, p99 = 0, 0.0, 0.0
    with running(configuration, "near", workers=workers) as proxy:
        proxy.place(WARM_UP)
        proxy.check_log()
        for rate in rates:
            load, before = Load(rate, round(rate * seconds)), proxy.cpu_seconds()
            if not _carries(proxy, load):
                break
            carried = rate
            if rate == COMPARED:
                cpu = (proxy.cpu_seconds() - before) / load.calls
    if carried:
        with running(configuration, "near", workers=workers) as proxy:
            proxy.place(WARM_UP)
            p99 = quantiles(proxy.place(Load(carried // 2, round(carried / 2 * seconds))).setup)[1]
    return Capacity(configuration.letter, workers, carried, cpu, p99)


def is_carried(seen: Calls, load: Load) -> bool:
    """No call lost, hardly a message sent again, and the rate reached."""
    sent_again = seen.counts.retransmissions <= MOST_SENT_AGAIN * seen.counts.messages
    return seen.lost == 0 and sent_again and seen.rate >= LEAST_REACHED * load.rate


def _carries(proxy: Proxy, load: Load) -> bool:
    try:
        seen = proxy.place(load)
        proxy.check_log()
    except BenchError:  # the calls did not end, or there are complaints in the log
        proxy.check_running()
        return False
    return is_carried(seen, load)


def growth(few: int = FEW, many: int = MANY, rate: int = GROWTH_RATE) -> Growth:
    """Memory of one Kamailio's workers after few calls and after many. Raises BenchError."""
    with running(PACKAGE, "near") as proxy:
        lost = proxy.place(Load(rate, few)).lost
        before = memory(proxy)
        for _ in tqdm(range(PARTS), desc=f"memory after {many:,} calls"):
            lost += proxy.place(Load(rate, (many - few) // PARTS)).lost
        after = memory(proxy)
        proxy.check_log()
    worst = worst_worker(before, after)
    return Growth(few, many, before[worst].private, after[worst].private, after[worst].shared, lost)


def _is_idle(proxy: Proxy) -> bool:
    """Return True if the names of all rows have been looked at, which takes a process some time at the start."""
    before = proxy.cpu_seconds()
    threading.Event().wait(1)
    return proxy.cpu_seconds() - before < IDLE


def memory(proxy: Proxy) -> dict[int, processes.Memory]:
    """Of every SIP worker."""
    return {pid: processes.memory(pid) for pid in proxy.workers}


def worst_worker(before: dict[int, processes.Memory], after: dict[int, processes.Memory]) -> int:
    """The worker whose private memory grew most."""
    return max(before, key=lambda pid: after[pid].private - before[pid].private)


def capacities(rates: tuple[int, ...] = RATES, counts: tuple[int, ...] = COUNTS) -> Iterator[Capacity]:
    """The recipe and this package, each with so many workers. Raises BenchError."""
    climbs = [(workers, one) for one in (RECIPE, PACKAGE) for workers in counts]
    return (capacity(workers, rates, configuration=one) for workers, one in tqdm(climbs, desc="workers"))


def first_calls(starts: int = STARTS) -> Iterator[First]:
    """Of the recipe and this package, each started so often. Raises BenchError."""
    for one in (RECIPE, PACKAGE):
        taken = []
        for _ in tqdm(range(starts), desc=f"first calls of ({one.letter})"):
            with running(one, "near", workers=1) as proxy:
                taken += proxy.place(Load(1, 1)).setup
        yield First(one.letter, starts, statistics.median(taken), max(taken))


def calls_after_silence(seconds: float, starts: int = STARTS) -> list[First]:
    """Of the recipe and this package, each started so often. All run side by side, are called once, and once more when
    so many seconds have passed. Raises BenchError.
    """
    taken: dict[str, list[float]] = defaultdict(list)
    with contextlib.ExitStack() as started:
        proxies = [
            (one.letter, started.enter_context(running(one, "near", workers=1)))
            for _ in range(starts)
            for one in (RECIPE, PACKAGE)
        ]
        for _, proxy in proxies:
            proxy.place(Load(1, 1))
        time.sleep(seconds)
        for letter, proxy in tqdm(proxies, desc="calls after silence"):
            taken[letter] += proxy.place(Load(1, 1)).setup
            proxy.check_log()
    return [First(letter, starts, statistics.median(all_of), max(all_of)) for letter, all_of in taken.items()]


def by_trunks(sizes: tuple[int, ...] = TRUNKS, load: Load = COMPARED_LOAD) -> Iterator[Trunks]:
    """This package, with one UDP worker, with tables of these sizes. Raises BenchError."""
    for size in tqdm(sizes, desc="trunks"):
        with running(PACKAGE, "near", workers=1, trunks=size) as proxy:
            if not wait_for(partial(_is_idle, proxy), IDLE_WITHIN):
                raise BenchError(f"with {size} trunks it is busy without a call")
            proxy.place(WARM_UP)
            before = proxy.cpu_seconds()
            seen = proxy.place(load)
            cpu = (proxy.cpu_seconds() - before) / load.calls
            proxy.check_log()
        yield Trunks(size, cpu, *quantiles(seen.setup))
