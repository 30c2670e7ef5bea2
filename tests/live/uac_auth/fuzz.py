"""One run of the fuzzer: a throw-away Kamailio, and as many peers as it takes to keep it busy."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.programs import Foreground, free_port
from tests.harness.endpoint import Address
from tests.harness.machine import PROJECT, SBIN, native_version, version_in
from tests.live.uac_auth.peer import Peer, SilentError

HERE = Path(__file__).parent
PEERS = 2
MOST_SHOWN = 20


@dataclass(frozen=True)
class Result:
    """counts: of fields, by what became of them. faults: what was wrong, a line each."""

    version: str
    seed: int
    counts: Counter[str]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        counts = ", ".join(f"{number:,} {name}" for name, number in sorted(self.counts.items()))
        shown = "\n".join(self.faults[:MOST_SHOWN])
        return f"Kamailio {self.version}, seed {self.seed}: {counts}; {len(self.faults)} faults\n{shown}".rstrip()


def fuzz(count: int, image: str | None, seed: int, workspace: Path) -> Result:
    """Give so many plain fields to uac_auth() of this machine's Kamailio, or of a container's."""
    address = ("127.0.0.1", free_port())
    environment = {
        **os.environ,
        "PATH": SBIN,
        "PYTHONPATH": str(PROJECT),
        "FUZZ_LISTEN": f"udp:{address[0]}:{address[1]}",
        "FUZZ_SCRIPT": str(HERE / "handlers.py"),
    }
    program = Foreground("the fuzzed Kamailio", _command(image, workspace), workspace / "log", environment=environment)
    try:
        program.wait_until_it_answers(f"{address[0]}:{address[1]}")
        with ProcessPoolExecutor(PEERS) as peers:
            share = -(-count // PEERS)
            runs = [peers.submit(_run, address, seed * 1000 + number, share) for number in range(PEERS)]
            results = [run.result() for run in runs]
        faults = [fault for _, found in results for fault in found]
        if not program.alive():
            faults.append(f"Kamailio has ended:\n{program.last_lines()}")
    finally:
        program.end()
    return Result(_version(image), seed, sum((counts for counts, _ in results), Counter()), tuple(faults))


def _run(kamailio: Address, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    peer = Peer(kamailio, seed, count)
    try:
        peer.run()
    except SilentError as error:
        peer.faults.append(f"no answer any more; the last fields:\n{error}")
    return peer.counts, peer.faults


def _command(image: str | None, workspace: Path) -> list[str]:
    kamailio = ["-DD", "-E", "-f", str(HERE / "kamailio.cfg")]
    if image is None:
        return ["kamailio", *kamailio, "-Y", str(workspace)]
    passed_on = [word for name in ("PYTHONPATH", "FUZZ_LISTEN", "FUZZ_SCRIPT") for word in ("--env", name)]
    mounted = ["--volume", f"{PROJECT}:{PROJECT}:ro"]
    host = ["docker", "run", "--rm", "--network", "host", *passed_on, *mounted, "--entrypoint", "kamailio", image]
    return [*host, *kamailio, "-Y", "/tmp"]


def _version(image: str | None) -> str:
    if image is None:
        return native_version()
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "kamailio", image, "-v"]
    return version_in(subprocess.check_output(command, text=True))
