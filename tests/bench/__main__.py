"""`python -m tests.bench [--rows N]` measures, and prints what came out as Markdown. Figures are of the machine that it
runs on, and mean something on one that is otherwise idle.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys

from tests.bench import bench_calls, bench_replica
from tests.bench.bench_replica import MEBIBYTE


def table(head: list[str], lines: list[list[str]]) -> str:
    """Lines in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def replica_tables(rows: int) -> list[str]:
    """The tables about the local copy."""
    lookups = table(
        ["rows", "look-up, kept", "look-up, in the file", "worker's memory"],
        [
            [f"{one.rows:,}", f"{one.hit * 1e6:.1f} µs", f"{one.miss * 1e6:.0f} µs", megabytes(one.worker_memory)]
            for one in bench_replica.lookups()
        ],
    )
    syncs = table(
        ["first whole sync", "rows", "time", "peak memory"],
        [
            [one.server, f"{one.rows:,}", f"{one.seconds:.1f} s", megabytes(one.peak_memory)]
            for one in bench_replica.first_sync(rows)
        ],
    )
    delay = bench_replica.delay_from_commit()
    delays = table(
        ["COMMIT to use", "median", "worst"],
        [[f"{bench_replica.COMMITS} times", f"{delay.median:.2f} s", f"{delay.worst:.2f} s"]],
    )
    return [lookups, syncs, delays]


def call_table() -> str:
    """The table about calls while a sync runs."""
    setup = bench_calls.setup_during_syncs()
    lines = [
        [name, f"{len(times)}", f"{statistics.median(times) * 1000:.2f} ms", f"{max(times) * 1000:.0f} ms"]
        for name, times in (("quiet", setup.quiet), (f"{bench_calls.CHANGED:,} rows are copied", setup.syncing))
    ]
    return table(["call setup", "calls", "median", "worst"], [*lines, ["ratio", "", f"{setup.ratio:.3f}", ""]])


def megabytes(size: int) -> str:
    return f"{size / MEBIBYTE:.0f} MiB"


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the first whole sync")
    rows: int = parser.parse_args().rows
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", end="\n\n")
    print("\n\n".join([*replica_tables(rows), call_table()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
