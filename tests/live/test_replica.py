"""What the DBA commits is used by the next calls, on every kind of database: no command is typed, nothing is restarted.

`notice`: PostgreSQL with the trigger that `make db` installs. `comparison`: without it. `mariadb`, and `embedded`: the
SQLite file itself.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine

from kemi.line import word
from tests.harness.carrier import Carrier
from tests.harness.database import ServerDatabase
from tests.harness.node import REGISTERS_EVERY_SECOND, Kamailio, Native, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import all_end_with, status, wait_until

pytestmark = pytest.mark.long

USED_WITHIN = 2.0  # seconds from the commit; the interval of comparisons is 1 s
REGISTERED_WITHIN = 6.0  # the uac module looks every second here
MANY = 1000  # rows of one transaction
GENERATIONS = 4
AGREE_FOR = 2.0  # seconds of transactions, one upon the other, which change both rows of a pair

SERVERS = ["notice", "comparison", "mariadb"]


@pytest.fixture(scope="module", params=[*SERVERS, "embedded"])
def source(request: pytest.FixtureRequest) -> str:
    """What the rows come from."""
    return str(request.param)


@pytest.fixture(scope="module")
def node(source: str, native: Native, request: pytest.FixtureRequest) -> Iterator[Kamailio]:
    """A Kamailio with that source and 4 workers."""
    database = None
    if source != "embedded":
        server = request.getfixturevalue("running_mariadb" if source == "mariadb" else "running_postgresql")
        database = ServerDatabase(server.new_database(), gives_notice=source == "notice")
        database.list_callers(("127.0.0.1",))
    with native.running(Options(udp_workers=4, database=database, modparams=REGISTERS_EVERY_SECOND)) as running:
        with Scene(running) as scene:
            wait_until(scene, "unheard-of", 404, within=10, before=(503,))
        yield running


@pytest.fixture
def scene(node: Kamailio) -> Iterator[Scene]:
    with Scene(node, in_order=False) as stage:
        yield stage


def carrier_of(scene: Scene, uuid: str, trunks: tuple[Trunk, ...]) -> Carrier:
    """Where a call over this l_uuid goes now."""
    before = [len(trunk.carrier.received("INVITE")) for trunk in trunks]
    assert status(scene, uuid) == 200
    (reached,) = (
        trunk.carrier
        for trunk, count in zip(trunks, before, strict=True)
        if len(trunk.carrier.received("INVITE")) > count
    )
    return reached


@contextlib.contextmanager
def reading(node: Kamailio, question: str) -> Iterator[set[tuple[object, ...]]]:
    """Every answer that the copy gives to a question while the block runs, asked as often as it can be."""
    answers: set[tuple[object, ...]] = set()
    over = threading.Event()

    def ask() -> None:
        with contextlib.closing(sqlite3.connect(node.state / "replica.sqlite", timeout=5)) as connection:
            while not over.wait(0.001):
                answers.update(connection.execute(question).fetchall())

    reader = threading.Thread(target=ask)
    reader.start()
    try:
        yield answers
    finally:
        over.set()
        reader.join()


def test_a_new_row_is_used_by_every_worker_and_a_removed_one_by_none(scene: Scene) -> None:
    trunk = scene.trunk()
    wait_until(scene, trunk.uuid, 200, USED_WITHIN)
    all_end_with(scene, trunk.uuid, 200)
    scene.kamailio.database.delete_trunk(trunk.uuid)
    # 503: a call that was challenged just when its trunk went
    wait_until(scene, trunk.uuid, 404, USED_WITHIN, before=(200, 503))
    all_end_with(scene, trunk.uuid, 404)


def test_a_new_password_is_used(scene: Scene) -> None:
    trunk = scene.trunk(auth_password="no longer this one")
    wait_until(scene, trunk.uuid, 503, USED_WITHIN)
    update = "UPDATE uacreg SET auth_password = ? WHERE l_uuid = ?"
    with reading(scene.kamailio, f"SELECT auth_password, 1 FROM uacreg WHERE l_uuid = '{trunk.uuid}'") as seen:
        scene.kamailio.wait_for("the row in the local file", lambda: seen, USED_WITHIN)
        scene.kamailio.database.execute(update, (trunk.password, trunk.uuid))
        scene.kamailio.wait_for("the change in the local file", lambda: len(seen) > 1, USED_WITHIN)
    all_end_with(scene, trunk.uuid, 200)


def test_two_rows_that_swap_their_l_uuid(scene: Scene) -> None:
    one, other = trunks = (scene.trunk(), scene.trunk())
    for trunk in trunks:
        wait_until(scene, trunk.uuid, 200, USED_WITHIN)
    rename = "UPDATE uacreg SET l_uuid = ? WHERE l_uuid = ?"
    names = f"SELECT l_uuid, r_domain FROM uacreg WHERE r_domain IN ('{one.domain}', '{other.domain}')"
    with reading(scene.kamailio, f"SELECT count(*), max(l_uuid || ' ' || r_domain) FROM ({names})") as seen:
        scene.kamailio.wait_for("both rows in the local file", lambda: len(seen) == 1, USED_WITHIN)
        with scene.kamailio.database.transaction() as execute:
            for new, old in (("aside", one.uuid), (one.uuid, other.uuid), (other.uuid, "aside")):
                execute(rename, (new, old))
        scene.kamailio.wait_for("the swap in the local file", lambda: len(seen) > 1, USED_WITHIN)
    scene.kamailio.wait_until_looked_at()
    assert {count for count, _ in seen} == {2}
    assert carrier_of(scene, one.uuid, trunks) is other.carrier
    assert carrier_of(scene, other.uuid, trunks) is one.carrier


def test_a_table_that_is_emptied(scene: Scene, source: str) -> None:
    trunk = scene.trunk()
    wait_until(scene, trunk.uuid, 200, USED_WITHIN)
    scene.kamailio.database.execute("DELETE FROM uacreg" if source == "embedded" else "TRUNCATE TABLE uacreg")
    wait_until(scene, trunk.uuid, 404, USED_WITHIN, before=(200,))
    all_end_with(scene, trunk.uuid, 404)


def test_a_new_source_may_call_and_a_removed_one_may_not(scene: Scene) -> None:
    trunk, database = scene.trunk(), scene.kamailio.database
    newcomer = scene.caller(host="127.0.0.3")

    def answer() -> int:
        call = newcomer.request("MESSAGE", "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        return newcomer.wait("a final response", lambda: call.final).status

    def is_listed() -> bool:
        return "127.0.0.3" in scene.kamailio.rpc("permissions.addressDump")

    wait_until(scene, trunk.uuid, 200, USED_WITHIN)
    assert answer() == 403
    database.execute("INSERT INTO address (grp, ip_addr, mask, port) VALUES (1, '127.0.0.3', 32, 0)")
    scene.kamailio.wait_for("the new source is listed", is_listed, USED_WITHIN)
    assert answer() == 200
    database.execute("DELETE FROM address WHERE ip_addr = '127.0.0.3'")
    scene.kamailio.wait_for("the removed source is not listed", lambda: not is_listed(), USED_WITHIN)
    assert answer() == 403


def test_a_new_trunk_registers_a_changed_one_anew_and_a_removed_one_is_forgotten(scene: Scene) -> None:
    node = scene.kamailio
    domain = "line.test"
    trunk = scene.trunk(expires=60, l_username="line", l_domain=domain, r_username="line", r_domain=domain)
    trunk.carrier.expect("REGISTER", within=REGISTERED_WITHIN)
    assert trunk.uuid in node.rpc("uac.reg_dump")
    node.database.execute("UPDATE uacreg SET r_username = ? WHERE l_uuid = ?", ("another-line", trunk.uuid))
    node.wait_for("the changed registration", lambda: "another-line" in node.rpc("uac.reg_dump"), USED_WITHIN)
    node.database.delete_trunk(trunk.uuid)
    node.wait_for("its removal", lambda: trunk.uuid not in node.rpc("uac.reg_dump"), USED_WITHIN)


def test_a_large_transaction_arrives_whole(node: Kamailio) -> None:
    mark = secrets.token_hex(4)
    insert = "INSERT INTO uacreg (l_uuid, auth_username, realm) VALUES (?, 'me', 'generation-0')"
    whole = f"SELECT count(*), min(realm), max(realm) FROM uacreg WHERE l_uuid LIKE 'many-{mark}-%'"
    with reading(node, whole) as seen:
        with node.database.transaction() as execute:
            for number in range(MANY):
                execute(insert, (f"many-{mark}-{number}",))
        for generation in range(1, GENERATIONS):
            name = f"generation-{generation}"
            with node.database.transaction() as execute:
                execute("UPDATE uacreg SET realm = ? WHERE auth_username = 'me'", (name,))
            now = (MANY, name, name)
            node.wait_for(f"{name} in the local file", partial(seen.__contains__, now), USED_WITHIN)
        with node.database.transaction() as execute:
            execute("DELETE FROM uacreg WHERE auth_username = 'me'", ())
        node.wait_for("no row in the local file", lambda: (0, None, None) in seen, USED_WITHIN)
    assert {(count, first == last) for count, first, last in seen} == {(0, True), (MANY, True)}


@pytest.mark.parametrize("source", SERVERS, indirect=True)
def test_two_rows_that_always_agree_are_never_seen_to_differ(node: Kamailio) -> None:
    assert isinstance(node.database, ServerDatabase)
    for name in ("one", "other"):
        node.database.insert_trunk({"l_uuid": name, "auth_username": "pair"})
    until = time.monotonic() + AGREE_FOR
    generation = 0
    agree = "SELECT count(*), min(realm), max(realm) FROM uacreg WHERE auth_username = 'pair'"
    engine = create_engine(node.database.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with reading(node, agree) as seen, engine.connect() as connection:
        while time.monotonic() < until:  # one upon the other: amid whatever the keeper asks
            generation += 1
            connection.exec_driver_sql(f"UPDATE uacreg SET realm = '{generation}' WHERE auth_username = 'pair'")
        now = (2, str(generation), str(generation))
        node.wait_for("the last generation", lambda: now in seen, USED_WITHIN)
    node.database.execute("DELETE FROM uacreg WHERE auth_username = 'pair'")
    assert [answer for answer in seen if answer[0] == 2 and answer[1] != answer[2]] == []


def test_a_row_that_cannot_be_used_is_left_out_and_named_once(scene: Scene) -> None:
    node = scene.kamailio
    unusable = {
        ("auth_username", ""): "auth_username is empty or has a control character",
        ("auth_password", "two\r\nlines"): "auth_password has a control character",
        ("auth_ha1", "0123456789abcdef"): "auth_ha1 is not 32 or 64 hex digits",
        ("auth_proxy", "sip:nobody@"): "auth_proxy is not a SIP URI",
    }
    bad = []
    for (column, value), reason in unusable.items():
        columns: dict[str, Any] = {column: value}
        bad.append((scene.trunk(**columns), column, reason))
    for trunk, _, reason in bad:
        node.wait_for_log(f"trunk={trunk.uuid} outcome=unusable reason={word(reason)}", within=USED_WITHIN)
    for trunk, _, _ in bad:
        node.database.execute("UPDATE uacreg SET r_username = 'x' WHERE l_uuid = ?", (trunk.uuid,))  # no better for it
    good = scene.trunk()
    wait_until(scene, good.uuid, 200, USED_WITHIN)
    for trunk, column, _ in bad:
        all_end_with(scene, trunk.uuid, 404)
        lines = [line for line in node.log().splitlines() if f"trunk={trunk.uuid} outcome=unusable" in line]
        assert ["call-id=" in line for line in lines].count(False) == 1  # the others are of the calls
        usable = {"auth_username": trunk.user, "auth_password": trunk.password, "auth_proxy": trunk.carrier.proxy_uri}
        repair = f"UPDATE uacreg SET {column} = ? WHERE l_uuid = ?"
        node.database.execute(repair, (usable.get(column, ""), trunk.uuid))
    for trunk, _, _ in bad:
        wait_until(scene, trunk.uuid, 200, USED_WITHIN)


@pytest.mark.parametrize("source", ["mariadb", "embedded"], indirect=True)
def test_a_password_with_a_nul_is_left_out(scene: Scene) -> None:
    bad = scene.trunk(auth_password="before\0after")  # PostgreSQL's text holds none
    scene.kamailio.wait_for_log(f'trunk={bad.uuid} outcome=unusable reason="auth_password has a', within=USED_WITHIN)
    assert status(scene, bad.uuid) == 404


@pytest.mark.parametrize("source", ["notice"], indirect=True)
def test_after_a_notice_the_row_is_fetched_and_not_the_table(scene: Scene, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("running_postgresql")
    assert isinstance(scene.kamailio.database, ServerDatabase)
    before = len(server.log())
    trunk = scene.trunk()
    wait_until(scene, trunk.uuid, 200, USED_WITHIN)
    statements = re.split(r"\n(?!\t)", server.log()[before:])  # what belongs to the line before starts with a tab
    ours = [each for each in statements if each.startswith(f"kemi-trunkauth {scene.kamailio.database.url.database} ")]
    assert [each for each in ours if re.search(r"FROM uacreg\s+WHERE uacreg\.id IN \(\$[0-9]", each)], statements
    assert [each for each in ours if "md5(" in each or "uacreg.id >= " in each] == []


@pytest.mark.parametrize("source", SERVERS, indirect=True)
def test_one_connection_for_a_node_with_four_workers(node: Kamailio, source: str) -> None:
    assert isinstance(node.database, ServerDatabase)
    table = "information_schema.processlist" if source == "mariadb" else "pg_stat_activity"
    name, own = ("db", "connection_id()") if source == "mariadb" else ("datname", "pg_backend_pid()")
    number = "id" if source == "mariadb" else "pid"
    with node.database.transaction() as execute:
        result = execute(
            f"SELECT * FROM {table} WHERE {name} = ? AND {number} <> {own}", (node.database.url.database or "",)
        )
        (connection,) = result.mappings()
    if source != "mariadb":
        assert connection["application_name"] == "kemi-trunkauth"
