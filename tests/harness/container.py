"""The project's image as a Kamailio that can be started: the only tool here that needs a Docker engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from lab.programs import free_port
from tests.harness.machine import PROJECT, RELEASED, SUITE, version_in
from tests.harness.node import AS_IT_COMES, Kamailio, Options, arguments, new_state, prepared, ready, settings

IMAGE = "kemi-trunkauth:test" if SUITE == RELEASED else f"kemi-trunkauth:test-{SUITE}"
HARDENED: dict[str, Any] = {  # as compose.yaml has it
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "tmpfs": {"/tmp": "", "/run": ""},
}
ONCE_WITHIN = 60.0  # seconds for a program that runs to its end in a container


class InContainer:
    """The project's image, built from kamailio/Dockerfile, through its own entry point and user."""

    name = "container"

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._client = docker.from_env()
        base = {"BASE": f"debian:{SUITE}-slim"}
        image, _ = self._client.images.build(
            path=str(PROJECT), dockerfile="kamailio/Dockerfile", tag=IMAGE, buildargs=base, rm=True
        )
        self.image = str(image.id)  # whoever builds another one meanwhile takes the tag
        self._version = version_in(self._program("kamailio", "-v"))
        asked = "import os, kemi.settings; print(kemi.settings.PROJECT, os.getuid(), os.getgid())"
        project, *owner = self._program("python3", "-c", asked).split()
        self._project, self._owner = Path(project), (int(owner[0]), int(owner[1]))

    @contextlib.contextmanager
    def running(self, options: Options = AS_IT_COMES) -> Iterator[Kamailio]:
        state, sip = options.state or new_state(self._workspace), options.sip or ("127.0.0.1", free_port())
        how: dict[str, Any] = {
            "environment": settings(state, sip, options),
            "volumes": {str(state): {"bind": str(state), "mode": "rw"}, **_mounted(options)},
            "network_mode": "host",
            **HARDENED,
            **self._user(state),
        }
        database = prepared(state, options)
        command = ["run", *arguments(state, self._project, options)]
        container = self._client.containers.run(self.image, command, detach=True, **how)
        yield from ready(Kamailio(self._version, sip, state, database, _Container(container)), options)

    def close(self) -> None:
        self._client.close()

    def _user(self, state: Path) -> dict[str, str]:
        """Who runs in the container: its own user, given the state directory; where we cannot give, ourselves."""
        if os.getuid():
            return {"user": f"{os.getuid()}:{os.getgid()}"}
        os.chown(state, *self._owner)
        return {}

    def _program(self, *command: str) -> str:
        """Output of a program of the image."""
        return self._once(list(command[1:]), entrypoint=[command[0]], network_mode="none")

    def _once(self, command: list[str], **how: Any) -> str:
        """Output of a container that runs to its end; its volume goes with it, which run(remove=True) would leave."""
        container = self._client.containers.create(self.image, command, **how)
        try:
            container.start()
            status = container.wait(timeout=ONCE_WITHIN)["StatusCode"]
            output: bytes = container.logs(stderr=False)
            assert status == 0, f"{command} in {IMAGE}: status {status}\n{container.logs().decode(errors='replace')}"
        finally:
            container.remove(force=True, v=True)
        return output.decode()


def _mounted(options: Options) -> dict[str, dict[str, str]]:
    """Return the volumes that a container may only read: a resolv.conf of its own, and a folder of secrets."""
    places = {options.resolv_conf: Path("/etc/resolv.conf"), options.secrets: options.secrets}
    return {str(path): {"bind": str(place), "mode": "ro"} for path, place in places.items() if path}


@dataclass(frozen=True)
class _Container:
    container: Container

    def alive(self) -> bool:
        self.container.reload()
        return bool(self.container.status in ("created", "running"))

    def log(self) -> str:
        output: bytes = self.container.logs()
        return output.decode(errors="replace")

    def stop(self) -> str:
        try:
            self.container.stop(timeout=10)
            return self.log()
        finally:
            self.container.remove(force=True, v=True)  # v: the volume that the image declares

    def kill(self) -> None:
        self.container.kill()
