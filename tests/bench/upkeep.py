"""Many calls up at once over this package, with the settings as they come: none is lost, and what memory they take."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.bench.calls import PACKAGE, Proxy, running
from tests.bench.sipp import BenchError, Load

RATE = 500  # calls per second, unless told
ALL_UP = 10.0  # seconds that all of them are up together
LONGEST = 540.0  # seconds that a call may last: SIPp has no answer to the keepalive after 600
LOOKS_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Held:
    """up: the most calls that Kamailio had at once. memory, total: bytes of shared memory, the most that were used and
    all there are. idle: those used before the first call.
    """

    calls: int
    rate: int
    up: int
    lost: int
    retransmissions: int
    idle: int
    memory: int
    total: int

    @property
    def per_call(self) -> float:
        """Bytes of shared memory for each call, its transactions included."""
        return (self.memory - self.idle) / self.calls


@dataclass
class _Counter:
    """Counts the dialogs that are confirmed, now and then, while the block runs."""

    proxy: Proxy
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def count(self) -> None:
        while not self.over.wait(LOOKS_EVERY):
            self.most = max(self.most, _number("ongoing", self.proxy.rpc("dlg.stats_active")))


def hold(calls: int, rate: int = RATE, all_up: float = ALL_UP) -> Held:
    """Place so many calls, each of which ends only once all are up. Raises BenchError."""
    load = Load(rate, calls, talk=calls / rate + all_up)
    if load.talk > LONGEST:
        raise BenchError(f"{calls} calls at {rate} a second would last {load.talk:.0f} s: choose a higher RATE")
    with running(PACKAGE, "near") as proxy:
        idle = _memory(proxy, "real_used")
        with _counting(proxy) as counter:
            seen = proxy.place(load)
        memory, total = _memory(proxy, "max_used"), _memory(proxy, "total")
        proxy.check_log()
    return Held(calls, rate, counter.most, seen.lost, seen.counts.retransmissions, idle, memory, total)


@contextlib.contextmanager
def _counting(proxy: Proxy) -> Iterator[_Counter]:
    counter = _Counter(proxy)
    thread = threading.Thread(target=counter.count)
    thread.start()
    try:
        yield counter
    finally:
        counter.over.set()
        thread.join()


def _memory(proxy: Proxy, name: str) -> int:
    return _number(name, proxy.rpc("core.shmmem", "k")) * 1024


def _number(name: str, answer: str) -> int:
    found = re.search(rf"\b{name}: (\d+)", answer)
    if not found:
        raise BenchError(f"no {name} in {answer!r}")
    return int(found[1])
