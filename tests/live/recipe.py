"""Starts the recipe, recipe.cfg, on the machine's own Kamailio or on the one of the project's image.

For the comparison only; it shares nothing with the package but the Kamailio under it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.live.endpoint import Address
from tests.live.node import IMAGE, SBIN, Database, Kamailio

CONFIG = Path(__file__).with_name("recipe.cfg")
VARIABLES = ("RECIPE_LISTEN", "RECIPE_USER", "RECIPE_PASSWORD", "RECIPE_HA1")
ENDS_WITHIN = 10


@dataclass(frozen=True)
class _Foreground:
    """A program that runs until it is told to end: kamailio, or the docker client that holds one."""

    process: subprocess.Popen[bytes]
    path: Path

    def alive(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def stop(self) -> str:
        self.process.terminate()
        try:
            self.process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(ENDS_WITHIN)
            raise
        return self.log()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(ENDS_WITHIN)


@contextlib.contextmanager
def running(where: str, version: str, user: str, password: str, ha1: str, workspace: Path) -> Iterator[Kamailio]:
    """The recipe with one user and password, in the foreground until the block ends.

    where: `native` or `container`. version: of the Kamailio there. ha1: what it takes for calls from `ha1@`.
    """
    sip = _free_address()
    values = (f"udp:{sip[0]}:{sip[1]}", user, password, ha1)
    environment = {**os.environ, "PATH": SBIN, **dict(zip(VARIABLES, values, strict=True))}
    log = workspace / "recipe.log"
    with log.open("w") as out:
        process = subprocess.Popen(_command(where, workspace), env=environment, stdout=out, stderr=out)
    no_database = Database(workspace / "none")
    recipe = Kamailio(version, sip, workspace, no_database, _Foreground(process, log))
    try:
        recipe.wait_until_ready()
        yield recipe
    finally:
        recipe.program.stop()


def _command(where: str, workspace: Path) -> list[str]:
    """The values go by their names: a password in an argument is there for everybody to read."""
    if where == "native":
        return ["kamailio", "-DD", "-E", "-f", str(CONFIG), "-Y", str(workspace)]
    names = [word for name in VARIABLES for word in ("--env", name)]
    mount = ["--volume", f"{CONFIG}:/recipe.cfg:ro"]
    host = ["docker", "run", "--rm", "--network", "host", *names, *mount, "--entrypoint", "kamailio", IMAGE]
    return [*host, "-DD", "-E", "-f", "/recipe.cfg", "-Y", "/tmp"]


def _free_address() -> Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address: Address = probe.getsockname()
        return address
