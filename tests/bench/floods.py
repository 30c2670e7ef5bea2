"""`python -m tests.bench.floods` measures what a flood costs: INVITEs from a source that is not listed, while a listed
one places calls. The gate that ships (the route core:pre-routing in kamailio.cfg) and others that it could have been
take turns.

The flood is sent in quiet too, to a socket that nobody reads: its sender takes the same processor time then.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.sharedctypes
import multiprocessing.synchronize
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lab.programs import wait_for
from tests.bench import report
from tests.bench.calls import PACKAGE, Proxy, quantiles, running
from tests.bench.sipp import BenchError, Calls, Load
from tests.harness import raw
from tests.harness.database import Database
from tests.harness.endpoint import Address
from tests.harness.machine import PROJECT

STRANGER = "127.0.0.2"
RATE = 5000
SECONDS = 10.0
CALLS = 100  # a second
LISTED_WITHIN = 5.0
PACE = 0.002  # seconds between two of its bursts
SLOWEST = 10.0  # times as long as it should take, on a busy machine
MOST_TIMES_P99 = 2.0  # of the quiet one

ROUTE = "event_route[core:pre-routing]"
LISTED = 'if (is_reply() || allow_source_address("1")) return;'
SHIPS = "htable, as it ships"
GATES = {
    "none: Python answers 403": "",
    "Python's first lines: no answer": "",
    SHIPS: None,
    "pike": f"{ROUTE} {{ {LISTED} if (!pike_check_req()) drop; }}",
    "permissions alone: no answer": f"{ROUTE} {{ {LISTED} drop; }}",
}
SCRIPTS = {"Python's first lines: no answer": "silent.py"}


@dataclass(frozen=True)
class Flood:
    """What one gate made of it. dropped: seconds of Kamailio's processor time for each request of the flood.
    p50, p99: seconds from INVITE to 200 of the listed source's calls.
    """

    gate: str
    sent: int
    dropped: float
    quiet_p50: float
    quiet_p99: float
    p50: float
    p99: float
    lost: int

    @property
    def times_p99(self) -> float:
        return self.p99 / self.quiet_p99


def measure(gate: str, rate: int = RATE, seconds: float = SECONDS) -> Flood:
    """One gate: calls in quiet, then under the flood. Raises BenchError."""
    load = Load(CALLS, round(CALLS * seconds))
    configuration = replace(PACKAGE, script=SCRIPTS.get(gate, ""), preemptive="" if gate in SCRIPTS else "auto")
    with running(configuration, "near", workers=1, config=config(gate)) as proxy:
        _list_this_source_alone(proxy)
        host, _, port = proxy.address.partition(":")
        target = host, int(port)
        proxy.place(Load(CALLS, CALLS))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind((STRANGER, 0))
            idle, _ = _cpu(proxy, nobody.getsockname(), rate, seconds)
            quiet = _placed(proxy, load, nobody.getsockname(), rate)
        busy, sent = _cpu(proxy, target, rate, seconds)
        flooded = _placed(proxy, load, target, rate)
        proxy.check_running()
    dropped, lost = (busy - idle) / sent, quiet.lost + flooded.lost
    return Flood(gate, sent, dropped, *quantiles(quiet.setup), *quantiles(flooded.setup), lost)


def config(gate: str) -> str:
    """kamailio.cfg with this gate; its own one stands at its end."""
    text, route = (PROJECT / "kamailio" / "kamailio.cfg").read_text(), GATES[gate]
    text = text.replace('include_file "', f'include_file "{PROJECT}/kamailio/')
    if route is None:
        return text
    own = text.index(ROUTE)
    pike = (
        'loadmodule "pike.so"\nmodparam("pike", "reqs_density_per_unit", 20)\nmodparam("pike", "pike_log_level", 4)\n'
    )
    return text[:own] + (pike if "pike" in route else "") + route + "\n"


def _cpu(proxy: Proxy, target: Address, rate: int, seconds: float) -> tuple[float, int]:
    """Flood this target, and place no calls. Return Kamailio's processor time, and how much was sent."""
    with _flooding(target, rate) as sent:
        before, already = proxy.cpu_seconds(), sent.value
        whole = already + int(rate * seconds)
        if not wait_for(lambda: sent.value >= whole, SLOWEST * seconds):
            raise BenchError(f"of {whole} requests of the flood {sent.value} were sent")
        return proxy.cpu_seconds() - before, sent.value - already


def _placed(proxy: Proxy, load: Load, target: Address, rate: int) -> Calls:
    """Place calls while this target is flooded."""
    with _flooding(target, rate):
        return proxy.place(load)


@contextlib.contextmanager
def _flooding(target: Address, rate: int) -> Iterator[multiprocessing.sharedctypes.Synchronized[int]]:
    """Flood in a process of its own until the block ends. Yields the number of requests sent."""
    sent, is_over = multiprocessing.Value("i", 0), multiprocessing.Event()
    process = multiprocessing.Process(target=_flood, args=(target, rate, sent, is_over), daemon=True)
    process.start()
    try:
        yield sent
    finally:
        is_over.set()
        process.join()


def _flood(
    target: Address,
    rate: int,
    sent: multiprocessing.sharedctypes.Synchronized[int],
    is_over: multiprocessing.synchronize.Event,
) -> None:
    with raw.udp(target, STRANGER) as sock:
        requests = [raw.request(sock) for _ in range(1000)]
        start, number = time.monotonic(), 0
        while not is_over.wait(PACE):
            due = (time.monotonic() - start) * rate
            while number < due:
                with contextlib.suppress(OSError):
                    sock.send(requests[number % len(requests)])
                number += 1
            sent.value = number


def _list_this_source_alone(proxy: Proxy) -> None:
    """Take the other addresses of this machine off the list, and wait until Kamailio goes by that."""
    Database(proxy.folder / "state/trunkauth.sqlite").list_callers(("127.0.0.1",))
    host, _, port = proxy.address.partition(":")
    ends = time.monotonic() + LISTED_WITHIN
    with raw.udp((host, int(port)), STRANGER, seconds=0.1) as sock:
        while time.monotonic() < ends:
            sock.send(raw.request(sock, "MESSAGE"))
            try:
                if raw.status(sock.recv(65535)) == 403:
                    return
            except TimeoutError:
                return
    raise BenchError(f"{STRANGER} is still listed")


def floods_table(measured: list[Flood]) -> str:
    """What each gate costs, and what calls notice of it."""
    head = ["the gate", "CPU for each request of the flood", "p50 / p99 in quiet", "in the flood", "p99, times", "lost"]
    return report.table(
        head,
        [
            [
                one.gate,
                f"{one.dropped * 1e6:.1f} µs",
                f"{one.quiet_p50 * 1e3:.2f} / {one.quiet_p99 * 1e3:.2f} ms",
                f"{one.p50 * 1e3:.2f} / {one.p99 * 1e3:.2f} ms",
                f"{one.times_p99:.2f}",
                str(one.lost),
            ]
            for one in measured
        ],
    )


def verdict(measured: list[Flood]) -> tuple[str, bool]:
    """Say whether a listed source's calls go on as they should behind the gate that ships, and return True if so."""
    ours = next(one for one in measured if one.gate == SHIPS)
    holds = ours.times_p99 <= MOST_TIMES_P99 and not ours.lost
    said = "held" if holds else "NOT HELD"
    return f"{said}: p99 within {MOST_TIMES_P99:g} times that in quiet, and no call lost, behind {SHIPS}", holds


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE, help="requests a second of the flood")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of calls for each gate, in quiet and in the flood"
    )
    asked = parser.parse_args(argv)
    measured = [measure(gate, asked.rate, asked.seconds) for gate in GATES]
    said, holds = verdict(measured)
    print(floods_table(measured), said, sep="\n\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
