"""The database is away: calls over the trunks that are known go on, whatever is the matter with it and for as long as
it lasts, and what changes meanwhile is in use soon after.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.db.servers import Server
from tests.harness.database import ServerDatabase
from tests.harness.node import Native, Options
from tests.harness.scene import Scene
from tests.harness.steps import all_end_with, status, wait_until
from tests.live.outages import (
    BACK_WITHIN,
    CALLS_EVERY,
    GONE,
    GONE_WITHIN,
    WORKERS,
    Load,
    Outage,
    Site,
    frozen,
    in_touch,
    out_of_connections,
    refusing_the_password,
    serve,
    site_of,
    stopped,
    told_once,
    unreachable,
    with_a_column_dropped,
    with_a_table_renamed,
)

pytestmark = pytest.mark.long

FROZEN_FOR = 12.0  # seconds, under load
SLOW = 5.0  # seconds for each answer


@pytest.fixture(scope="module")
def with_notice(running_postgresql: Server, native: Native) -> Iterator[Site]:
    with site_of(running_postgresql, native, gives_notice=True) as site:
        yield site


@pytest.fixture(scope="module")
def with_mariadb(running_mariadb: Server, native: Native) -> Iterator[Site]:
    with site_of(running_mariadb, native, gives_notice=False) as site:
        yield site


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
        all_end_with(scene, trunk.uuid, 404)
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


def test_under_load_nothing_is_lost_while_the_database_is_frozen_and_restarted(
    native: Native, postgresql_server: Server
) -> None:
    database = ServerDatabase(postgresql_server.new_database(), gives_notice=True)
    database.list_callers(("127.0.0.1",))
    with (
        native.running(Options(udp_workers=WORKERS, database=database)) as node,
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
