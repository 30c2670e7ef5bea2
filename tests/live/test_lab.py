"""`make demo` and the compose lab, run as a newcomer runs them: what they show, what they exit with, and that nothing
of either is left when they are over.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psycopg
import pytest
from docker.models.containers import Container

from kamailio.options import ask
from tests.live.fixtures import NO_DOCKER
from tests.live.node import PROJECT

ENGINE = str(PROJECT / "lab/engine")
DEMO_WITHIN = 30.0  # seconds; it takes two or three
LAB_WITHIN = 900  # seconds for `make lab` on a machine that has to build every image first
CALL_WITHIN = 60  # seconds for a call of the lab's PBX, or for its end
WHOLE_SECRET = re.compile(r"[0-9a-f]{32}")  # an MD5 digest response; the demo's passwords have this form as well
ONLINE = 1 << 2  # UAC_REG_ONLINE in Kamailio's src/modules/uac/uac_reg.h: the carrier has taken the registration


def wait_for(condition: str, is_met: Callable[[], bool], within: float, log: Callable[[], str]) -> None:
    """Until the condition is met; if it is not in time, the error names it and ends with the log's last lines."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while not is_met():
        assert time.monotonic() < deadline, f"not seen within {within:g} s: {condition}\n{last_lines(log())}"
        pause.wait(0.05)


def last_lines(log: str) -> str:
    return "\n".join(log.splitlines()[-30:])


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
        wait_for("the demo's start", lambda: self.process.pid in self.processes(), DEMO_WITHIN, self.output)

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEMO_WITHIN)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def status(self) -> int:
        """Its exit status, which it has to reach."""
        wait_for("the demo's end", lambda: self.process.poll() is not None, DEMO_WITHIN, self.output)
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

        wait_for("Kamailio's first log line", last_server_has_started, DEMO_WITHIN, demo.output)
        demo.process.send_signal(number)
        assert demo.status() == 128 + number, demo.output()
        demo.assert_nothing_is_left()


class Lab:
    """The compose lab as a project of its own, with ports and passwords of its own."""

    PROJECT = "kemi-lab-test"

    def __init__(self) -> None:
        self.sip_port, self.db_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.db_password, self.trunk_password = secrets.token_hex(12), secrets.token_hex(12)
        self.docker = docker.from_env()

    def engine(self, *command: str, within: int = CALL_WITHIN) -> subprocess.CompletedProcess[str]:
        """lab/engine with the lab's settings; ended with all that it started when it takes longer."""
        settings = {
            "COMPOSE_PROJECT_NAME": self.PROJECT,
            "LAB_SIP_PORT": str(self.sip_port),
            "LAB_DB_PORT": str(self.db_port),
            "LAB_DB_PASSWORD": self.db_password,
            "LAB_TRUNK_PASSWORD": self.trunk_password,
        }
        return subprocess.run(
            ["timeout", "--kill-after=10", str(within), ENGINE, *command],
            env=os.environ | settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False,
        )  # fmt: skip

    def containers(self) -> dict[str, Container]:
        """Those that run, by the name of their service."""
        found = self.docker.containers.list(filters=self._label)
        return {each.labels["com.docker.compose.service"]: each for each in found}

    def log(self, service: str) -> str:
        output: bytes = self.containers()[service].logs()
        return output.decode(errors="replace")

    def registration_flags(self) -> int:
        """What Kamailio's uac module says of the state of the lab's trunk, and nothing of the password beside it."""
        socket_name = "unixs:/var/lib/kemi-trunkauth/rpc.sock"
        command = ["kamcmd", "-s", socket_name, "uac.reg_info", "l_uuid", "lab"]
        output = self.containers()["kamailio"].exec_run(command).output
        assert isinstance(output, bytes)
        flags = re.search(rb"(?m)^\s*flags: (\d+)", output)
        return int(flags[1]) if flags else 0

    def remains(self) -> list[str]:
        """Containers, networks and volumes that bear the project's name."""
        engine, label = self.docker, self._label
        kinds = (
            engine.containers.list(all=True, filters=label),
            engine.networks.list(filters=label),
            engine.volumes.list(filters=label),
        )
        return [str(each.name) for kind in kinds for each in kind]

    @property
    def _label(self) -> dict[str, Any]:
        return {"label": f"com.docker.compose.project={self.PROJECT}"}


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The lab after `make lab`, which has placed its call; and at the end `make lab-down`, which leaves nothing."""
    lab = Lab()
    try:
        placed = lab.engine("lab", within=LAB_WITHIN)
        assert placed.returncode == 0, last_lines(placed.stdout)
        assert "pbx: call set up and torn down; no challenge seen" in placed.stdout
        yield lab
    finally:
        down = lab.engine("lab-down")
        remains = lab.remains()
        lab.docker.close()
    assert (down.returncode, remains) == (0, []), last_lines(down.stdout)


class TestLab:
    """What holds while the lab is up. Left out with TRUNKAUTH_NO_DOCKER=1, which `make test` says."""

    __test__ = not NO_DOCKER

    def test_the_carrier_has_accepted_the_digest_of_the_call(self, lab: Lab) -> None:
        wait_for_log(lab, "carrier", "INVITE accepted: user lab")
        wait_for_log(lab, "carrier", "BYE accepted: user lab")

    def test_the_trunk_that_expires_is_registered_with_the_carrier(self, lab: Lab) -> None:
        def is_online() -> bool:
            return bool(lab.registration_flags() & ONLINE)

        wait_for("registration of the trunk lab", is_online, 20, lambda: lab.log("kamailio") + lab.log("carrier"))
        wait_for_log(lab, "carrier", "REGISTER accepted: user lab")

    def test_a_call_over_a_trunk_that_is_not_there_fails(self, lab: Lab) -> None:
        call = lab.engine("compose", "run", "--rm", "pbx", "4930123456", "nosuch")
        assert call.returncode == 1, last_lines(call.stdout)
        assert "pbx: call FAILED" in call.stdout
        assert "404 No Trunk" in call.stdout

    def test_only_loopback_ports_are_published(self, lab: Lab) -> None:
        published = {
            (service, inside, outside["HostIp"], int(outside["HostPort"]))
            for service, container in lab.containers().items()
            for inside, ends in container.attrs["NetworkSettings"]["Ports"].items()
            for outside in ends or ()
        }
        assert published == {
            ("kamailio", "5060/udp", "127.0.0.1", lab.sip_port),
            ("db", "5432/tcp", "127.0.0.1", lab.db_port),
        }

    def test_kamailio_serves_its_published_port(self, lab: Lab) -> None:
        """OPTIONS to an address that is not its own, in the container, is a request to pass on: over which trunk?"""
        assert ask("udp", "127.0.0.1", lab.sip_port, 5.0) == "SIP/2.0 404 No Trunk", last_lines(lab.log("kamailio"))

    def test_the_database_can_be_looked_at_and_not_changed(self, lab: Lab) -> None:
        url = f"postgresql://kamailio:{lab.db_password}@127.0.0.1:{lab.db_port}/kamailio"
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT l_uuid, expires FROM uacreg").fetchall() == [("lab", 300)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("DELETE FROM uacreg")

    @pytest.mark.parametrize("service", ["db", "kamailio", "carrier"])
    def test_nothing_runs_as_root(self, lab: Lab, service: str) -> None:
        processes = lab.containers()[service].top(ps_args="-eo pid,uid,comm")["Processes"]
        assert processes
        assert [comm for _, uid, comm in processes if uid == "0"] == []

    def test_no_password_is_in_a_log(self, lab: Lab) -> None:
        logs = "".join(map(lab.log, lab.containers()))
        assert lab.db_password not in logs
        assert lab.trunk_password not in logs
        assert "Traceback" not in logs


def wait_for_log(lab: Lab, service: str, text: str) -> None:
    wait_for(f"{text!r} in the log of {service}", lambda: text in lab.log(service), 10, lambda: lab.log(service))
