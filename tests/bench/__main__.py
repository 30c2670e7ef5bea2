"""`python -m tests.bench [--quick] [--rounds N] [--rows N]` measures, and prints what came out as Markdown: what a call
costs here and natively, how far this package scales, and what its copy of a database costs. Figures are of the machine
that it runs on, and mean something on one that is otherwise idle; ratios hold on a noisier one too, because the
configurations are taken in turn.

Files: var/bench/bench.png and var/bench/bench.json. --quick shows that all of it works, in about a minute; its figures
mean nothing.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from tqdm import tqdm

from tests.bench import calls, handlers, replica, report, scale, syncs
from tests.bench.report import MEBIBYTE, Figures, table
from tests.bench.sipp import BenchError, Load


@dataclass(frozen=True)
class Size:
    """How much is measured. rows: of the first whole sync; sizes: of the tables looked up in, in rows."""

    rounds: int
    warm_up: Load
    load: Load
    rows: int
    sizes: tuple[int, ...] = replica.SIZES
    commits: int = replica.COMMITS
    sync_calls: int = syncs.CALLS
    sync_rows: int = syncs.CHANGED
    handler_calls: int = handlers.CALLS
    scales: bool = True


WHOLE = Size(rounds=5, warm_up=Load(350, 500), load=Load(350, 2100), rows=1_000_000)
QUICK = Size(
    rounds=1, warm_up=Load(200, 100), load=Load(200, 200), rows=1000,
    sizes=(10,), commits=3, sync_calls=20, sync_rows=1000, handler_calls=20, scales=False,
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


def handlers_table(measured: list[handlers.Handlers]) -> str:
    """The table that says what of a call is Python, and why it is that much."""
    return table(
        ["the handlers of a call alone", "one message after the other", f"{handlers.PAUSE * 1e3:g} ms apart"],
        [[one.name, f"{one.in_a_row * 1e6:.0f} µs", f"{one.apart * 1e6:.0f} µs"] for one in measured],
    )


def measure_scale() -> tuple[list[scale.Capacity], scale.Growth]:
    """Throughput by workers, memory by calls. Raises BenchError."""
    steps = tqdm(scale.capacities(), desc="capacity", total=len(scale.COUNTS))
    return list(steps), scale.growth()


def scale_tables(capacities: list[scale.Capacity], growth: scale.Growth) -> list[str]:
    throughput = table(
        ["workers", *(str(one.workers) for one in capacities)],
        [
            ["calls per second", *(str(one.rate) for one in capacities)],
            [
                f"CPU per call at {scale.COMPARED} a second",
                *(f"{one.cpu * 1e3:.3f} ms" if one.cpu else "not reached" for one in capacities),
            ],
        ],
    )
    verdict = report.verdict(growth.bytes, scale.MOST_GROWTH)
    memory = table(
        ["private memory of the worker that grew most", "", "target"],
        [
            [f"after {growth.few:,} calls", f"{growth.private_before / MEBIBYTE:.2f} MiB", ""],
            [f"after {growth.many:,} calls", f"{growth.private_after / MEBIBYTE:.2f} MiB", ""],
            ["growth", f"{growth.bytes / MEBIBYTE:.2f} MiB", f"≤ {scale.MOST_GROWTH / MEBIBYTE:g} MiB {verdict}"],
            ["shared with the others", f"{growth.shared_after / MEBIBYTE:.0f} MiB", ""],
            ["calls lost", str(growth.lost), ""],
        ],
    )
    return [throughput, memory]


def replica_tables(size: Size) -> Iterator[str]:
    """The tables about the local copy."""
    yield table(
        ["rows", "look-up, kept", "look-up, in the file", "worker's memory"],
        [
            [f"{one.rows:,}", f"{one.hit * 1e6:.1f} µs", f"{one.miss * 1e6:.0f} µs", megabytes(one.worker_memory)]
            for one in replica.lookups(size.sizes)
        ],
    )
    yield table(
        ["first whole sync", "rows", "time", "peak memory"],
        [
            [one.server, f"{one.rows:,}", f"{one.seconds:.1f} s", megabytes(one.peak_memory)]
            for one in replica.first_sync(size.rows)
        ],
    )
    delay = replica.delay_from_commit(size.commits)
    yield table(
        ["COMMIT to use", "median", "worst"],
        [[f"{size.commits} times", f"{delay.median:.2f} s", f"{delay.worst:.2f} s"]],
    )


def sync_table(size: Size) -> str:
    """The table about calls while a sync runs."""
    setup = syncs.setup_during_syncs(size.sync_calls, size.sync_rows)
    lines = [
        [name, f"{len(times)}", f"{statistics.median(times) * 1000:.2f} ms", f"{max(times) * 1000:.0f} ms"]
        for name, times in (("quiet", setup.quiet), (f"{size.sync_rows:,} rows are copied", setup.syncing))
    ]
    return table(["call setup", "calls", "median", "worst"], [*lines, ["ratio", "", f"{setup.ratio:.3f}", ""]])


def megabytes(size: int) -> str:
    return f"{size / MEBIBYTE:.0f} MiB"


def measure(size: Size) -> Iterator[str]:
    """Measure one thing after the other, each table as soon as it is there. Raises BenchError."""
    from tests.bench import plot  # not above: processes whose memory is measured import this file (multiprocessing)

    about = report.machine()
    yield f"{about['cpus']} CPUs, {about['cpu']}, Kamailio {about['kamailio']}, Python {about['python']}"
    figures = measure_calls(size)
    plot.draw(figures, report.output() / "bench.png")
    yield report.calls_table(figures)
    yield report.targets_table(figures)
    if figures.lost:
        yield f"NOT VALID: {figures.lost} calls were lost."
    alone = [handlers.measure(letter, size.handler_calls) for letter in handlers.CONFIGURATIONS]
    alone.append(handlers.control(size.handler_calls))
    yield handlers_table(alone)
    more: dict[str, object] = {"handlers": [asdict(one) for one in alone]}
    report.write(report.output() / "bench.json", figures, **more)
    if size.scales:
        capacities, growth = measure_scale()
        more |= {"capacities": [asdict(one) for one in capacities], "memory": asdict(growth)}
        report.write(report.output() / "bench.json", figures, **more)
        yield from scale_tables(capacities, growth)
    yield from replica_tables(size)
    yield sync_table(size)


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="show that it works; the figures mean nothing")
    parser.add_argument("--rounds", type=int, help="of the configurations for calls")
    parser.add_argument("--rows", type=int, help="of the first whole sync")
    asked = parser.parse_args()
    size = QUICK if asked.quick else WHOLE
    size = replace(size, rounds=asked.rounds or size.rounds, rows=asked.rows or size.rows)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for text in measure(size):
            print(text, end="\n\n", flush=True)
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
