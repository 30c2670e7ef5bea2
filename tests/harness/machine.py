"""This machine as the tests see it: its Kamailio, its Docker engine, and where its programs are."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"
NO_DOCKER = os.environ.get("TRUNKAUTH_NO_DOCKER") == "1"
RELEASED = "trixie"  # the Debian of the project's image
SUITE = os.environ.get("DEBIAN_SUITE", RELEASED)  # the one that containers are tested on
ENGINE_WITHIN = 20.0  # seconds


@functools.cache
def native_version() -> str:
    """Return the version of this machine's kamailio, "" if there is none."""
    program = shutil.which("kamailio", path=SBIN)
    return version_in(subprocess.check_output([program, "-v"], text=True)) if program else ""


def version_in(output: str) -> str:
    """Return the version that `kamailio -v` has printed."""
    found = re.search(r"kamailio (\d+\.\d+\.\d+)", output)
    assert found, output
    return found[1]


@functools.cache
def native_is_missing() -> str:
    """Return why no Kamailio of this machine can be tested, "" if one can."""
    return "" if native_version() else "no kamailio on this machine; `make test` installs Debian's"


@functools.cache
def docker_is_missing() -> str:
    """Return why no container can be tested, "" if one can."""
    client = shutil.which("docker")
    if client is None:
        return "no docker command on this machine; `make test` installs Debian's"
    done = subprocess.run(
        [client, "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=ENGINE_WITHIN, check=False
    )
    return f"no Docker engine answers: {client} info ended with status {done.returncode}" if done.returncode else ""
