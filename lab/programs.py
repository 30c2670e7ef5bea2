"""Programs that run in the foreground until they are told to end: how they are started, asked, watched and ended.

The demo, the tests and the bench start all their servers this way. Nothing that is started here outlives its `stop` or
`kill`, whichever processes it has started itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from kemi.health.options import ask

T = TypeVar("T")

ANSWER_LIMIT = 0.5  # seconds for one answer to OPTIONS
START_LIMIT = 8.0  # seconds until a server answers OPTIONS
STOP_LIMIT = 10.0  # seconds from SIGTERM to the end of a program that has to end by it
END_LIMIT = 3.0  # seconds from SIGTERM to SIGKILL
POLL = 0.02
PORTS = range(10_000, 32_000)  # below net.ipv4.ip_local_port_range, as Linux has it
LOG_LINES = 15


class ProgramError(RuntimeError):
    """A program did not do its part: start, answer, end. The text is for the operator."""


class Foreground:
    """A program in a process group of its own, with its output in a file."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """Return all that it has said."""
        return self._log.read_text(errors="replace")

    def last_lines(self) -> str:
        """Return the end of its log, indented for a report."""
        lines = [line for line in self.log().splitlines() if line.strip()]
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])

    def wait_until_it_answers(self, address: str, more: float = 0) -> None:
        """Ask OPTIONS until it answers 200; more: seconds than usual. Raises ProgramError with its last log lines."""
        host, _, port = address.partition(":")

        def has_answered_or_ended() -> bool:
            return not self.alive() or " 200 " in ask("udp", host, int(port), ANSWER_LIMIT)

        answered = wait_for(has_answered_or_ended, START_LIMIT + more)
        if not self.alive():
            raise ProgramError(f"{self.name} ended with status {self.process.returncode}:\n{self.last_lines()}")
        if not answered:
            raise ProgramError(f"{self.name} does not answer OPTIONS at {address}:\n{self.last_lines()}")

    def stop(self) -> str:
        """End it by SIGTERM and return its log. Raises ProgramError if it had to be killed."""
        if not self._ends_within(STOP_LIMIT):
            raise ProgramError(f"{self.name} did not end within {STOP_LIMIT:g} s:\n{self.last_lines()}")
        return self.log()

    def end(self) -> None:
        """End it, by SIGTERM or else by SIGKILL: a Kamailio that is interrupted while it starts may never end."""
        self._ends_within(END_LIMIT)

    def _ends_within(self, seconds: float) -> bool:
        """Send SIGTERM; return False if SIGKILL had to follow."""
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill()
        return True

    def kill(self) -> None:
        """End its whole process group at once."""
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def signal_all(self, number: int) -> None:
        """Send this signal to its whole process group, as systemd does by default."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def wait_for(found: Callable[[], T], within: float) -> T:
    """Return the first true answer of `found`, or its last one after so many seconds."""
    deadline = time.monotonic() + within
    while not (answer := found()) and time.monotonic() < deadline:
        time.sleep(POLL)
    return answer


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ports of a local address that nobody uses now, neither by UDP nor by TCP.

    They are none of those that a socket without a port gets from the system, so no connection takes one by chance
    before it is used, or while its server is away. OSError: the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ports: set[int] = set()
    while len(ports) < count:
        port = secrets.choice(PORTS)
        with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family, socket.SOCK_STREAM) as tcp:
            try:
                udp.bind((host, port))
                tcp.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                ports.add(port)
    return list(ports)


def free_port(host: str = "127.0.0.1") -> int:
    """Return one such port."""
    return free_ports(1, host)[0]
