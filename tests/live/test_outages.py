"""The database is away: calls over the trunks that are known go on, whatever is the matter with it and for as long as
it lasts, and what changes meanwhile is in use soon after.
"""

from __future__ import annotations

import contextlib
import re
import resource
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from kemi.replica import copy as replica
from tests.db.servers import PASSWORD, USER, Server
from tests.live.agent import Exchange
from tests.live.carrier import Carrier, Script
from tests.live.fixtures import Scene, Trunk
from tests.live.forwarder import Forwarder
from tests.live.node import Installation, Kamailio, Native, Options, ServerDatabase
from tests.live.nonces import Nonces
from tests.live.steps import all_end_with, place, status, wait_until
from tests.live.verifier import Challenge

WORKERS = 4
FROZEN_FOR = 20.0  # seconds, under load
CALLS_EVERY = 0.05  # seconds
SERVED_FOR = 2.0  # seconds of an outage in which the database is tried again, twice at least where it refuses
GONE_WITHIN = 30.0  # seconds until an outage shows: a sign of life each 5 s, which may take 10
BACK_WITHIN = 40.0  # seconds until the pause between two tries, which has grown, is over
SLOW = 5.0  # seconds for each answer
GONE, BACK = "the database is away", "the database is back"
COPIED_ROWS = 20_000  # of about 150 octets each
CUT_AFTER = 1_000_000  # octets: amid those rows
DISK = 500_000  # octets, the largest file that fits a full disk


@dataclass(frozen=True)
class Site:
    """A Kamailio, the line to its database, and the server at the other end."""

    node: Kamailio
    line: Forwarder
    server: Server
    database: ServerDatabase


@contextlib.contextmanager
def site_of(server: Server, native: Native, *, gives_notice: bool) -> Iterator[Site]:
    """A site that is in service."""
    database = ServerDatabase(server.new_database(), gives_notice=gives_notice)
    database.list_callers(("127.0.0.1",))
    with line_to(database) as line:
        options = options_for(database, line)
        with native.running(options) as node:
            with Scene(node, in_order=False) as scene:
                wait_until(scene, "unheard-of", 404, within=10, before=(503,))
            yield Site(node, line, server, database)


def line_to(database: ServerDatabase) -> Forwarder:
    return Forwarder((database.url.host or "", database.url.port or 0))


def options_for(database: ServerDatabase, line: Forwarder, state: Path | None = None) -> Options:
    url = database.url.set(host=line.address[0], port=line.address[1])
    return Options(workers=WORKERS, database=database, db_url=url, state=state)


@pytest.fixture(scope="module")
def with_notice(running_postgresql: Server, native: Native) -> Iterator[Site]:
    with site_of(running_postgresql, native, gives_notice=True) as site:
        yield site


@pytest.fixture(scope="module")
def with_mariadb(running_mariadb: Server, native: Native) -> Iterator[Site]:
    with site_of(running_mariadb, native, gives_notice=False) as site:
        yield site


# --- the outages: each lasts for as long as its block


@contextlib.contextmanager
def frozen(site: Site) -> Iterator[None]:
    site.server.freeze()
    try:
        yield
    finally:
        site.server.thaw()


@contextlib.contextmanager
def stopped(site: Site) -> Iterator[None]:
    site.server.stop()
    try:
        yield
    finally:
        site.server.start()


@contextlib.contextmanager
def unreachable(site: Site) -> Iterator[None]:
    with site.line.cut():
        yield


@contextlib.contextmanager
def administered(site: Site) -> Iterator[Connection]:
    """A connection that is there already when no other can be made."""
    engine = create_engine(site.server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def throw_out(connection: Connection) -> int:
    """End the keepers' connections; how many there were."""
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'kemi-trunkauth'"
    return int(connection.execute(text(ended)).scalar_one())


@contextlib.contextmanager
def refusing_the_password(site: Site) -> Iterator[None]:
    with administered(site) as connection:
        connection.exec_driver_sql(f"ALTER ROLE {USER} PASSWORD 'another one'")
        throw_out(connection)
        try:
            yield
        finally:
            connection.exec_driver_sql(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'")


@contextlib.contextmanager
def out_of_connections(site: Site) -> Iterator[None]:
    engine = create_engine(site.server.url, poolclass=NullPool)
    with contextlib.ExitStack() as taken, administered(site) as connection:
        while True:
            try:
                taken.enter_context(engine.connect())
            except OperationalError:
                if not throw_out(connection):
                    break
        yield


@contextlib.contextmanager
def with_a_table_renamed(site: Site) -> Iterator[None]:
    site.database.execute("ALTER TABLE uacreg RENAME TO elsewhere")
    site.database.execute("UPDATE elsewhere SET l_uuid = l_uuid")
    try:
        yield
    finally:
        site.database.execute("ALTER TABLE elsewhere RENAME TO uacreg")


@contextlib.contextmanager
def with_a_column_dropped(site: Site) -> Iterator[None]:
    site.database.execute("ALTER TABLE uacreg DROP COLUMN contact_addr")
    site.database.execute("UPDATE uacreg SET l_uuid = l_uuid")
    try:
        yield
    finally:
        site.database.execute("ALTER TABLE uacreg ADD COLUMN contact_addr VARCHAR(255) DEFAULT '' NOT NULL")


Outage = Callable[[Site], AbstractContextManager[None]]


# --- what must hold


def in_touch(scene: Scene, trunk: Trunk) -> int:
    """Wait until the database is not away, and its last commit in use; returns the length of the log."""
    node = scene.kamailio
    wait_until(scene, trunk.uuid, 200, BACK_WITHIN, before=(404, 503))
    node.wait_for("the end of earlier outages", lambda: (log := node.log()).rfind(BACK) >= log.rfind(GONE), BACK_WITHIN)
    return len(node.log())


def serve(scene: Scene, trunk: Trunk) -> None:
    """Calls and OPTIONS as ever, for a while, and more at once than there are workers: one that waited for anything
    would leave its call without an answer.
    """
    node = scene.kamailio
    until = time.monotonic() + SERVED_FOR
    all_end_with(scene, "unheard-of", 404)
    while time.monotonic() < until:
        all_end_with(scene, trunk.uuid, 200, count=3 * WORKERS)
        scene.pbx.request("OPTIONS", f"sip:{node.sip[0]}:{node.sip[1]}").expect(200)


def told_once(node: Kamailio, before: int, reason: str = GONE) -> None:
    """One line when it went and one when it came back, each with the age of the copy."""
    log = node.wait_for_log(BACK, BACK_WITHIN, after=before)
    for what in (reason, BACK):
        (line,) = (line for line in log.splitlines() if what in line)
        assert re.search(r"; calls (are|were) served from the copy of \d+ s ago$", line), line


OUTAGES = [
    ("with_notice", stopped),
    ("with_notice", unreachable),
    ("with_notice", refusing_the_password),
    ("with_notice", out_of_connections),
    ("with_notice", with_a_table_renamed),
    ("with_notice", with_a_column_dropped),
    ("with_mariadb", stopped),
    ("with_mariadb", frozen),
]


@pytest.mark.parametrize(("kind", "outage"), OUTAGES, ids=[f"{kind}-{outage.__name__}" for kind, outage in OUTAGES])
def test_calls_go_on(kind: str, outage: Outage, request: pytest.FixtureRequest) -> None:
    site: Site = request.getfixturevalue(kind)
    with Scene(site.node, in_order=False) as scene:
        trunk = scene.trunk()
        before = in_touch(scene, trunk)
        with outage(site):
            site.node.wait_for_log(GONE, GONE_WITHIN, after=before)
            serve(scene, trunk)
        site.database.execute("DELETE FROM uacreg")
        late = scene.trunk()
        wait_until(scene, late.uuid, 200, BACK_WITHIN)
        assert status(scene, trunk.uuid) == 404
        told_once(site.node, before)


def test_calls_go_on_while_each_answer_of_the_database_is_slow(with_notice: Site) -> None:
    site = with_notice
    with Scene(site.node, in_order=False) as scene:
        trunk = scene.trunk()
        before, answers = in_touch(scene, trunk), site.line.answers
        with site.line.slow(SLOW):
            late = scene.trunk()
            site.node.wait_for("an answer that took its time", lambda: site.line.answers > answers, within=15)
            assert status(scene, late.uuid) == 404
            serve(scene, trunk)
        wait_until(scene, late.uuid, 200, BACK_WITHIN)
        assert site.node.log()[before:].count(GONE) <= 1


# --- under load


class Load:
    """Calls over known trunks at a steady rate, and every tenth time an OPTIONS and a call for no trunk, until it is
    stopped. What was asked and what must be the answer is kept, to be judged at the end.
    """

    def __init__(self, scene: Scene, trunks: list[Trunk]) -> None:
        self._scene, self._trunks = scene, trunks
        self._pbx = scene.caller()
        self._placed: list[tuple[int, Exchange]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def expect_nothing_lost(self) -> int:
        """How many requests there were: each has had the answer that it must have."""
        for expected, exchange in self._placed:
            exchange.expect(expected)
        return len(self._placed)

    def _run(self) -> None:
        begun = time.monotonic()
        count = 0
        while not self._over.wait(max(0.0, begun + count * CALLS_EVERY - time.monotonic())):
            trunk = self._trunks[count % len(self._trunks)]
            self._placed.append((200, self._call(trunk.uuid)))
            if count % 10 == 0:
                host, port = self._scene.kamailio.sip
                self._placed.append((200, self._pbx.request("OPTIONS", f"sip:{host}:{port}")))
                self._placed.append((404, self._call("unheard-of")))
            count += 1

    def _call(self, uuid: str) -> Exchange:
        return self._pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", uuid)])


def test_under_load_nothing_is_lost_while_the_database_is_frozen_and_restarted(
    installation: Installation, postgresql_server: Server
) -> None:
    database = ServerDatabase(postgresql_server.new_database(), gives_notice=True)
    database.list_callers(("127.0.0.1",))
    with (
        installation.running(Options(workers=WORKERS, database=database)) as node,
        Scene(node, in_order=False) as scene,
    ):
        trunks = [scene.trunk() for _ in range(5)]
        before = in_touch(scene, trunks[-1])
        with Load(scene, trunks) as load:
            postgresql_server.freeze()
            frozen_at = time.monotonic()
            node.wait_for_log(GONE, GONE_WITHIN, after=before)
            node.wait_for("the end of the freeze", lambda: time.monotonic() > frozen_at + FROZEN_FOR, FROZEN_FOR)
            postgresql_server.kill()
            postgresql_server.start()
            late = scene.trunk()
            wait_until(scene, late.uuid, 200, BACK_WITHIN)
        assert load.expect_nothing_lost() > FROZEN_FOR / CALLS_EVERY
        told_once(node, before)


# --- starts and ends


@pytest.fixture
def database(postgresql_server: Server) -> ServerDatabase:
    """A database that one test has for itself."""
    found = ServerDatabase(postgresql_server.new_database(), gives_notice=True)
    found.list_callers(("127.0.0.1",))
    return found


@pytest.fixture
def known(database: ServerDatabase) -> Iterator[Trunk]:
    """A trunk that is in that database before any Kamailio is, and its carrier."""
    script = Script(Challenge(nonces=Nonces(in_order=False)))
    trunk = Trunk("known", "known.test", "me", "the carrier's own", Carrier(script, {"me": "the carrier's own"}))
    row = {"l_uuid": trunk.uuid, "r_domain": trunk.domain, "auth_username": trunk.user, "auth_password": trunk.password}
    database.insert_trunk({**row, "auth_proxy": trunk.carrier.proxy_uri})
    with trunk.carrier:
        yield trunk
        assert trunk.carrier.faults == []


def retry_later(scene: Scene) -> None:
    """There is nothing yet to serve a call from."""
    final = place(scene, "known").final
    assert final
    assert (final.status, final.first("Retry-After")) == (503, "10")


def opens_with(scene: Scene, expected: int) -> None:
    """The first answer that is not 503, to one call upon the other: not even for a moment may it be a wrong one."""
    deadline = time.monotonic() + BACK_WITHIN
    while (seen := status(scene, "known")) == 503:
        assert time.monotonic() < deadline, f"503 for {BACK_WITHIN:g} s\n{scene.kamailio.last_log_lines()}"
    assert seen == expected


def copied_rows(state: Path) -> int:
    """Rows of uacreg in the copy, as a worker sees them."""
    with contextlib.closing(sqlite3.connect(state / "replica.sqlite", timeout=5)) as connection:
        return int(connection.execute("SELECT count(*) FROM uacreg").fetchone()[0])


def insert_many(database: ServerDatabase) -> None:
    """So many rows that a sync takes a while, in one transaction."""
    many = f"SELECT 'many-' || n, 'me', repeat('x', 60), repeat('y', 60) FROM generate_series(1, {COPIED_ROWS}) n"
    database.execute(f"INSERT INTO uacreg (l_uuid, auth_username, auth_password, r_username) {many}")


def test_a_restart_while_the_database_is_away_serves_from_the_last_copy(
    installation: Installation, database: ServerDatabase, known: Trunk, postgresql_server: Server
) -> None:
    options = Options(workers=WORKERS, database=database)
    with installation.running(options) as first, Scene(first, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
    postgresql_server.stop()
    with installation.running(replace(options, state=first.state)) as second, Scene(second, in_order=False) as scene:
        second.wait_for_log(GONE, GONE_WITHIN)
        serve(scene, known)
        postgresql_server.start()
        late = scene.trunk()
        wait_until(scene, late.uuid, 200, BACK_WITHIN)
        told_once(second, before=0)


def test_a_first_start_without_the_database_serves_as_soon_as_it_is_there(
    native: Native, database: ServerDatabase, known: Trunk, postgresql_server: Server
) -> None:
    postgresql_server.stop()
    with native.running(Options(workers=WORKERS, database=database)) as node, Scene(node, in_order=False) as scene:
        node.wait_for_log("there is no copy yet", GONE_WITHIN)
        for _ in range(2 * WORKERS):
            retry_later(scene)
        postgresql_server.start()
        opens_with(scene, 200)
        assert node.log().count(GONE) == node.log().count(BACK) == 1


def test_killed_amid_a_sync_it_serves_from_the_old_copy_until_it_has_the_new(
    native: Native, database: ServerDatabase, known: Trunk
) -> None:
    with line_to(database) as line:
        with native.running(options_for(database, line)) as first, Scene(first, in_order=False) as scene:
            wait_until(scene, known.uuid, 200, within=10, before=(503,))
            line.cut_after(CUT_AFTER)
            insert_many(database)
            first.wait_for("the middle of the sync", lambda: line.is_cut, within=10)
            first.program.kill()
        assert copied_rows(first.state) == 1
        with native.running(options_for(database, line, first.state)) as second, Scene(second, in_order=False) as scene:
            second.wait_for_log(GONE, GONE_WITHIN)
            serve(scene, known)
            assert copied_rows(first.state) == 1
            line.mend()
            count = second.wait_for("the sync", lambda: (n := copied_rows(first.state)) > 1 and n, BACK_WITHIN)
            assert count == COPIED_ROWS + 1


def test_a_full_disk_leaves_the_old_copy_in_use(native: Native, database: ServerDatabase, known: Trunk) -> None:
    with native.running(Options(workers=WORKERS, database=database)) as node, Scene(node, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
        before = len(node.log())
        with full_disk(node):
            insert_many(database)
            node.wait_for_log("the copy cannot be kept", within=10, after=before)
            serve(scene, known)
            assert copied_rows(node.state) == 1
        node.wait_for("the sync", lambda: copied_rows(node.state) == COPIED_ROWS + 1, BACK_WITHIN)
        told_once(node, before, "the copy cannot be kept")


@contextlib.contextmanager
def full_disk(node: Kamailio) -> Iterator[None]:
    """No file of the keeper's process may grow: what it writes is refused as it is on a disk without space."""
    keeper = re.search(r"PID: (\d+)\s+DSC: [^\n]*timer=replica", node.rpc("core.psx"))
    assert keeper, node.rpc("core.psx")
    pid = int(keeper[1])
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (DISK, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def overwritten(copy: Path, _url: URL) -> None:
    size = copy.stat().st_size
    with copy.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def emptied(copy: Path, _url: URL) -> None:
    copy.write_bytes(b"")


def of_another_database(copy: Path, url: URL) -> None:
    for file in copy.parent.glob("replica.sqlite*"):
        file.unlink()
    replica.prepare(copy, url.set(database="another"))
    with contextlib.closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("INSERT INTO uacreg (l_uuid, auth_username, auth_proxy) VALUES ('known', 'a', 'sip:b.test')")
        connection.execute("INSERT INTO replica_state VALUES ('synced_at', '1')")
    copy.chmod(0o600)


DAMAGES = [overwritten, emptied, of_another_database]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_copy_that_was_damaged_is_made_anew(
    native: Native,
    database: ServerDatabase,
    known: Trunk,
    postgresql_server: Server,
    damage: Callable[[Path, URL], None],
) -> None:
    options = Options(workers=WORKERS, database=database)
    with native.running(options) as first, Scene(first, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
    damage(first.state / "replica.sqlite", database.url)
    postgresql_server.stop()
    with native.running(replace(options, state=first.state)) as second, Scene(second, in_order=False) as scene:
        for _ in range(2 * WORKERS):
            retry_later(scene)
        postgresql_server.start()
        opens_with(scene, 200)


@pytest.mark.parametrize("damage", [overwritten, emptied])
def test_a_copy_that_is_damaged_in_use_gives_no_wrong_answer(
    native: Native, database: ServerDatabase, known: Trunk, damage: Callable[[Path, URL], None]
) -> None:
    options = Options(workers=WORKERS, database=database)
    with native.running(options) as node, Scene(node, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
        damage(node.state / "replica.sqlite", database.url)
        late = scene.trunk()
        for uuid in (known.uuid, late.uuid):
            wait_until(scene, uuid, 200, within=10, before=(503, 500))
        all_end_with(scene, late.uuid, 200)


def test_a_copy_that_others_can_read_is_refused(native: Native, database: ServerDatabase, known: Trunk) -> None:
    options = Options(workers=WORKERS, database=database)
    with native.running(options) as first, Scene(first, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
    copy = first.state / "replica.sqlite"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    copy.chmod(0o640)
    with (
        pytest.raises(AssertionError, match=f"chmod 600 {copy}"),
        native.running(replace(options, state=first.state)),
    ):
        pass
