"""`make demo`, run as a newcomer runs it: what it shows, its exit status, and that nothing is left when it is over."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.programs import wait_for
from tests.harness.machine import PROJECT, native_is_missing

pytestmark = pytest.mark.skipif(bool(native_is_missing()), reason=native_is_missing())

DEMO_WITHIN = 30.0  # seconds; it takes two or three
WHOLE_SECRET = re.compile(r"[0-9a-f]{32}")  # an MD5 digest response; the demo's passwords have this form as well


class Demo:
    """The program of `make demo`, with a directory for temporary files of its own: by that its processes are known."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.work, self._log = folder / "work", folder / "log"
        self.work.mkdir()
        settings = {"TMPDIR": str(self.work), "TRUNKAUTH_DB_URL": "none of the demo's business"}
        # Ctrl-C must reach it even where the tests run in the background of a shell, which has them ignore it.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "lab.demo", *arguments]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=os.environ | settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.expect("its start", lambda: self.process.pid in self.processes())

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEMO_WITHIN)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def expect(self, what: str, is_met: Callable[[], bool]) -> None:
        """Wait until the condition is met; `what` names it in the error."""
        assert wait_for(is_met, DEMO_WITHIN), f"not seen within {DEMO_WITHIN:g} s: {what}\n{self.output()}"

    def status(self) -> int:
        """Its exit status, which it has to reach."""
        self.expect("its end", lambda: self.process.poll() is not None)
        return self.process.returncode

    def processes(self) -> list[int]:
        """Itself and all that it started, in whichever process group or session."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is not ours
                if f"TMPDIR={self.work}".encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def assert_nothing_is_left(self) -> None:
        assert self.processes() == []
        assert list(self.work.iterdir()) == []
        assert [port for port in re.findall(r"127\.0\.0\.1:(\d+)", self.output()) if is_bound(int(port))] == []


def is_bound(port: int) -> bool:
    """Whether somebody holds this UDP port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: a Unix socket's path has 107 bytes at most."""
    return tmp_path_factory.mktemp("demo")


def test_the_demo_shows_an_authenticated_call_and_leaves_nothing(folder: Path) -> None:
    with Demo(folder) as demo:
        assert demo.status() == 0, demo.output()
        demo.assert_nothing_is_left()
    shown = demo.output()
    assert "AUTHENTICATED: the carrier accepted trunk demo's digest; call set up and torn down." in shown
    assert re.search(r"(?s)◀─ 407 Proxy Authentication Required ─│  1 INVITE\n.*Proxy-Authorization: Digest", shown), (
        shown
    )
    assert not WHOLE_SECRET.search(shown)


def test_the_demo_of_two_carriers_shows_the_call_at_both(folder: Path) -> None:
    with Demo(folder, "--failover") as demo:
        assert demo.status() == 0, demo.output()
        demo.assert_nothing_is_left()
    shown = demo.output()
    assert "◀────── 503 No Circuit Available ─────│" in shown
    assert "AUTHENTICATED: the carrier accepted trunk demo's digest" in shown
    assert shown.count(" 407 Proxy Authentication Required ") == 2
    assert not WHOLE_SECRET.search(shown)


def test_the_demo_with_a_wrong_password_fails_and_leaves_nothing(folder: Path) -> None:
    with Demo(folder, "--wrong-password") as demo:
        assert demo.status() == 1, demo.output()
        demo.assert_nothing_is_left()
    shown = demo.output()
    assert "FAILED:\n  the carrier accepted no INVITE with credentials\n" in shown
    assert "503 Trunk Authentication Failed" in shown
    assert "AUTHENTICATED" not in shown
    assert not WHOLE_SECRET.search(shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_demo_that_is_interrupted_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with Demo(folder) as demo:

        def last_server_has_started() -> bool:
            return any(log.stat().st_size for log in demo.work.glob("trunkauth-demo-*/kamailio.log"))

        demo.expect("Kamailio's first log line", last_server_has_started)
        demo.process.send_signal(number)
        assert demo.status() == 128 + number, demo.output()
        demo.assert_nothing_is_left()
