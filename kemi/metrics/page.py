"""The page that Prometheus reads: what is known becomes metrics, named as its conventions have it.

The library writes the text. What is counted stands in counts.py; what is asked for once a scrape, in process.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kemi.health.memory import Memory
from kemi.metrics import counts
from kemi.outcome import ENDS

PREFIX = "kemi_trunkauth_"
KIB = 1024


class Row(NamedTuple):
    """A trunk as its rows are. is_up: calls are sent over it. registered: None if it is not to be registered. calls:
    those that are up, None if it has no limit, which are not counted then.
    """

    trunk: str
    is_enabled: bool = True
    is_up: bool = True
    max_calls: int = 0
    max_cps: int = 0
    calls: int | None = None
    registered: bool | None = None


class Facts(NamedTuple):
    """What the page shows.

    totals: of counts.py. dialogs: by their state. copy_age: seconds, None without a copy. left_out: rows with faults,
    by table. build: its labels.
    """

    totals: Mapping[str, Sequence[int]]
    rows: Sequence[Row]
    dialogs: Mapping[str, int]
    memory: Memory | None
    copy_age: float | None
    left_out: Mapping[str, int]
    build: Mapping[str, str]


def page(facts: Facts) -> bytes:
    """Return the page in Prometheus' text format."""
    return generate_latest(_Collector(facts))


class _Collector(Collector):
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from _counted(self._facts.totals)
        yield from _of_trunks(self._facts.rows)
        yield from _of_the_node(self._facts)


def _counted(totals: Mapping[str, Sequence[int]]) -> Iterator[Metric]:
    """Yield what rises. A challenge of a kind that never came has no line."""
    calls = _counter("calls", "Calls by how they ended.", "trunk", "outcome")
    inbound = _counter("inbound_calls", "Calls of carriers by how they ended.", "trunk", "outcome")
    attempts = _counter("attempts", "Places tried for calls, by the class of their last word.", "trunk", "status")
    challenges = _counter("challenges", "Digest challenges of carriers.", "trunk", "algorithm", "result")
    preemptive = _counter(
        "preemptive_responses", "Requests outside a dialog with preemptive credentials.", "trunk", "result"
    )
    setup = HistogramMetricFamily(
        f"{PREFIX}setup_seconds", "Time from a call's INVITE to its answer.", labels=["trunk"]
    )
    for trunk, numbers in totals.items():
        for place, end in enumerate(ENDS, counts.CALLS):
            calls.add_metric([trunk, end], numbers[place])
        for place, end in enumerate(ENDS, counts.INBOUND):
            inbound.add_metric([trunk, end], numbers[place])
        for place, status in enumerate(counts.CLASSES, counts.ATTEMPTS):
            attempts.add_metric([trunk, status], numbers[place])
        for place, challenge in enumerate(counts.CHALLENGES, counts.CHALLENGED):
            if numbers[place]:
                challenges.add_metric([trunk, *challenge], numbers[place])
        preemptive.add_metric([trunk, "accepted"], numbers[counts.ACCEPTED])
        preemptive.add_metric([trunk, "rejected"], numbers[counts.TURNED_DOWN])
        setup.add_metric([trunk], _buckets(numbers), numbers[counts.SETUP_SUM] / 1000)
    yield from (calls, inbound, attempts, challenges, preemptive, setup)


def _buckets(numbers: Sequence[int]) -> list[tuple[str, float]]:
    buckets, total = [], 0
    for place, bound in enumerate([*map(str, counts.BOUNDS), "+Inf"], counts.SETUPS):
        total += numbers[place]
        buckets.append((bound, float(total)))
    return buckets


def _of_trunks(rows: Sequence[Row]) -> Iterator[Metric]:
    """Yield what a trunk is like now. One that its DBA has disabled is neither up nor down."""
    is_up = _gauge("trunk_up", "1 if calls are sent over the trunk, 0 if it is down or its row unusable.", "trunk")
    registered = _gauge("registered", "1 if the trunk is registered, 0 if it should be.", "trunk")
    calls = _gauge("calls_up", "Calls that are up on a trunk with a limit.", "trunk")
    max_calls = _gauge("max_calls", "Calls that may be up on a trunk with a limit.", "trunk")
    max_cps = _gauge("max_calls_per_second", "New calls a second that a trunk with a limit takes.", "trunk")
    for row in rows:
        if row.is_enabled:
            is_up.add_metric([row.trunk], row.is_up)
        if row.registered is not None:
            registered.add_metric([row.trunk], row.registered)
        if row.calls is not None:
            calls.add_metric([row.trunk], row.calls)
        if row.max_calls:
            max_calls.add_metric([row.trunk], row.max_calls)
        if row.max_cps:
            max_cps.add_metric([row.trunk], row.max_cps)
    yield from (is_up, registered, calls, max_calls, max_cps)


def _of_the_node(facts: Facts) -> Iterator[Metric]:
    if facts.copy_age is not None:
        age = _gauge("copy_age_seconds", "Time since the copy was last known to equal the database.")
        age.add_metric([], facts.copy_age)
        yield age
    left_out = _gauge("rows_left_out", "Rows of the database that cannot be used.", "table")
    for table, number in facts.left_out.items():
        left_out.add_metric([table], number)
    dialogs = _gauge("dialogs", "Calls on this node, by the state of their dialog.", "state")
    for state, number in facts.dialogs.items():
        dialogs.add_metric([state], number)
    yield from (left_out, dialogs)
    if facts.memory:
        size = _gauge("shared_memory_bytes", "Kamailio's shared memory.")
        size.add_metric([], KIB * facts.memory.total)
        free = _gauge("shared_memory_free_bytes", "What is free of it.")
        free.add_metric([], KIB * facts.memory.free)
        yield from (size, free)
    build = _gauge("build_info", "1; the versions are the labels.", *facts.build)
    build.add_metric(list(facts.build.values()), 1)
    yield build


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"{PREFIX}{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, labels=labels)
