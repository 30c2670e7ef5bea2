"""Programs in the foreground: how they end, and that nothing of them is left."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from lab import programs
from lab.programs import Foreground, ProgramError, free_port, free_ports, wait_for

TWO = "import subprocess, sys; print('first', flush=True); subprocess.run(['sleep', '{}'])"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


def started(code: str, folder: Path, says: str) -> Foreground:
    """A Python program that has said its first word."""
    program = Foreground("the program", [sys.executable, "-c", code], folder / "log")
    assert wait_for(lambda: says in program.log(), within=10)
    return program


def children(word: str) -> list[str]:
    """The processes that have this word in their command line."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if word.encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def test_a_program_that_is_stopped_leaves_its_log_and_no_process(tmp_path: Path) -> None:
    seconds = str(10_000_000 + free_port())
    program = started(TWO.format(seconds), tmp_path, "first")
    assert wait_for(lambda: children(seconds), within=10)
    assert program.stop() == "first\n"
    assert not program.alive()
    assert wait_for(lambda: not children(seconds), within=10)


def test_a_program_that_does_not_end_is_killed_and_that_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "STOP_LIMIT", 0.2)
    program = started(STUBBORN, tmp_path, "deaf")
    with pytest.raises(ProgramError, match=r"the program did not end within 0.2 s:\n  deaf"):
        program.stop()
    assert not program.alive()


def test_a_program_that_need_not_end_by_itself_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "END_LIMIT", 0.2)
    program = started(STUBBORN, tmp_path, "deaf")
    program.end()
    assert not program.alive()


def test_a_server_that_has_ended_says_so_with_its_last_lines(tmp_path: Path) -> None:
    program = started("print('no socket'); raise SystemExit(7)", tmp_path, "no socket")
    with pytest.raises(ProgramError, match=r"the program ended with status 7:\n  no socket"):
        program.wait_until_it_answers(f"127.0.0.1:{free_port()}")


def test_a_server_that_does_not_answer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "START_LIMIT", 0.2)
    program = started(STUBBORN, tmp_path, "deaf")
    with pytest.raises(ProgramError, match="does not answer OPTIONS"):
        program.wait_until_it_answers(f"127.0.0.1:{free_port()}")
    program.kill()


def test_free_ports_are_as_many_as_were_asked_for() -> None:
    assert len(set(free_ports(5))) == 5


def test_no_connection_gets_a_free_port_by_chance() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(programs.PORTS) < first


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_one_transport_uses_is_not_free(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    other = free_port()
    with socket.socket(socket.AF_INET, kind) as used:
        used.bind(("127.0.0.1", 0))
        monkeypatch.setattr(programs, "PORTS", (used.getsockname()[1], other))
        assert {free_port() for _ in range(20)} == {other}


def test_no_port_of_an_address_elsewhere_is_free() -> None:
    with pytest.raises(OSError, match="assign requested"):
        free_port("203.0.113.1")


def test_a_wait_that_is_over_gives_the_last_answer() -> None:
    assert wait_for(lambda: 0, within=0) == 0
    assert wait_for(iter((0, 0, 7)).__next__, within=10) == 7
