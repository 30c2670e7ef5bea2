"""`python -m tests.bench [--quick] [--rounds N] [--rows N] [--silence SECONDS]` measures, and prints what came out as
Markdown: what a call costs here and natively, how far this package scales, and what its copy of a database costs.
Figures are of the machine that it runs on, and mean something on one that is otherwise idle; ratios hold on a noisier
one too, because the configurations are taken in turn.

Files: var/bench/bench.png and var/bench/bench.json. --quick shows that all of it works, in about a minute; its figures
mean nothing. --silence measures one thing alone: the first call after so long.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from tests.bench import calls, handlers, replica, report, scale, syncs
from tests.bench.report import MEBIBYTE, Figures, table
from tests.bench.sipp import BenchError, Load

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Figure = TypeVar("Figure", bound="DataclassInstance")


@dataclass(frozen=True)
class Size:
    """How much is measured. rows: of the first whole sync; sizes: of the tables looked up in, in rows; rates: of calls
    per second that are tried; counts: of workers; starts: whose first call is looked at; trunks: in the table of a
    call; few, many: calls after which memory is looked at.
    """

    rounds: int
    warm_up: Load
    load: Load
    rows: int
    sizes: tuple[int, ...] = replica.SIZES
    commits: int = replica.COMMITS
    sync_calls: int = syncs.CALLS
    sync_rows: int = syncs.CHANGED
    handler_calls: int = handlers.CALLS
    rates: tuple[int, ...] = scale.RATES
    counts: tuple[int, ...] = scale.COUNTS
    starts: int = scale.STARTS
    trunks: tuple[int, ...] = scale.TRUNKS
    few: int = scale.FEW
    many: int = scale.MANY


WHOLE = Size(rounds=5, warm_up=Load(350, 500), load=Load(350, 2100), rows=1_000_000)
QUICK = Size(
    rounds=1, warm_up=Load(200, 100), load=Load(200, 200), rows=1000,
    sizes=(10,), commits=3, sync_calls=20, sync_rows=1000, handler_calls=20, rates=(50, 300), counts=(1,), starts=1,
    trunks=(10, 1000), few=50, many=150,
)  # fmt: skip


def measure_calls(size: Size) -> Figures:
    """Every configuration, near and far, in turn. Raises BenchError."""
    figures = Figures(size.load)
    steps = size.rounds * (1 + len(calls.LINES) * len(calls.CONFIGURATIONS))
    with calls.postgresql() as server, tqdm(total=steps, unit="run") as progress:
        for _ in range(size.rounds):
            progress.set_description("far carrier, directly")
            figures.round_trips.append(calls.round_trip(size.warm_up))
            progress.update()
            runs = []
            for line in calls.LINES:
                for one in calls.CONFIGURATIONS:
                    progress.set_description(f"({one.letter}) {line}")
                    runs.append(calls.measure(one, line, size.warm_up, size.load, server))
                    progress.update()
            figures.rounds.append(runs)
    return figures


def measure(size: Size) -> Iterator[str]:
    """Measure one thing after the other, each table as soon as it is there. Raises BenchError, also where a call was
    lost: figures without it are none.
    """
    from tests.bench import plot  # not above: processes whose memory is measured import this file (multiprocessing)

    about = report.machine()
    yield f"{about['cpus']} CPUs, {about['cpu']}, Kamailio {about['kamailio']}, Python {about['python']}"
    figures = measure_calls(size)
    report.write(report.output() / "bench.json", figures)
    plot.draw(figures, report.output() / "bench.png")
    yield report.calls_table(figures)
    yield report.targets_table(figures)
    if figures.lost:
        raise BenchError(f"{figures.lost} calls were lost: the figures above are not valid")
    more: dict[str, object] = {}
    for name, measured, lines in further(size):
        more[name] = measured
        report.write(report.output() / "bench.json", figures, **more)
        yield lines


def further(size: Size) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    """What is measured besides calls: its name, the raw figures, and its table. Raises BenchError."""
    yield _section("handlers", measure_handlers(size.handler_calls), handlers_table)
    yield _section("capacities", list(scale.capacities(size.rates, size.counts)), capacities_table)
    yield _section("first_calls", list(scale.first_calls(size.starts)), first_calls_table)
    yield _section("trunks", list(scale.by_trunks(size.trunks, size.load)), trunks_table)
    growth = scale.growth(size.few, size.many)
    yield _section("memory", [growth], memory_table)
    if growth.lost:
        raise BenchError(f"{growth.lost} calls were lost")
    yield _section("lookups", list(replica.lookups(size.sizes)), lookups_table)
    yield _section("first_sync", list(replica.first_sync(size.rows)), first_sync_table)
    yield _section("delay", [replica.delay_from_commit(size.commits)], delay_table)
    yield _section("setup", syncs.setup_during_syncs(size.sync_calls, size.sync_rows), setup_table)


def measure_silence(seconds: float) -> Iterator[str]:
    """Measure the first call after so long. Raises BenchError."""
    yield first_calls_table(scale.calls_after_silence(seconds), f"{seconds:,.0f} seconds of silence")


def _section(
    name: str, measured: list[Figure], lines: Callable[[list[Figure]], str]
) -> tuple[str, list[dict[str, Any]], str]:
    return name, [asdict(one) for one in measured], lines(measured)


def measure_handlers(count: int) -> list[handlers.Handlers]:
    """Of every configuration that has handlers in Python, and of the control."""
    alone = [handlers.measure(letter, count) for letter in tqdm(handlers.CONFIGURATIONS, desc="handlers alone")]
    return [*alone, handlers.control(count)]


def handlers_table(measured: list[handlers.Handlers]) -> str:
    """What of a call is Python, and why it is that much."""
    return table(
        ["the handlers of a call alone", "one message after the other", f"{handlers.PAUSE * 1e3:g} ms apart"],
        [[one.name, f"{one.in_a_row * 1e6:.0f} µs", f"{one.apart * 1e6:.0f} µs"] for one in measured],
    )


def capacities_table(measured: list[scale.Capacity]) -> str:
    """Throughput by workers."""
    return table(
        ["", "workers", "calls per second", f"CPU per call at {scale.COMPARED} a second", "setup p99 at half of it"],
        [
            [
                f"({one.configuration})", str(one.workers), str(one.rate),
                f"{one.cpu * 1e3:.3f} ms" if one.cpu else "not reached", f"{one.setup_p99 * 1e3:.1f} ms",
            ]
            for one in measured
        ],
    )  # fmt: skip


def first_calls_table(measured: list[scale.First], after: str = "a start") -> str:
    """Setup of the first call after a start, or after something else."""
    return table(
        [f"the first call after {after}", "starts", "median", "worst"],
        [
            [f"({one.configuration})", str(one.starts), f"{one.median * 1e3:.1f} ms", f"{one.worst * 1e3:.1f} ms"]
            for one in measured
        ],
    )


def trunks_table(measured: list[scale.Trunks]) -> str:
    """What other trunks cost a call."""
    return table(
        ["other trunks", "CPU per call", "setup p50 / p99"],
        [
            [f"{one.trunks:,}", f"{one.cpu * 1e3:.3f} ms", f"{one.setup_p50 * 1e3:.1f} / {one.setup_p99 * 1e3:.1f} ms"]
            for one in measured
        ],
    )


def memory_table(measured: list[scale.Growth]) -> str:
    """A worker's memory by calls."""
    (growth,) = measured
    verdict = report.verdict(growth.bytes, scale.MOST_GROWTH)
    return table(
        ["private memory of the worker that grew most", "", "target"],
        [
            [f"after {growth.few:,} calls", f"{growth.private_before / MEBIBYTE:.2f} MiB", ""],
            [f"after {growth.many:,} calls", f"{growth.private_after / MEBIBYTE:.2f} MiB", ""],
            ["growth", f"{growth.bytes / MEBIBYTE:.2f} MiB", f"≤ {scale.MOST_GROWTH / MEBIBYTE:g} MiB {verdict}"],
            ["shared with the others", f"{growth.shared_after / MEBIBYTE:.0f} MiB", ""],
            ["calls lost", str(growth.lost), ""],
        ],
    )


def lookups_table(measured: list[replica.Lookup]) -> str:
    """What a worker's look-up costs, by the size of the table."""
    return table(
        ["rows", "look-up, kept", "look-up, in the file", "worker's memory"],
        [
            [f"{one.rows:,}", f"{one.hit * 1e6:.1f} µs", f"{one.miss * 1e6:.0f} µs", megabytes(one.worker_memory)]
            for one in measured
        ],
    )


def first_sync_table(measured: list[replica.Sync]) -> str:
    """What the first copy of a server's table costs."""
    return table(
        ["first whole sync", "rows", "time", "peak memory"],
        [[one.server, f"{one.rows:,}", f"{one.seconds:.1f} s", megabytes(one.peak_memory)] for one in measured],
    )


def delay_table(measured: list[replica.Delay]) -> str:
    """How fresh the copy is."""
    return table(
        ["COMMIT to use", "median", "worst"],
        [[f"{one.commits} times", f"{one.median:.2f} s", f"{one.worst:.2f} s"] for one in measured],
    )


def setup_table(measured: list[syncs.Setup]) -> str:
    """What a call notices of a sync."""
    quiet, syncing = measured
    lines = [[one.name, f"{one.calls}", f"{one.median * 1e3:.2f} ms", f"{one.worst * 1e3:.0f} ms"] for one in measured]
    ratio = ["ratio", "", f"{syncing.median / quiet.median:.3f}", ""]
    return table(["call setup", "calls", "median", "worst"], [*lines, ratio])


def megabytes(size: int) -> str:
    return f"{size / MEBIBYTE:.0f} MiB"


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that it works; the figures mean nothing")
    parser.add_argument("--rounds", type=int, help="of the configurations for calls")
    parser.add_argument("--rows", type=int, help="of the first whole sync")
    parser.add_argument("--silence", type=float, help="measure the first call after so many seconds, and nothing else")
    asked = parser.parse_args()
    size = QUICK if asked.quick else WHOLE
    size = replace(size, rounds=asked.rounds or size.rounds, rows=asked.rows or size.rows)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for text in measure_silence(asked.silence) if asked.silence else measure(size):
            print(text, end="\n\n", flush=True)
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
