"""What `make bench` makes of its figures: Markdown tables, and one JSON file with every round's raw ones."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.calls import CONFIGURATIONS, LINES, Run
from tests.bench.sipp import ROUND_TRIP, Load
from tests.harness.machine import PROJECT, native_version

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Target:
    """CPU time per call of one configuration, in that of another one: at most this. None: shown for comparison."""

    of: str
    against: str
    most: float | None = None


@dataclass(frozen=True)
class Distance:
    """Setup time of a configuration with the far carrier, in round trips: at most this. None: shown for comparison."""

    of: str
    most: float | None


RATIOS = (
    Target("e", "b", 1.25), Target("e", "r", 1.10), Target("f", "k", 1.10), Target("f", "b", 1.00),
    Target("e", "c"), Target("k", "a"), Target("r", "b"), Target("f", "e"),
    Target("s", "r"), Target("t", "k"), Target("e", "s"), Target("f", "t"),
)  # fmt: skip
DISTANCES = (Distance("b", None), Distance("e", None), Distance("f", 1.1))


@dataclass
class Figures:
    """All that was measured about calls. round_trips: seconds that the far carrier's distance came to, by round."""

    load: Load
    rounds: list[list[Run]] = field(default_factory=list)
    round_trips: list[float] = field(default_factory=list)

    def of(self, letter: str, line: str) -> list[Run]:
        """A configuration's runs, one of each round."""
        return [run for runs in self.rounds for run in runs if (run.configuration, run.line) == (letter, line)]

    def median(self, letter: str, line: str, figure: str) -> float:
        """The median over the rounds of one of Run's figures."""
        return statistics.median(float(getattr(run, figure)) for run in self.of(letter, line))

    def cpu_ratios(self, target: Target, line: str) -> tuple[float, float, float]:
        """The ratio of medians, and the lowest and the highest ratio within one round."""
        pairs = zip(self.of(target.of, line), self.of(target.against, line), strict=True)
        each = [one.cpu / other.cpu for one, other in pairs]
        return self.median(target.of, line, "cpu") / self.median(target.against, line, "cpu"), min(each), max(each)

    @property
    def round_trip(self) -> float:
        return statistics.median(self.round_trips)

    @property
    def lost(self) -> int:
        return sum(run.lost for runs in self.rounds for run in runs)


def machine() -> dict[str, str | int]:
    """What the figures are of."""
    return {
        "cpu": processes.cpu_model() or platform.machine(),
        "cpus": os.cpu_count() or 0,
        "kamailio": native_version(),
        "python": platform.python_version(),
    }


def table(head: list[str], lines: Iterable[list[str]]) -> str:
    """Lines in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *lines])


def calls_table(figures: Figures) -> str:
    """Medians over the rounds."""
    head = ["", "CPU per call, near", "far", "setup p50 / p99, near", "far", "messages", "sent again", "lost"]
    return table(head, (_line(figures, one.letter, one.name) for one in CONFIGURATIONS))


def _line(figures: Figures, letter: str, name: str) -> list[str]:
    p50, p99, cpu = (
        {line: figures.median(letter, line, figure) * 1e3 for line in LINES}
        for figure in ("setup_p50", "setup_p99", "cpu")
    )
    runs = [run for line in LINES for run in figures.of(letter, line)]
    messages = statistics.median(run.messages for run in runs)
    again, lost = (sum(getattr(run, name) for run in runs) for name in ("retransmissions", "lost"))
    costs = [f"{cpu[line]:.3f} ms" for line in LINES]
    setup = [f"{p50[line]:.1f} / {p99[line]:.1f} ms" for line in LINES]
    return [f"({letter}) {name}", *costs, *setup, f"{messages:.2f}", str(again), str(lost)]


def targets_table(figures: Figures) -> str:
    """Every target with what came of it."""
    head = ["", "target", *LINES]
    ratios = [
        [f"CPU per call, ({one.of}) / ({one.against})", f"≤ {one.most:.2f}" if one.most else ""]
        + [_ratio(*figures.cpu_ratios(one, line), one.most) for line in LINES]
        for one in RATIOS
    ]
    distances = [
        [
            f"setup in round trips of {figures.round_trip * 1e3:.1f} ms, ({one.of})",
            f"≤ {one.most}" if one.most else "",
            "",
            _judged(figures.median(one.of, "far", "setup_p50") / figures.round_trip, "", one.most),
        ]
        for one in DISTANCES
    ]
    return table(head, [*ratios, *distances])


def _ratio(median: float, low: float, high: float, most: float | None) -> str:
    return _judged(median, f" ({low:.2f} to {high:.2f})", most)


def _judged(value: float, spread: str, most: float | None) -> str:
    return f"{value:.2f}{spread} {verdict(value, most)}".rstrip()


def verdict(value: float, most: float | None) -> str:
    """What is printed beside a target, and never asserted."""
    if most is None:
        return ""
    return "met" if value <= most else "missed"


def write(path: Path, figures: Figures, **more: Any) -> None:
    """Everything measured, in seconds, calls, messages and bytes. more: further sections."""
    content = {
        "machine": machine(),
        "load": asdict(figures.load),
        "configurations": {one.letter: one.name for one in CONFIGURATIONS},
        "far": ROUND_TRIP,
        "round_trips": figures.round_trips,
        "runs": [{"round": number, **asdict(run)} for number, runs in enumerate(figures.rounds, 1) for run in runs],
        "cpu_ratios": {
            f"{one.of}/{one.against} {line}": dict(
                zip(("median", "lowest", "highest"), figures.cpu_ratios(one, line), strict=True), target=one.most
            )
            for one in RATIOS
            for line in LINES
        },
        **more,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def output() -> Path:
    """Where files go; git does not look there."""
    folder = PROJECT / "var" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
