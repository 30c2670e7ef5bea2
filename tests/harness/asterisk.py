"""Asterisk as a PBX, or as a carrier: ends of a call that others have written. It is asked by its own command line, and
its log has every SIP message that it sends and receives.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template
from typing import TypeVar

import docker
from docker.models.containers import Container

from lab.programs import wait_for
from tests.harness.endpoint import Address
from tests.harness.machine import PROJECT

T = TypeVar("T")

CONFIGURATION = PROJECT / "tests/live/asterisk"
IMAGE = "kemi-trunkauth-test-asterisk"
BASE = "sid"  # no later Debian has it
STARTED_WITHIN = 20.0  # seconds
SEEN_WITHIN = 10.0

_RECEIVED = re.compile(r"^<--- Received SIP .*--->\n(.*(?:\n.+)*)", re.MULTILINE)  # up to the body


class Asterisk:
    """A running Asterisk."""

    def __init__(self, name: str, address: Address, container: Container) -> None:
        self.name = name
        self.address = address
        self._container = container

    def cli(self, command: str) -> str:
        """Return what its command line prints."""
        _, output = self._container.exec_run(["asterisk", "-C", "/conf/asterisk.conf", "-rx", command])
        assert isinstance(output, bytes)
        return output.decode(errors="replace")

    def log(self) -> str:
        output: bytes = self._container.logs()
        return output.decode(errors="replace").replace("\r", "")

    def wait(self, what: str, found: Callable[[], T], within: float = SEEN_WITHIN) -> T:
        """Return the answer of `found` as soon as it is true; `what` names it in the error."""
        answer = wait_for(found, within)
        assert answer, f"{self.name}: not seen within {within:g} s: {what}\n{self.log()[-6000:]}"
        return answer

    def channels(self) -> list[str]:
        """Return the names of its SIP channels that are up."""
        lines = [line.split("!") for line in self.cli("core show channels concise").splitlines()]
        return [fields[0] for fields in lines if fields[0].startswith("PJSIP/") and "Up" in fields]

    def hears(self) -> bool:
        """Return True if RTP has come on a SIP channel."""
        return bool(re.search(r" \d\d:\d\d:\d\d +alaw +[1-9]", self.cli("pjsip show channelstats")))

    def received(self, after: int = 0) -> list[str]:
        """Return the SIP messages that it has received since its log had this length."""
        return _RECEIVED.findall(self.log()[after:])


@contextlib.contextmanager
def running(name: str, address: Address, workspace: Path, **values: str) -> Iterator[Asterisk]:
    """An Asterisk with the pjsip.conf of this name. values: what that leaves open."""
    client = docker.from_env()
    folder = workspace / f"{name}-{address[1]}"
    folder.mkdir()
    for file in CONFIGURATION.glob("*.conf"):
        shutil.copy(file, folder)
    host, port = address
    template = Template((CONFIGURATION / f"pjsip-{name}.conf").read_text())
    (folder / "pjsip.conf").write_text(template.substitute(host=host, port=str(port), **values))
    folder.chmod(0o755)  # Asterisk is another user
    container = client.containers.run(
        IMAGE, detach=True, network_mode="host", volumes={str(folder): {"bind": "/conf", "mode": "ro"}}
    )
    asterisk = Asterisk(name, address, container)
    try:
        asterisk.wait("it is up", lambda: "fully booted" in asterisk.cli("core waitfullybooted"), STARTED_WITHIN)
        yield asterisk
    finally:
        container.remove(force=True, v=True)
        client.close()


def build() -> None:
    """Build the image."""
    subprocess.run([PROJECT / "lab/engine", "base-image", BASE], check=True, capture_output=True)
    client = docker.from_env()
    with contextlib.closing(client):
        client.images.build(path=str(CONFIGURATION), tag=IMAGE, rm=True)
