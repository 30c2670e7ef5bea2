"""Kamailio is started while its database is away, killed amid a copy, or left with a damaged one: no call gets a wrong
answer, and none is served from what cannot be trusted.
"""

from __future__ import annotations

import contextlib
import re
import resource
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.replica import copy as replica
from kemi.trunks.rows import Rules
from tests.db.servers import Server
from tests.harness.carrier import Carrier, Script
from tests.harness.database import ServerDatabase
from tests.harness.machine import PROJECT
from tests.harness.node import Installation, Kamailio, Native, Options
from tests.harness.nonces import Nonces
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import all_end_with, place, status, wait_until
from tests.harness.verifier import Challenge
from tests.live.outages import BACK, BACK_WITHIN, GONE, GONE_WITHIN, WORKERS, line_to, options_for, serve, told_once

pytestmark = pytest.mark.long

COPIED_ROWS = 20_000  # of about 150 octets each
CUT_AFTER = 1_000_000  # octets: amid those rows
DISK = 500_000  # octets, the largest file that fits a full disk


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
    options = Options(udp_workers=WORKERS, database=database)
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


def health(node: Kamailio) -> str:
    """What the container's health check says; empty: it is healthy."""
    command = [sys.executable, str(PROJECT / "kemi/health/options.py"), f"udp:{node.sip[0]}:{node.sip[1]}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert bool(done.returncode) == bool(done.stderr)
    return done.stderr


def test_a_first_start_without_the_database_serves_as_soon_as_it_is_there_and_says_when(
    installation: Installation, database: ServerDatabase, known: Trunk, postgresql_server: Server
) -> None:
    postgresql_server.stop()
    options = Options(udp_workers=WORKERS, database=database, at_first=503)
    with installation.running(options) as node, Scene(node, in_order=False) as scene:
        node.wait_for_log("there is no copy yet", GONE_WITHIN)
        for _ in range(2 * WORKERS):
            retry_later(scene)
            probe = scene.pbx.request("OPTIONS", f"sip:{node.sip[0]}:{node.sip[1]}")
            assert probe.expect(503).first("Retry-After") == "10"
        assert "503 Service Unavailable" in health(node)
        postgresql_server.start()
        opens_with(scene, 200)
        node.wait_for("200 to OPTIONS", lambda: not health(node), within=2)
        assert node.log().count(GONE) == node.log().count(BACK) == 1


def test_killed_amid_a_sync_it_serves_from_the_old_copy_until_it_has_the_new(
    native: Native, database: ServerDatabase, known: Trunk, postgresql_server: Server
) -> None:
    with line_to(database) as line:
        with native.running(options_for(database, line)) as first, Scene(first, in_order=False) as scene:
            wait_until(scene, known.uuid, 200, within=10, before=(503,))
            line.cut_after(CUT_AFTER)
            insert_many(database)
            first.wait_for("the middle of the sync", lambda: line.is_cut, within=10)
            first.program.kill()
        assert copied_rows(first.state) == 1
        line.mend()
        postgresql_server.stop()
        with native.running(options_for(database, line, first.state)) as second, Scene(second, in_order=False) as scene:
            second.wait_for_log(GONE, GONE_WITHIN)
            serve(scene, known)
            assert copied_rows(first.state) == 1
            postgresql_server.start()
            count = second.wait_for("the sync", lambda: (n := copied_rows(first.state)) > 1 and n, BACK_WITHIN)
            assert count == COPIED_ROWS + 1


def test_a_full_disk_leaves_the_old_copy_in_use(native: Native, database: ServerDatabase, known: Trunk) -> None:
    with native.running(Options(udp_workers=WORKERS, database=database)) as node, Scene(node, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
        before = len(node.log())
        with full_disk(node):
            insert_many(database)
            node.wait_for_log("outcome=copy-not-kept", within=10, after=before)
            serve(scene, known)
            assert copied_rows(node.state) == 1
        node.wait_for("the sync", lambda: copied_rows(node.state) == COPIED_ROWS + 1, BACK_WITHIN)
        told_once(node, before, "outcome=copy-not-kept")


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
    replica.prepare(copy, url.set(database="another"), Rules())
    with contextlib.closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("INSERT INTO uacreg (l_uuid, auth_username, auth_proxy) VALUES ('known', 'a', 'sip:b.test')")
        connection.execute("INSERT INTO replica_state VALUES ('synced_at', '1')")
    copy.chmod(0o600)


def test_a_copy_that_was_damaged_is_made_anew(
    native: Native, database: ServerDatabase, known: Trunk, postgresql_server: Server
) -> None:
    options = Options(udp_workers=WORKERS, database=database)
    with native.running(options) as first, Scene(first, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
    options = replace(options, state=first.state, at_first=503)
    for damage in (overwritten, emptied, of_another_database):
        damage(first.state / "replica.sqlite", database.url)
        postgresql_server.stop()
        with native.running(options) as damaged, Scene(damaged, in_order=False) as scene:
            for _ in range(2 * WORKERS):
                retry_later(scene)
            postgresql_server.start()
            opens_with(scene, 200)


def test_a_copy_that_is_damaged_in_use_gives_no_wrong_answer(
    native: Native, database: ServerDatabase, known: Trunk
) -> None:
    options = Options(udp_workers=WORKERS, database=database)
    with native.running(options) as node, Scene(node, in_order=False) as scene:
        wait_until(scene, known.uuid, 200, within=10, before=(503,))
        for damage in (overwritten, emptied):
            damage(node.state / "replica.sqlite", database.url)
            late = scene.trunk()
            wait_until(scene, known.uuid, 200, within=10, before=(503, 500))
            wait_until(scene, late.uuid, 200, within=10, before=(503, 500, 404))  # 404: not copied yet
            all_end_with(scene, late.uuid, 200)


def test_a_copy_that_others_can_read_is_refused(native: Native, database: ServerDatabase, known: Trunk) -> None:
    options = Options(udp_workers=WORKERS, database=database)
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
