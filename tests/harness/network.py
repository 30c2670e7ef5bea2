"""Networks of the tests' own (Linux network namespaces), joined by cables, with a NAT between them if need be.

Only the thread that enters one is in it; a socket stays in the network in which it was made, and a program in the one
in which it was started.
"""

from __future__ import annotations

import contextlib
import ctypes
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.harness.machine import SBIN

_NAMES = Path("/run/netns")
_OWN = Path("/proc/thread-self/ns/net")
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>


def is_missing() -> str:
    """Return why no network can be made, "" if one can."""
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False, timeout=10)
    return f"no network namespace can be made here: {done.stderr.strip()}" if done.returncode else ""


class Network:
    """A network namespace with its loopback; made in a `with`, and gone at its end."""

    def __init__(self) -> None:
        self.name = f"trunkauth-{secrets.token_hex(4)}"

    def __enter__(self) -> Network:
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        run("ip", "netns", "del", self.name)

    def run(self, *command: str) -> str:
        """Return what a program prints in this network."""
        return run(*self.command, *command)

    @property
    def command(self) -> list[str]:
        """What stands before a command that is to run in it."""
        return ["ip", "netns", "exec", self.name]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in it inside the block."""
        with _OWN.open() as before, (_NAMES / self.name).open() as here:
            _enter(here.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def cable(self, address: str, other: Network, its_address: str) -> None:
        """Join two networks: addresses with their masks, of this end and the other one."""
        end, its_end = f"v{secrets.token_hex(4)}", f"v{secrets.token_hex(4)}"
        self.run("ip", "link", "add", end, "type", "veth", "peer", "name", its_end, "netns", other.name)
        for network, name, own in ((self, end, address), (other, its_end, its_address)):
            nodad = ["nodad"] if ":" in own else []  # no wait for whoever else may have it
            network.run("ip", "address", "add", own, "dev", name, *nodad)
            network.run("ip", "link", "set", name, "up")


def run(*command: str) -> str:
    """Return what a program prints in the machine's own network."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": SBIN}, timeout=10)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
