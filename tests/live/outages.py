"""A site whose database can be taken away, the ways to take it away, and what has to hold meanwhile."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.db.servers import PASSWORD, USER, Server
from tests.harness.agent import Exchange
from tests.harness.database import ServerDatabase
from tests.harness.forwarder import Forwarder
from tests.harness.node import Kamailio, Native, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import all_end_with, wait_until

WORKERS = 4
CALLS_EVERY = 0.05  # seconds
SERVED_FOR = 1.0  # seconds of an outage in which the database is tried again, at least where it refuses
GONE_WITHIN = 30.0  # seconds until an outage shows: a sign of life each 5 s, which may take 10
BACK_WITHIN = 40.0  # seconds until the pause between two tries, which has grown, is over
GONE, BACK = "outcome=database-away", "outcome=database-back"


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
    return Options(udp_workers=WORKERS, database=database, db_url=url, state=state)


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
        assert re.search(r' served-from="the copy of \d+ s ago"$', line), line


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
