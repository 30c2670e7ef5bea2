"""`make demo`: one real call through a real Kamailio to a carrier that challenges it, and what was seen.

The carrier is a second Kamailio with its own auth module, the caller is SIPp: neither runs code of this
project. The ladder and the verdict come from the record that Kamailio's sipdump module keeps of every
message; nothing is taken for granted. The exit status is 0 only if the carrier accepted the digest and the
call was set up and torn down. Nothing that is started here outlives this process, and it must never touch a
database, a port or a directory that is not its own.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine, insert
from sqlalchemy.engine import URL

from kamailio.options import ask
from kemi.trunks.tables import uacreg
from lab.ladder import Message, calls, ladder, read_record, shortfalls

LAB = Path(__file__).resolve().parent
PROJECT = LAB.parent
TRUNK, NUMBER, REALM = "demo", "4930123456", "carrier.example"

START_LIMIT = 8.0  # seconds until a server answers OPTIONS
ANSWER_LIMIT = 0.5  # seconds for one answer
CALL_LIMIT = 6.0  # seconds for the whole call
RECORD_LIMIT = 1.0  # seconds until the record holds what was sent last
STOP_LIMIT = 3.0  # seconds from SIGTERM to SIGKILL
LOG_LINES = 15


class DemoError(RuntimeError):
    """What kept the demo from placing its call; the text is for the operator."""


class Server:
    """A Kamailio in the foreground, in a process group of its own, with its output in a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_it_answers(self, address: str) -> None:
        """Ask OPTIONS until it answers 200. Raises DemoError with its last log lines."""
        host, _, port = address.partition(":")

        def has_answered_or_ended() -> bool:
            return self.process.poll() is not None or " 200 " in ask("udp", host, int(port), ANSWER_LIMIT)

        answered = wait_for(has_answered_or_ended, START_LIMIT)
        if self.process.poll() is not None:
            raise DemoError(f"{self.name} ended with status {self.process.returncode}:\n{self.last_lines()}")
        if not answered:
            raise DemoError(f"{self.name} does not answer OPTIONS at {address}:\n{self.last_lines()}")

    def last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])

    def stop(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(STOP_LIMIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait_for(condition: Callable[[], bool], limit: float) -> bool:
    """Whether the condition came true within the limit, in seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_addresses(count: int) -> list[str]:
    """Addresses on loopback whose UDP port nobody uses now."""
    with contextlib.ExitStack() as opened:
        addresses = []
        for _ in range(count):
            udp = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.bind(("127.0.0.1", 0))
            addresses.append(f"127.0.0.1:{udp.getsockname()[1]}")
        return addresses


def start_carrier(work: Path, address: str, password: str) -> Server:
    state = work / "carrier"
    state.mkdir()
    environment = os.environ | {
        "CARRIER_LISTEN": f"udp:{address}",
        "CARRIER_USER": TRUNK,
        "CARRIER_PASSWORD": password,
        "CARRIER_REALM": REALM,
    }
    command = ["kamailio", "-DD", "-E", "-m", "32", "-f", str(LAB / "carrier.cfg"), "-Y", str(state)]
    return Server("the carrier's Kamailio", command, environment, work / "carrier.log")


def own_environment(state: Path, address: str) -> dict[str, str]:
    """Our environment without its TRUNKAUTH_ settings: the demo has a database and a port of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKAUTH_")}
    return environment | {
        "PYTHONPATH": str(PROJECT),
        "TRUNKAUTH_STATE_DIR": str(state),
        "TRUNKAUTH_LISTEN": f"udp:{address}",
        "TRUNKAUTH_WORKERS": "2",
    }


def make_database(environment: dict[str, str], state: Path, carrier: str, password: str) -> None:
    """An embedded database with one trunk: what a DBA would write for this carrier."""
    made = subprocess.run(
        [sys.executable, "-m", "kemi", "db"], env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise DemoError(f"python -m kemi db: {made.stderr.strip() or made.stdout.strip()}")
    engine = create_engine(URL.create("sqlite", database=str(state / "trunkauth.sqlite")))
    trunk = {  # complete: the uac module skips a row without one of the l_, r_ and auth_ columns
        "l_uuid": TRUNK,
        "l_username": "pbx",
        "l_domain": "pbx.example",
        "r_username": TRUNK,
        "r_domain": REALM,
        "realm": REALM,
        "auth_proxy": f"sip:{carrier}",
        "auth_username": TRUNK,
        "auth_password": password,
    }
    with engine.begin() as connection:
        connection.execute(insert(uacreg).values(trunk))
    engine.dispose()


def start_kamailio(work: Path, environment: dict[str, str]) -> Server:
    record = (
        "--loadmodule=sipdump.so",
        "--modparam=sipdump:enable:i:1",
        "--modparam=sipdump:wait:i:10000",
        f"--modparam=sipdump:folder:s:{work}",
        "--modparam=sipdump:fprefix:s:record-",
    )
    command = [sys.executable, "-m", "kemi", "run", *record]
    return Server("Kamailio", command, environment, work / "kamailio.log")


def place_call(work: Path, pbx: str, kamailio: str) -> str:
    """The PBX's call; returns what SIPp found wrong with it, "" for nothing."""
    host, _, port = pbx.partition(":")
    command = ["sipp", kamailio, "-i", host, "-p", port, "-sf", str(LAB / "caller.xml"), "-m", "1"]
    command += ["-s", NUMBER, "-key", "trunk", TRUNK, "-nostdin", "-timeout", f"{CALL_LIMIT:.0f}s", "-timeout_error"]
    try:
        sipp = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=CALL_LIMIT + 2, check=False)
    except subprocess.TimeoutExpired:
        return "SIPp did not end in time"
    if not sipp.returncode:
        return ""
    return f"SIPp ended with status {sipp.returncode}: {textwrap.shorten(sipp.stderr, 240)}"


def recorded(work: Path) -> list[Message]:
    files = sorted(work.glob("record-*.data"))
    return calls(read_record("".join(path.read_text(errors="replace") for path in files)))


def demonstrate(work: Path, carrier_password: str, trunk_password: str) -> bool:
    """Place the call, print what the record says of it, and return whether it was authenticated."""
    pbx, kamailio, carrier = free_addresses(3)
    state = work / "state"
    environment = own_environment(state, kamailio)
    with contextlib.ExitStack() as started:
        carrier_server = start_carrier(work, carrier, carrier_password)
        started.callback(carrier_server.stop)
        make_database(environment, state, carrier, trunk_password)
        server = start_kamailio(work, environment)
        started.callback(server.stop)
        carrier_server.wait_until_it_answers(carrier)
        server.wait_until_it_answers(kamailio)
        print(f"A PBX without a carrier password calls {NUMBER}; the carrier asks for one.\n", flush=True)
        fault = place_call(work, pbx, kamailio)
        wait_for(lambda: not shortfalls(recorded(work), pbx, carrier), RECORD_LIMIT)
    messages = recorded(work)
    print(ladder(messages, {pbx: "PBX", kamailio: "Kamailio", carrier: "carrier"}), end="\n\n")
    faults = shortfalls(messages, pbx, carrier) + ([fault] if fault else [])
    if faults:
        print("FAILED:", *faults, sep="\n  ")
        print(f"\nKamailio's last log lines:\n{server.last_lines()}")
    else:
        print(f"AUTHENTICATED: the carrier accepted trunk {TRUNK}'s digest; call set up and torn down.")
    return not faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="One call, authenticated for its PBX.")
    parser.add_argument(
        "--wrong-password",
        action="store_true",
        help="give the trunk another password than the carrier's: the verdict must be FAILED",
    )
    wrong = parser.parse_args().wrong_password
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where Debian puts kamailio
    absent = [program for program in ("kamailio", "sipp") if not shutil.which(program)]
    if absent:
        print(f"FAILED: not installed: {', '.join(absent)}; kamailio/install installs Debian's", file=sys.stderr)
        return 1
    password = secrets.token_hex(16)
    try:
        with tempfile.TemporaryDirectory(prefix="trunkauth-demo-") as work:
            return 0 if demonstrate(Path(work), password, secrets.token_hex(16) if wrong else password) else 1
    except DemoError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
