"""Calls over two trunks, the first of whose carriers goes up and down all the while: none may be lost but those that
this carrier had answered when it went.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.demo import REALM, TRUNK, free_addresses
from lab.programs import wait_for
from tests.bench import sipp
from tests.bench.calls import PACKAGE, Proxy, running
from tests.bench.report import output
from tests.bench.sipp import Account, BenchError, Load
from tests.harness.database import Database, trunks_of

RATE = 100  # calls per second, unless told: one that nothing is short of, because whoever is drops messages too
UP, DOWN = 12.0, 8.0  # seconds
TRY_SECONDS = 3  # a call may wait for a silent carrier more than once: it comes back, challenges, and is gone again
PATIENCE = 12.0  # seconds
UNSTEADY = "unsteady"
COPIED_WITHIN = 10.0  # seconds


@dataclass(frozen=True)
class Swing:
    """unanswered: calls that got no 200. dropped: calls that got one, and whose carrier was gone at their end. taken:
    those that the unsteady carrier has seen to their end. downs: how often it went away.
    """

    calls: int
    rate: int
    unanswered: int
    dropped: int
    taken: int
    downs: int


def swing(calls: int, rate: int = RATE, up: float = UP, down: float = DOWN) -> Swing:
    """Place so many calls. Raises BenchError."""
    (address,) = free_addresses(1)
    account, load = Account(REALM, UNSTEADY, secrets.token_hex(16)), Load(rate, calls, patience=PATIENCE)
    with running(PACKAGE, "near", also={"TRUNKAUTH_TRY_SECONDS": str(TRY_SECONDS)}) as proxy:
        _add_trunk(proxy, address, account)
        with _unsteady(proxy.folder, address, account, up, down) as taken, _folder(proxy.folder) as folder:
            seen = sipp.place_calls(folder, proxy.source, proxy.address, f"{UNSTEADY}, {TRUNK}", load)
            if seen.answered < calls:
                _keep(proxy.kamailio.log(), folder / sipp.ERRORS)
        proxy.check_running()
        if "fault=" in proxy.kamailio.log():
            raise BenchError(f"a fault in the log\n{proxy.kamailio.last_lines()}")
    unanswered = calls - seen.answered
    return Swing(calls, rate, unanswered, seen.lost - unanswered, sum(taken), len(taken) - 1)


def _keep(log: str, errors: Path) -> None:
    """Keep both logs, which tell why a call was not answered."""
    (output() / "failover.log").write_text(log)
    if errors.exists():
        (output() / "failover-caller.log").write_text(errors.read_text(errors="replace"))


def _add_trunk(proxy: Proxy, address: str, account: Account) -> None:
    """Make the unsteady carrier's row, and wait for its copy."""
    database = Database(proxy.folder / "state" / "trunkauth.sqlite")
    database.insert_trunk({
        "l_uuid": UNSTEADY, "realm": REALM, "r_domain": REALM, "auth_proxy": f"sip:{address}",
        "auth_username": UNSTEADY, "auth_password": account.password,
    })  # fmt: skip
    copy = proxy.folder / "state" / "replica.sqlite"
    if not wait_for(lambda: trunks_of(copy) == trunks_of(database.path), COPIED_WITHIN):
        raise BenchError(f"no copy of the row within {COPIED_WITHIN:g} s")


@contextlib.contextmanager
def _unsteady(work: Path, address: str, account: Account, up: float, down: float) -> Iterator[list[int]]:
    """A carrier that goes up and down until the block ends; yields how many calls it has taken, each time that it was
    up.
    """
    taken: list[int] = []
    is_up, over = threading.Event(), threading.Event()

    def run() -> None:
        while not over.is_set():
            with _folder(work) as folder, _carrier(folder, address, account) as carrier:
                is_up.set()
                over.wait(up)
                taken.append(carrier.ended_calls())
            over.wait(down)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        if not is_up.wait(sipp.START_LIMIT):
            raise BenchError("the unsteady carrier has not come up")
        yield taken
    finally:
        over.set()
        thread.join()


def _carrier(folder: Path, address: str, account: Account) -> contextlib.AbstractContextManager[sipp.Carrier]:
    return sipp.carrier(folder, address, account, secrets.token_hex(16), challenges=True, is_far=False)


@contextlib.contextmanager
def _folder(work: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        yield Path(folder)
