"""The Debian package in a container made from nothing: apt installs and upgrades it, and its command starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.models.images import Image

from lab.programs import Foreground, free_port, wait_for
from tests.harness.machine import PROJECT, version_in
from tests.harness.node import AS_IT_COMES, Kamailio, Options, new_state, prepared, ready, settings

BUILT_WITHIN = 120.0  # seconds
COMMAND = "/usr/bin/kemi-trunkauth"
USER = "kamailio"
SERVICE = "kemi-trunkauth.service"
SYSTEMD_WITHIN = 60.0


def build(folder: Path, version: str) -> Path:
    """Return the Debian package of this checkout under a version."""
    command = [str(PROJECT / "kamailio/package"), str(folder), version]
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=BUILT_WITHIN)
    return folder / f"kemi-trunkauth_{version}_all.deb"


class InDebian:
    """A Debian with nothing in it but what its packages bring."""

    name = "package"
    image: str | None = None
    _image: Image | None = None

    def __init__(self, workspace: Path, suite: str) -> None:
        """workspace: it sees this folder too."""
        self._workspace = workspace
        subprocess.run([PROJECT / "lab/engine", "base-image", suite], check=True, capture_output=True)
        self._client = docker.from_env()
        self._container = self._started(f"debian:{suite}-slim", ["sleep", "infinity"])

    def _started(self, image: str, command: list[str], **how: Any) -> Container:
        volumes = {str(self._workspace): {"bind": str(self._workspace), "mode": "rw"}, **how.pop("volumes", {})}
        return self._client.containers.run(image, command, detach=True, network_mode="host", volumes=volumes, **how)

    def start_systemd(self) -> None:
        """Go on in a container whose first process is systemd. It has no user namespaces of its own to give."""
        self.run("apt-get", "--quiet", "--yes", "--no-install-recommends", "install", "systemd-sysv", "dbus")
        drop_in = f"/etc/systemd/system/{SERVICE}.d/container.conf"
        self.run("install", "-D", "/dev/null", drop_in)
        self.run("sh", "-c", f"printf '[Service]\\nPrivateUsers=no\\n' > {drop_in}")
        image = self._container.commit()
        self._container.remove(force=True)
        self._image = image
        self._container = self._started(
            str(image.id), ["/sbin/init"], cap_add=["SYS_ADMIN"], environment={"container": "docker"},
            security_opt=["seccomp=unconfined", "apparmor=unconfined"], tmpfs={"/run": "", "/run/lock": "", "/tmp": ""},
            volumes={"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}},
        )  # fmt: skip
        self.wait_for("systemd is up", lambda: self.says("systemctl", "is-system-running") in ("running", "degraded"))

    def says(self, *command: str) -> str:
        """Return the first line that a command of root's says, however it ends."""
        output = self._container.exec_run(list(command)).output
        assert isinstance(output, bytes)
        return output.decode(errors="replace").partition("\n")[0]

    def wait_for(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for a named condition; the journal's last lines tell why it does not come."""
        assert wait_for(is_so, SYSTEMD_WITHIN), f"{what}: not so\n{self.run('journalctl', '--no-pager', '-n', '30')}"

    def run(self, *command: str) -> str:
        """Return the output of a command of root's that ends well."""
        status, output = self._container.exec_run(list(command), environment={"DEBIAN_FRONTEND": "noninteractive"})
        assert isinstance(output, bytes)
        said = output.decode(errors="replace")
        assert status == 0, f"{' '.join(command)}: status {status}\n{said[-3000:]}"
        return said

    def install(self, package: Path) -> None:
        """Have apt install or upgrade a package, and all that it depends on."""
        shutil.copy(package, self._workspace)
        self.run("apt-get", "--quiet", "--quiet", "update")
        self.run(
            "apt-get", "--quiet", "--yes", "--no-install-recommends", "install", str(self._workspace / package.name)
        )

    @contextlib.contextmanager
    def running(self, options: Options = AS_IT_COMES) -> Iterator[Kamailio]:
        state, sip = options.state or new_state(self._workspace), options.sip or ("127.0.0.1", free_port())
        self._workspace.chmod(0o755)
        self.run("chown", USER, str(state))
        client = ["docker", "exec", "--user", USER]
        for name, value in settings(state, sip, options).items():
            client += ["--env", f"{name}={value}"]
        client += [str(self._container.id), COMMAND]
        subprocess.run([*client, "db"], check=True, capture_output=True, timeout=30)
        database = prepared(state, options)
        log = self._workspace / f"{sip[1]}.log"
        program = _InDebian(Foreground("Kamailio", [*client, "run"], log), self._container)
        yield from ready(Kamailio(version_in(self.run("kamailio", "-v")), sip, state, database, program), options)

    def close(self) -> None:
        self._container.remove(force=True)
        if self._image is not None:
            self._image.remove(force=True)
        self._client.close()


@dataclass(frozen=True)
class _InDebian:
    """client: `docker exec`, which ends when its program in the container does."""

    client: Foreground
    container: Container

    def alive(self) -> bool:
        return self.client.alive()

    def log(self) -> str:
        return self.client.log()

    def stop(self) -> str:
        self._signal("TERM")
        self.client.process.wait(10)
        return self.client.log()

    def kill(self) -> None:
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        """Signal the whole process group, as systemd does."""
        self.container.exec_run(["sh", "-c", f"kill -{name} $(pidof kamailio)"])
