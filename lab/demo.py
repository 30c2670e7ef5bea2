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
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from sqlalchemy import create_engine, insert
from sqlalchemy.engine import URL

from kemi.command.ladder import Message, ladder
from kemi.trunks.tables import uacreg
from lab.programs import Foreground, ProgramError, free_ports, wait_for
from lab.record import calls, read_record, shortfalls

LAB = Path(__file__).resolve().parent
PROJECT = LAB.parent
TRUNK, NUMBER, REALM = "demo", "4930123456", "carrier.example"
FULL_TRUNK = "full"

CALL_LIMIT = 6.0  # seconds for the whole call
RECORD_LIMIT = 1.0  # seconds until the record holds what was sent last


def free_addresses(count: int) -> list[str]:
    """Return addresses of loopback that nobody uses now."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def start_carrier(work: Path, address: str, trunk: str, password: str, *definitions: str) -> Foreground:
    state = work / f"carrier-{trunk}"
    state.mkdir()
    environment = os.environ | {
        "CARRIER_LISTEN": f"udp:{address}",
        "CARRIER_USER": trunk,
        "CARRIER_PASSWORD": password,
        "CARRIER_REALM": REALM,
    }
    command = ["kamailio", "-DD", "-E", "-m", "32", "-f", str(LAB / "carrier.cfg"), "-Y", str(state)]
    command += [f"-A{definition}" for definition in definitions]
    return Foreground("a carrier's Kamailio", command, work / f"{state.name}.log", environment=environment)


def own_environment(state: Path, address: str) -> dict[str, str]:
    """Our environment without its TRUNKAUTH_ settings: the demo has a database and a port of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKAUTH_")}
    return environment | {
        "PYTHONPATH": str(PROJECT),
        "TRUNKAUTH_STATE_DIR": str(state),
        "TRUNKAUTH_LISTEN": f"udp:{address}",
        "TRUNKAUTH_WORKERS": "2",
    }


def make_database(environment: dict[str, str], state: Path, carriers: dict[str, str], password: str) -> None:
    """An embedded database with a trunk to each carrier: what a DBA would write for them."""
    made = subprocess.run(
        [sys.executable, "-m", "kemi", "db"], env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise ProgramError(f"python -m kemi db: {made.stderr.strip() or made.stdout.strip()}")
    engine = create_engine(URL.create("sqlite", database=str(state / "trunkauth.sqlite")))
    rows = [
        {  # complete: the uac module skips a row without one of the l_, r_ and auth_ columns
            "l_uuid": trunk,
            "l_username": "pbx",
            "l_domain": "pbx.example",
            "r_username": trunk,
            "r_domain": REALM,
            "realm": REALM,
            "auth_proxy": f"sip:{carrier}",
            "auth_username": trunk,
            "auth_password": password,
        }
        for trunk, carrier in carriers.items()
    ]
    with engine.begin() as connection:
        connection.execute(insert(uacreg), rows)
    engine.dispose()


def start_kamailio(work: Path, environment: dict[str, str]) -> Foreground:
    record = (
        "--loadmodule=sipdump.so",
        "--modparam=sipdump:enable:i:1",
        "--modparam=sipdump:wait:i:10000",
        f"--modparam=sipdump:folder:s:{work}",
        "--modparam=sipdump:fprefix:s:record-",
    )
    command = [sys.executable, "-m", "kemi", "run", "-u", str(os.geteuid()), *record]  # its files are ours alone
    return Foreground("Kamailio", command, work / "kamailio.log", environment=environment)


def place_call(work: Path, pbx: str, kamailio: str, trunks: str) -> str:
    """The PBX's call over the first of these trunks that takes it; returns what SIPp found wrong with it, "" for
    nothing.
    """
    host, _, port = pbx.partition(":")
    command = ["sipp", kamailio, "-i", host, "-p", port, "-sf", str(LAB / "caller.xml"), "-m", "1", "-d", "200"]
    command += ["-s", NUMBER, "-key", "trunk", trunks, "-nostdin", "-timeout", f"{CALL_LIMIT:.0f}s", "-timeout_error"]
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


def demonstrate(work: Path, carrier_password: str, trunk_password: str, *, fails_over: bool) -> bool:
    """Place the call, print what the record says of it, and return whether it was authenticated. fails_over: over two
    trunks, the first of which has no room.
    """
    pbx, kamailio, full, carrier = free_addresses(4)
    state = work / "state"
    environment = own_environment(state, kamailio)
    carriers = {**({FULL_TRUNK: full} if fails_over else {}), TRUNK: carrier}
    with contextlib.ExitStack() as started:
        servers = {}
        for trunk, address in carriers.items():
            definitions = ["FULL"] if trunk == FULL_TRUNK else []
            servers[address] = start_carrier(work, address, trunk, carrier_password, *definitions)
            started.callback(servers[address].end)
        make_database(environment, state, carriers, trunk_password)
        server = start_kamailio(work, environment)
        started.callback(server.end)
        for address, each in servers.items():
            each.wait_until_it_answers(address)
        server.wait_until_it_answers(kamailio)
        asks = "both carriers ask for one, and the first has no room" if fails_over else "the carrier asks for one"
        print(f"A PBX without a carrier password calls {NUMBER}; {asks}.\n", flush=True)
        fault = place_call(work, pbx, kamailio, ", ".join(carriers))
        wait_for(lambda: not shortfalls(recorded(work), pbx, carrier), RECORD_LIMIT)
    messages = recorded(work)
    columns = {pbx: "PBX", kamailio: "Kamailio"} | ({full: "full carrier"} if fails_over else {})
    print(ladder(messages, {**columns, carrier: "carrier"}), end="\n\n")
    faults = shortfalls(messages, pbx, carrier) + ([fault] if fault else [])
    if fails_over and not any(message.source == full and message.status == 503 for message in messages):
        faults.append("the full carrier did not say 503")
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
    parser.add_argument(
        "--failover", action="store_true", help="over two trunks: the first one's carrier asks, and says 503"
    )
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where Debian puts kamailio
    absent = [program for program in ("kamailio", "sipp") if not shutil.which(program)]
    if absent:
        print(f"FAILED: not installed: {', '.join(absent)}; kamailio/install installs Debian's", file=sys.stderr)
        return 1
    password = secrets.token_hex(16)
    try:
        with tempfile.TemporaryDirectory(prefix="trunkauth-demo-") as work:
            own = secrets.token_hex(16) if asked.wrong_password else password
            return 0 if demonstrate(Path(work), password, own, fails_over=asked.failover) else 1
    except ProgramError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
