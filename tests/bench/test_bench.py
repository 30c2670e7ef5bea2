"""The bench itself: that its figures are of what they say. No test here looks at a time."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import calls, handlers, plot, processes, report, scale, sipp, soak, swing, upkeep
from tests.bench.calls import CONFIGURATIONS, LINES, PACKAGE, RECIPE, Configuration, Proxy, postgresql, running
from tests.bench.report import Figures
from tests.bench.sipp import ROUND_TRIP, BenchError, Calls, Counts, Load
from tests.harness.database import ServerDatabase
from tests.harness.machine import PROJECT, SBIN, native_is_missing

pytestmark = [pytest.mark.skipif(bool(native_is_missing()), reason=native_is_missing()), pytest.mark.long]

# Of one call, on both sides of Kamailio: INVITE 2, 100 1 (to the caller), 200 2, ACK 2, BYE 2, its 200 2.
PLAIN = 2 + 1 + 2 + 2 + 2 + 2
# A challenge adds, on the carrier's side: 401, its ACK, the second INVITE.
CHALLENGED = PLAIN + 3
# Preemptive: once the warm-up has shown a nonce that the carrier accepts, no call is challenged.
MESSAGES = {letter: PLAIN if letter in "afkt" else CHALLENGED for letter in "abcdefkrst"}

FEW = Load(rate=50, calls=5)
WITHIN = 20.0  # seconds
MOST = 64 << 20  # bytes


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Fewer calls still than those of `python -m tests.bench --quick`."""
    few = Load(rate=100, calls=30)
    return bench.measure_calls(replace(bench.QUICK, warm_up=few, load=few))


@pytest.fixture(scope="module")
def server() -> Iterator[ServerDatabase]:
    with postgresql() as running_server:
        yield running_server


def test_every_configuration_was_run_near_and_far(figures: Figures) -> None:
    (runs,) = figures.rounds
    assert [(run.configuration, run.line) for run in runs] == [
        (one.letter, line) for line in LINES for one in CONFIGURATIONS
    ]


def test_configurations_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(calls, "postgresql", contextlib.nullcontext)
    monkeypatch.setattr(calls, "round_trip", lambda load: ROUND_TRIP)
    monkeypatch.setattr(calls, "measure", lambda one, line, *more: taken.append((one.letter, line)))
    bench.measure_calls(replace(bench.QUICK, rounds=3))
    assert taken == [(one.letter, line) for line in LINES for one in CONFIGURATIONS] * 3


def test_no_call_was_lost(figures: Figures) -> None:
    assert {(run.configuration, run.line): run.lost for runs in figures.rounds for run in runs if run.lost} == {}


def test_lost_call_makes_the_bench_fail(
    figures: Figures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((first, *others),) = figures.rounds
    monkeypatch.setattr(
        bench, "measure_calls", lambda size: replace(figures, rounds=[[replace(first, lost=1), *others]])
    )
    monkeypatch.setattr(report, "output", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
    assert bench.main() == 1
    assert "1 calls were lost" in capsys.readouterr().err
    assert json.loads((tmp_path / "bench.json").read_text())["runs"][0]["lost"] == 1


def test_calls_whose_times_are_missing_are_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sipp, "LEAST_TIMED", 1.01)
    with running(PACKAGE, "near") as proxy, pytest.raises(BenchError, match="the times of 5 calls, of 5"):
        proxy.place(FEW)


def test_messages_per_call_are_those_of_the_configuration(figures: Figures) -> None:
    (runs,) = figures.rounds
    assert {run.configuration: run.messages for run in runs if run.line == "near"} == MESSAGES
    assert {run.configuration: run.messages for run in runs if run.line == "far"} == MESSAGES


def test_far_carrier_is_a_round_trip_away_for_each_invite(figures: Figures) -> None:
    """The carrier pauses before each reply to INVITE: no call can be set up faster than its pauses."""
    (runs,) = figures.rounds
    invites = {run.configuration: 1 + (MESSAGES[run.configuration] - PLAIN) / 3 for run in runs}
    tick = 0.004  # seconds by which SIPp's coarse clock may end a pause early
    early = [
        run for run in runs if run.line == "far" and run.setup_p50 < invites[run.configuration] * (ROUND_TRIP - tick)
    ]
    assert early == []


@pytest.mark.parametrize("configuration", [one for one in CONFIGURATIONS if one.challenges], ids=lambda one: one.letter)
def test_carrier_refuses_a_wrong_password(configuration: Configuration, server: ServerDatabase) -> None:
    with running(configuration, "near", server, is_right=False) as proxy:
        assert proxy.place(FEW).lost == FEW.calls


def test_files_hold_every_round_and_nothing_of_the_place(figures: Figures, tmp_path: Path) -> None:
    report.write(tmp_path / "bench.json", figures)
    plot.draw(figures, tmp_path / "bench.png")
    text = (tmp_path / "bench.json").read_text()
    assert len(json.loads(text)["runs"]) == len(CONFIGURATIONS) * len(LINES)
    assert not re.search(rf"{Path.home()}|{PROJECT}|{tempfile.gettempdir()}", text)
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_tables_have_a_line_for_each_configuration_and_target(figures: Figures) -> None:
    assert len(report.calls_table(figures).splitlines()) == 2 + len(CONFIGURATIONS)
    assert len(report.targets_table(figures).splitlines()) == 2 + len(report.RATIOS) + len(report.DISTANCES)


@pytest.mark.parametrize("letter", handlers.CONFIGURATIONS)
def test_handlers_of_a_call_run_without_kamailio(letter: str) -> None:
    """Which of them answered a challenge, and which carried an answer from the start, is looked at in there."""
    measured = handlers.measure(letter, calls=5)
    assert measured.name == f"({letter})"
    assert min(measured.in_a_row, measured.apart) > 0


def test_control_of_the_handlers_is_a_loop() -> None:
    assert min(handlers.control(calls=5).in_a_row, handlers.control(calls=5).apart) > 0


@pytest.mark.parametrize(
    ("lost", "sent_again", "rate", "carried"),
    [(0, 0, 200.0, True), (0, 11, 190.0, True), (1, 0, 200.0, False), (0, 12, 200.0, False), (0, 0, 189.0, False)],
)
def test_rate_is_carried_with_no_call_lost_1_percent_sent_again_and_95_percent_reached(
    lost: int, sent_again: int, rate: float, carried: bool
) -> None:
    load = Load(rate=200, calls=100)
    seen = Calls(
        lost, Counts(load.calls * PLAIN, sent_again), [0.001] * load.calls, rate, load.calls
    )  # 1 % of 1100 is 11
    assert scale.is_carried(seen, load) is carried


def test_ladder_is_climbed_to_the_last_rate_that_is_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "WARM_UP", FEW)
    monkeypatch.setattr(scale, "is_carried", lambda seen, load: seen.lost == 0 and load.rate < 40)
    assert scale.capacity(1, rates=(20, 30, 40, 50), seconds=0.5).rate == 30


def test_calls_after_silence_are_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    silence, seen = 7.0, list[str]()
    sleep, place = time.sleep, Proxy.place

    def noted_sleep(seconds: float) -> None:
        if seconds == silence:
            seen.append("silence")
        else:
            sleep(seconds)

    def noted_place(proxy: Proxy, load: Load) -> Calls:
        seen.append(proxy.kamailio.name)
        return place(proxy, load)

    monkeypatch.setattr(time, "sleep", noted_sleep)
    monkeypatch.setattr(Proxy, "place", noted_place)
    after = scale.calls_after_silence(silence, starts=1)
    assert seen == [RECIPE.name, PACKAGE.name, "silence", RECIPE.name, PACKAGE.name]
    assert [(one.configuration, one.starts) for one in after] == [("b", 1), ("f", 1)]
    assert all(0 < one.median <= one.worst for one in after)


def test_kamailio_that_ends_is_no_end_of_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Proxy.place

    def end_then_place(proxy: Proxy, load: Load) -> Calls:
        if load.rate == 30:
            proxy.kamailio.stop()
            raise BenchError("not seen: the end of the calls")
        return place(proxy, load)

    monkeypatch.setattr(scale, "WARM_UP", FEW)
    monkeypatch.setattr(Proxy, "place", end_then_place)
    with pytest.raises(BenchError, match="Kamailio has ended"):
        scale.capacity(1, rates=(20, 30), seconds=0.5)


def test_processor_time_is_of_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Kamailio starts last as well: it may answer before they are there."""
    counted: list[int] = []
    monkeypatch.setattr(processes, "cpu_seconds", counted.extend)
    with running(PACKAGE, "near") as proxy:
        proxy.place(FEW)
        proxy.cpu_seconds()
        command = ["kamcmd", "-s", f"unixs:{proxy.folder}/state/rpc.sock", "core.ps"]
        listed = subprocess.run(command, env={"PATH": SBIN}, capture_output=True, text=True, check=True).stdout
    assert sorted(counted) == sorted(int(line) for line in listed.splitlines() if line.strip().isdecimal())


def test_memory_is_of_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "PARTS", 2)
    grown = scale.growth(few=20, many=40, rate=100)
    assert grown.lost == 0
    assert grown.private_before > 0


def test_soak_counts_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "WARM_UP", 0.2)
    done = soak.soak(minutes=0.02, rate=50)
    assert (done.calls, done.lost) == (60, 0)  # 0.02 minutes are 1.2 s


def test_calls_that_are_held_are_all_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOKS_EVERY", 0.2)
    held = upkeep.hold(30, rate=30, all_up=4.0)
    assert (held.calls, held.up, held.lost, held.total >> 20) == (30, 30, 0, 511)  # 512 MiB, less the allocator's own
    assert held.idle < held.memory < held.total


@pytest.mark.parametrize(("up", "lost", "exit_status"), [(9, 0, 1), (10, 1, 1), (10, 0, 0)])
def test_held_calls_have_to_be_up_all_at_once_and_to_their_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, up: int, lost: int, exit_status: int
) -> None:
    held = upkeep.Held(10, 50, up, lost, 0, 1, 2, 3)
    monkeypatch.setattr(soak, "output", lambda: tmp_path)
    monkeypatch.setattr(upkeep, "hold", lambda calls, rate: held)
    monkeypatch.setattr(sys, "argv", ["soak", "--up", "10"])
    assert soak.main() == exit_status
    assert json.loads((tmp_path / "up.json").read_text())["up"] == up


def test_calls_that_would_outlast_the_keepalive_are_not_held() -> None:
    with pytest.raises(BenchError, match="choose a higher RATE"):
        upkeep.hold(100_000, rate=100)


def test_no_call_is_lost_while_one_of_two_carriers_goes_up_and_down() -> None:
    seen = swing.swing(1000, rate=80, up=2.0, down=4.0)
    assert seen.unanswered == 0
    assert seen.downs > 1
    assert seen.taken > 0


@pytest.mark.parametrize(("unanswered", "downs", "exit_status"), [(0, 3, 0), (1, 3, 1), (0, 0, 1)])
def test_a_call_that_is_lost_to_a_carrier_that_went_down_makes_it_fail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unanswered: int, downs: int, exit_status: int
) -> None:
    seen = swing.Swing(10, 50, unanswered, dropped=1, taken=5, downs=downs)
    monkeypatch.setattr(soak, "output", lambda: tmp_path)
    monkeypatch.setattr(swing, "swing", lambda calls, rate: seen)
    monkeypatch.setattr(sys, "argv", ["soak", "--failover", "10"])
    assert soak.main() == exit_status
    assert json.loads((tmp_path / "failover.json").read_text())["unanswered"] == unanswered


def test_soak_says_by_its_status_that_calls_were_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lost = soak.Soak(1, 50, 3000, 1, 0, 0.001, 0.001, 0)
    monkeypatch.setattr(soak, "output", lambda: tmp_path)
    monkeypatch.setattr(soak, "soak", lambda minutes, rate: lost)
    monkeypatch.setattr(sys, "argv", ["soak", "--rate", "50"])
    assert soak.main() == 1
    assert json.loads((tmp_path / "soak.json").read_text())["lost"] == 1


def test_soak_that_is_ended_leaves_no_process_behind() -> None:
    """A soak that is ended while calls are placed: Kamailio and both SIPps go with it."""
    mark = f"BENCH_TEST={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    command = [sys.executable, "-m", "tests.bench.soak", "--rate", "20", "--minutes", "1"]
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, name: value}) as process:
        wait_for("Kamailio and both SIPps", lambda: {"kamailio": 1, "sipp": 2}.items() <= marked(mark).items())
        process.terminate()  # not SIGINT, which a shell lets its background jobs ignore
        assert process.wait(WITHIN) == 128 + signal.SIGTERM
    assert marked(mark) == {}


def marked(mark: str) -> dict[str, int]:
    """The programs that run with this in their environment; Kamailio's processes count once."""
    names = Counter[str]()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                names[(folder / "comm").read_text().strip()] += 1
    return {name: 1 if name == "kamailio" else count for name, count in names.items()}


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not seen within {WITHIN:g} s: {what}"
        pause.wait(0.02)


def test_what_processes_share_is_no_ones_own_even_if_one_alone_has_touched_it() -> None:
    before = processes.memory(os.getpid())
    shared, own = mmap.mmap(-1, MOST), mmap.mmap(-1, MOST // 2, flags=mmap.MAP_PRIVATE)
    for memory in (shared, own):
        memory.write(bytes([1]) * len(memory))
    after = processes.memory(os.getpid())
    assert after.shared - before.shared >= MOST
    assert MOST // 2 <= after.private - before.private < MOST
