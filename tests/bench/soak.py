"""`python -m tests.bench.soak [--minutes M] [--rate R]`: this package under a steady load for long. Every call counts:
one that is lost makes the exit status 1. Without a rate it measures its capacity first, and takes half of it.
`--up N` is another test: N calls are up at once (upkeep.py). So is `--failover N`: N calls over two trunks, the first
of whose carriers goes up and down (swing.py).

Figures go to var/bench/soak.json as well, in seconds, calls, messages and bytes.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict, dataclass

from tqdm import tqdm

from tests.bench import scale, swing, upkeep
from tests.bench.calls import PACKAGE, running
from tests.bench.report import MEBIBYTE, machine, output
from tests.bench.sipp import BenchError, Load

WARM_UP = 5.0  # seconds
MINUTE = 60.0


@dataclass(frozen=True)
class Soak:
    """cpu_first, cpu_last: seconds of all Kamailio processes per call, in the first and in the last minute.
    growth: bytes of private memory that the worst worker gained.
    """

    minutes: float
    rate: int
    calls: int
    lost: int
    retransmissions: int
    cpu_first: float
    cpu_last: float
    growth: int


def soak(minutes: float, rate: int) -> Soak:
    """Place calls at this rate for so long, and say how it went. Raises BenchError."""
    lengths = [MINUTE] * int(minutes) + [MINUTE * (minutes % 1)] * bool(minutes % 1)
    lost = retransmissions = calls = 0
    cpu = []
    with running(PACKAGE, "near") as proxy:
        lost += proxy.place(Load(rate, round(rate * WARM_UP))).lost
        before = scale.memory(proxy)
        with tqdm(total=round(sum(lengths)), unit="s", desc=f"{rate} calls/s") as progress:
            for seconds in lengths:
                load = Load(rate, max(round(rate * seconds), 1))
                used = proxy.cpu_seconds()
                seen = proxy.place(load)
                cpu.append((proxy.cpu_seconds() - used) / load.calls)
                calls += load.calls
                lost += seen.lost
                retransmissions += seen.counts.retransmissions
                progress.update(round(seconds))
                progress.set_postfix(lost=lost)
        after = scale.memory(proxy)
        proxy.check_log()
    worst = scale.worst_worker(before, after)
    growth = after[worst].private - before[worst].private
    return Soak(minutes, rate, calls, lost, retransmissions, cpu[0], cpu[-1], growth)


def half_of_capacity() -> int:
    """Calls per second. Raises BenchError."""
    found = scale.capacity()
    if not found.rate:
        raise BenchError(f"not even {scale.RATES[0]} calls a second are carried")
    return found.rate // 2


def told(held: upkeep.Held) -> int:
    """Print how it went and return the exit status: 0 if all calls were up at once, and none was lost."""
    (output() / "up.json").write_text(json.dumps({"machine": machine(), **asdict(held)}, indent=1) + "\n")
    print(
        f"{held.calls:,} calls at {held.rate} a second: {held.up:,} up at once, {held.lost} lost, "
        f"{held.retransmissions} messages sent again; {held.memory / MEBIBYTE:.0f} of {held.total / MEBIBYTE:.0f} MiB "
        f"of shared memory used, {held.per_call / 1024:.2f} KiB a call, {held.idle / MEBIBYTE:.1f} MiB before"
    )
    return 1 if held.lost or held.up < held.calls else 0


def told_of_failover(seen: swing.Swing) -> int:
    """Print how it went and return the exit status: 0 if every call was answered, and the carrier was gone for some."""
    (output() / "failover.json").write_text(json.dumps({"machine": machine(), **asdict(seen)}, indent=1) + "\n")
    print(
        f"{seen.calls:,} calls at {seen.rate} a second, while the first of two carriers went away {seen.downs} times: "
        f"{seen.unanswered} were not answered, {seen.dropped} were and then lost it, {seen.taken} were all its own"
    )
    return 1 if seen.unanswered or not seen.downs else 0


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=0, help="calls per second; default: half of the capacity")
    parser.add_argument("--up", type=int, default=0, help="hold so many calls at once instead")
    parser.add_argument("--failover", type=int, default=0, help="place so many calls, and have a carrier go, instead")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if asked.up:
            return told(upkeep.hold(asked.up, asked.rate or upkeep.RATE))
        if asked.failover:
            return told_of_failover(swing.swing(asked.failover, asked.rate or swing.RATE))
        done = soak(asked.minutes, asked.rate or half_of_capacity())
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    (output() / "soak.json").write_text(json.dumps({"machine": machine(), **asdict(done)}, indent=1) + "\n")
    print(
        f"{done.calls:,} calls in {done.minutes:g} minutes at {done.rate} a second: {done.lost} lost, "
        f"{done.retransmissions} messages sent again; CPU per call {done.cpu_first * 1e3:.3f} ms in the first minute, "
        f"{done.cpu_last * 1e3:.3f} ms in the last; the worst worker grew by {done.growth / MEBIBYTE:.2f} MiB"
    )
    return 1 if done.lost else 0


if __name__ == "__main__":
    sys.exit(main())
