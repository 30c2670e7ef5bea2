"""What the local copy costs and how fresh it is: look-ups, a worker's memory, the first whole sync, the delay from the
DBA's COMMIT to its use. Every measurement that has to do with memory runs in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, make_url, text
from tqdm import tqdm

from kemi.replica import copy as replica
from kemi.replica.keeper import Keeper
from kemi.replica.source import BATCH
from kemi.start import schema
from kemi.trunks.rows import Rules
from kemi.trunks.store import TrunkStore
from kemi.trunks.tables import copied_uacreg
from tests.db import servers
from tests.db.site import Site, site

SIZES = (10, 10_000, 1_000_000)
LOOKUPS = 20_000
TICK = 0.1  # seconds, as kamailio.cfg has it
POLL = 0.001
COMMITS = 100
WITHIN = 30.0
SOURCE = URL.create("postgresql+psycopg", database="bench")
MEBIBYTE = 1 << 20

Result = TypeVar("Result")

# n is the row's number; seq_1_to_9 is a table of MariaDB's sequence engine
ROWS = {
    "postgresql": "FROM generate_series({first}, {last}) AS n",
    "mysql": "FROM (SELECT seq AS n FROM seq_{first}_to_{last}) AS numbers",
}
INSERT = (
    "INSERT INTO uacreg (id, l_uuid, l_username, l_domain, r_domain, realm, auth_username, auth_password, auth_proxy)"
    " SELECT n, concat('t', n), concat('49', n), 'pbx.example', 'carrier.example', 'carrier.example',"
    " concat('u', n), md5(concat(n, '')), 'sip:sbc.carrier.example;transport=tcp' "
)


@dataclass(frozen=True)
class Lookup:
    """Of one size of the table: seconds per look-up that hits the worker's dictionary, and that does not; bytes."""

    rows: int
    hit: float
    miss: float
    worker_memory: int


@dataclass(frozen=True)
class Sync:
    """Of the first whole sync: seconds, and the peak of the process that did it, in bytes."""

    server: str
    rows: int
    seconds: float
    peak_memory: int


@dataclass(frozen=True)
class Delay:
    """From COMMIT to the first look-up that gives the new row, in seconds."""

    commits: int
    median: float
    worst: float


def lookups(sizes: tuple[int, ...] = SIZES) -> Iterator[Lookup]:
    """A worker's look-ups in copies of all sizes, in rows."""
    for rows in tqdm(sizes, desc="look-ups"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "replica.sqlite"
            _filled(path, rows)
            yield _in_a_process_of_its_own(_look_up, path, rows)


def first_sync(rows: int) -> Iterator[Sync]:
    """The first whole sync of a table, from each kind of server."""
    for server in tqdm((servers.postgresql, servers.mariadb), desc="first whole sync"):
        with server() as running, tempfile.TemporaryDirectory() as folder:
            fill_server(running.url, rows)
            file = Path(folder) / "replica.sqlite"
            seconds, peak = _in_a_process_of_its_own(_sync, running.url.render_as_string(hide_password=False), file)
            yield Sync(server.__name__, rows, seconds, peak)


def delay_from_commit(commits: int = COMMITS) -> Delay:
    """PostgreSQL with notices: from COMMIT until a worker's look-up gives the new row."""
    with servers.postgresql() as server, tempfile.TemporaryDirectory() as folder:
        fill_server(server.url, 1000)
        with site(server.url, Path(folder), interval=3600) as place:
            assert not schema.install_notice(place.dba)
            place.tick()
            with _ticking(place):
                delays = [_delay(place, number) for number in tqdm(range(commits), desc="COMMIT to use")]
    return Delay(commits, statistics.median(delays), max(delays))


def _delay(place: Site, number: int) -> float:
    """One commit, at any moment between two ticks."""
    pause = threading.Event()
    pause.wait(random.uniform(0, TICK))
    uuid, password = f"t{number + 1}", f"new-{number}"
    assert place.store.by_uuid(uuid) is not None
    place.execute("UPDATE uacreg SET auth_password = :password WHERE l_uuid = :uuid", password=password, uuid=uuid)
    committed = time.perf_counter()
    while True:
        trunk = place.store.by_uuid(uuid)
        if trunk is not None and trunk.auth_password == password:
            return time.perf_counter() - committed
        assert time.perf_counter() - committed < WITHIN, place.lines[-5:]
        pause.wait(POLL)


@contextmanager
def _ticking(place: Site) -> Iterator[None]:
    """Tick as Kamailio does, until the block is left."""
    stopped = threading.Event()

    def tick() -> None:
        while not stopped.wait(TICK):
            place.keeper.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _in_a_process_of_its_own(measure: Callable[..., Result], *arguments: object) -> Result:
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(measure, arguments)


def _look_up(path: Path, rows: int) -> Lookup:
    store = TrunkStore(path, SOURCE)
    names = [f"t{random.randint(1, rows)}" for _ in range(LOOKUPS)]
    misses = []
    for name in names:
        store._kept.clear()
        started = time.perf_counter()
        assert store.by_uuid(name) is not None
        misses.append(time.perf_counter() - started)
    hits = []
    for _ in range(LOOKUPS):
        started = time.perf_counter()
        store.by_uuid(names[-1])
        hits.append(time.perf_counter() - started)
    for name in names:  # the dictionary is as full as it gets
        store.by_uuid(name)
    memory = _own_memory("VmRSS")
    store.close()
    return Lookup(rows, statistics.median(hits), statistics.median(misses), memory)


def _sync(url: str, file: Path) -> tuple[float, int]:
    source = make_url(url)
    replica.prepare(file, source, Rules())
    keeper = Keeper(file, source, 10, Rules())
    started = time.perf_counter()
    report = keeper.tick()
    seconds = time.perf_counter() - started
    assert any(line.fields["outcome"] == "database-copied" for line in report.lines), report.lines
    keeper.close()
    return seconds, _own_memory("VmHWM")


def _own_memory(figure: str) -> int:
    """Of this process, in bytes: VmRSS now, VmHWM at its peak (proc(5)). getrusage() would tell the peak of the process
    that started this one, if that was higher.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{figure}:")) * 1024


def fill_server(url: URL, rows: int, first: int = 1) -> None:
    """A server's tables with this many trunks."""
    engine = schema.open_database(url)
    schema.create(engine)
    with engine.connect() as connection:
        connection.execute(text(INSERT + ROWS[url.get_backend_name()].format(first=first, last=first + rows - 1)))
    engine.dispose()


def _filled(path: Path, rows: int) -> None:
    """A copy with this many trunks."""
    replica.prepare(path, SOURCE, Rules())
    copy = replica.Copy(path, Rules())
    columns = [column.name for column in copied_uacreg.columns]
    with copy.transaction() as writer:
        for start in range(1, rows + 1, BATCH):
            numbers = range(start, min(start + BATCH, rows + 1))
            writer.insert(copied_uacreg, (tuple(_row(number).get(name, "") for name in columns) for number in numbers))
        writer.note_synced()
    copy.empty_log()
    copy.close()


def _row(number: int) -> dict[str, str | int]:
    return {
        "id": number,
        "l_uuid": f"t{number}",
        "l_username": f"49{number}",
        "l_domain": "pbx.example",
        "r_domain": "carrier.example",
        "realm": "carrier.example",
        "auth_username": f"u{number}",
        "auth_password": f"{number:032x}",
        "auth_proxy": "sip:sbc.carrier.example;transport=tcp",
        "expires": 0,
        "flags": 0,
        "reg_delay": 0,
    }
