"""The compose lab, run as a newcomer runs it: what holds while it is up, and that nothing is left when it is over."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from kemi.health.options import ask
from lab.programs import free_ports, wait_for
from tests.harness.machine import NO_DOCKER, PROJECT, docker_is_missing

if TYPE_CHECKING:
    from docker.models.containers import Container

docker = pytest.importorskip("docker")

ENGINE = str(PROJECT / "lab/engine")
LAB_WITHIN = 900  # seconds for `make lab` on a machine that has to build every image first
CALL_WITHIN = 60  # seconds for a call of the lab's PBX, or for its end
ONLINE = 1 << 2  # UAC_REG_ONLINE in Kamailio's src/modules/uac/uac_reg.h: the carrier has taken the registration


class Lab:
    """The compose lab as a project of its own, with ports and passwords of its own."""

    PROJECT = "kemi-lab-test"

    def __init__(self) -> None:
        self.sip_port, self.db_port = free_ports(2)
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


def last_lines(log: str) -> str:
    return "\n".join(log.splitlines()[-30:])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The lab after `make lab`, which has placed its call; and at the end `make lab-down`, which leaves nothing."""
    if missing := docker_is_missing():
        pytest.skip(missing)
    lab = Lab()
    try:
        placed = lab.engine("lab", within=LAB_WITHIN)
        assert placed.returncode == 0, placed.stdout[placed.stdout.find("pbx: ") :]
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

        assert wait_for(is_online, 20), last_lines(lab.log("kamailio") + lab.log("carrier"))
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

    @pytest.mark.parametrize("service", ["db", "kamailio", "carrier"])
    def test_nothing_can_be_written_or_gained(self, lab: Lab, service: str) -> None:
        container = lab.containers()[service]
        status, output = container.exec_run(["sh", "-c", "cat /proc/1/status; touch /opt/new"])
        assert status
        assert isinstance(output, bytes)
        assert b"Read-only file system" in output
        found = dict(re.findall(r"(?m)^(CapEff|CapPrm|CapBnd|NoNewPrivs):\s*(\w+)$", output.decode()))
        assert found == {**dict.fromkeys(("CapEff", "CapPrm", "CapBnd"), "0" * 16), "NoNewPrivs": "1"}

    def test_no_password_is_in_a_log(self, lab: Lab) -> None:
        logs = "".join(map(lab.log, lab.containers()))
        assert lab.db_password not in logs
        assert lab.trunk_password not in logs
        assert "Traceback" not in logs


def wait_for_log(lab: Lab, service: str, text: str) -> None:
    seen = wait_for(lambda: text in lab.log(service), 10)
    assert seen, f"not in the log of {service}: {text!r}\n{last_lines(lab.log(service))}"
