"""Starts the recipe, recipe.cfg, on the machine's own Kamailio or on the one of the project's image.

For the comparison only; it shares nothing with the package but the Kamailio under it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lab.programs import Foreground, free_port
from tests.harness.database import Database
from tests.harness.machine import SBIN
from tests.harness.node import Kamailio

CONFIG = Path(__file__).with_name("recipe.cfg")
VARIABLES = ("RECIPE_LISTEN", "RECIPE_USER", "RECIPE_PASSWORD", "RECIPE_HA1")


@contextlib.contextmanager
def running(image: str | None, version: str, user: str, password: str, ha1: str, workspace: Path) -> Iterator[Kamailio]:
    """The recipe with one user and password, in the foreground until the block ends.

    image: of the container that it runs in; None: it runs in none. version: of the Kamailio there. ha1: what it takes
    for calls from `ha1@`.
    """
    sip = ("127.0.0.1", free_port())
    values = (f"udp:{sip[0]}:{sip[1]}", user, password, ha1)
    environment = {**os.environ, "PATH": SBIN, **dict(zip(VARIABLES, values, strict=True))}
    program = Foreground("the recipe", _command(image, workspace), workspace / "recipe.log", environment=environment)
    recipe = Kamailio(version, sip, workspace, Database(workspace / "none"), program)
    try:
        recipe.wait_until_ready()
        yield recipe
    finally:
        program.stop()


def _command(image: str | None, workspace: Path) -> list[str]:
    """The values go by their names: a password in an argument is there for everybody to read."""
    if image is None:
        return ["kamailio", "-DD", "-E", "-f", str(CONFIG), "-Y", str(workspace)]
    names = [word for name in VARIABLES for word in ("--env", name)]
    mount = ["--volume", f"{CONFIG}:/recipe.cfg:ro"]
    host = ["docker", "run", "--rm", "--network", "host", *names, *mount, "--entrypoint", "kamailio", image]
    return [*host, "-DD", "-E", "-f", "/recipe.cfg", "-Y", "/tmp"]
