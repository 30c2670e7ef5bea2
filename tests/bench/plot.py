"""The picture of `make bench`: CPU time per call and setup time, by configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.bench.calls import CONFIGURATIONS, Run
from tests.bench.report import Figures, machine

INK, FAINT = "#1f2933", "#cbd2d9"
NATIVE, PACKAGE, SCRIPT = ("#9fb3c8", "#627d98"), ("#8ec6a8", "#2f855a"), ("#e6c79c", "#b7791f")  # near, far
LINE_NAMES = {"near": "carrier on loopback", "far": "carrier 40 ms away"}
BAR = 0.36
SHIFTS = {"near": -BAR / 2, "far": BAR / 2}


def draw(figures: Figures, path: Path) -> None:
    """Write the picture as PNG. Bars are medians over the rounds, dots the rounds."""
    picture = Figure(figsize=(12.6, 5.4), dpi=160, facecolor="white", layout="constrained")
    FigureCanvasAgg(picture)
    cpu, setup = picture.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    _bars(cpu, figures, "cpu", lambda value: f"{value:.2f}")
    cpu.set_title("CPU time of Kamailio per call, median, ms", loc="left", color=INK, fontweight="bold", pad=18)
    _bars(setup, figures, "setup_p50", lambda value: f"{value:.1f}")
    setup.set_title("INVITE to 200, median, ms", loc="left", color=INK, fontweight="bold", pad=18)
    for trips in (1, 2):
        _round_trips(setup, trips, figures.round_trip * trips * 1e3)
    cpu.set_yticks(range(len(CONFIGURATIONS)), [f"{one.name}   {one.letter}" for one in CONFIGURATIONS])
    cpu.invert_yaxis()
    about = machine()
    picture.supxlabel(
        f"upper bar: {LINE_NAMES['near']}; lower bar: {LINE_NAMES['far']}; dots: rounds ({len(figures.rounds)}), "
        f"each {figures.load.calls:,} calls at {figures.load.rate} a second\n"
        "blue: Kamailio's own language; green: this package; brown: bare Python; "
        f"Kamailio {about['kamailio']}, {about['cpus']} CPUs, {about['cpu']}",
        fontsize=8.5, color=INK,
    )  # fmt: skip
    picture.savefig(path)


def _bars(axes: Axes, figures: Figures, figure: str, label: Callable[[float], str]) -> None:
    """Two bars for each configuration, near above far, with the rounds as dots; seconds become milliseconds."""
    most = max(_values(runs, figure)[-1] for runs in figures_by_bar(figures).values())
    for (row, line), runs in figures_by_bar(figures).items():
        values = _values(runs, figure)
        median = figures.median(CONFIGURATIONS[row].letter, line, figure) * 1e3
        one = CONFIGURATIONS[row]
        colours = PACKAGE if one.preemptive else SCRIPT if one.script else NATIVE
        height = row + SHIFTS[line]
        axes.barh(height, median, BAR * 0.92, color=colours[line == "far"])
        axes.plot(values, [height] * len(values), "o", markersize=3, color=INK, alpha=0.55, markeredgewidth=0)
        axes.text(values[-1] + most * 0.015, height, label(median), va="center", fontsize=8.5, color=INK)
    axes.set_xlim(0, most * 1.12)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)


def figures_by_bar(figures: Figures) -> dict[tuple[int, str], list[Run]]:
    """Row of the configuration and line -> its runs."""
    return {(row, line): figures.of(one.letter, line) for row, one in enumerate(CONFIGURATIONS) for line in SHIFTS}


def _values(runs: list[Run], figure: str) -> list[float]:
    """In milliseconds, in order."""
    return sorted(getattr(run, figure) * 1e3 for run in runs)


def _round_trips(axes: Axes, trips: int, at: float) -> None:
    axes.axvline(at, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.6)
    axes.text(
        at,
        -0.62,
        f" {trips} round trip{'s'[: trips - 1]}",
        fontsize=8.5,
        color=INK,
        ha="right" if trips > 1 else "left",
    )
