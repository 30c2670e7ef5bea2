"""One bad row changes nothing for the others, and a call that finds one is not sent over somebody else's trunk. No lock
on the DBA's own file is waited for.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import URL

from kemi.line import word
from tests.db.servers import Server
from tests.harness.carrier import Script
from tests.harness.database import ServerDatabase
from tests.harness.node import Installation, Kamailio, Native, Options
from tests.harness.scene import Scene
from tests.harness.steps import place, status, wait_until

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio, pytest.mark.long]

USED_WITHIN = 2.0  # seconds from the commit
AT_ONCE = 0.5  # seconds for an answer; SQLite would wait 5 for a lock
DEFAULT = "the-default-trunk"

# What the permissions module refuses all rows for, and a name, which it never resolves.
BAD_ADDRESSES = (
    "(11, 1, '10.0.0.0', 99, 0)", "(12, 1, '10.0.0.0', -1, 0)", "(13, 0, '10.0.0.1', 32, 0)",
    "(14, 1, 'pbx.example', 32, 0)", "(15, 1, '2001:db8::', 129, 0)",
)  # fmt: skip
INSERT_ADDRESS = "INSERT INTO address (id, grp, ip_addr, mask, port) VALUES "


def expect_lines(node: Kamailio, *lines: str) -> None:
    """Each of these is in the log, once."""
    for line in lines:
        assert node.wait_for_log(line).count(line) == 1, node.last_log_lines()


def wait_until_listed(node: Kamailio, address: str, *, dump: str = "addressDump") -> None:
    """Until Kamailio has this address. Calls would be a flood: a source that is not listed gets few answers."""
    node.wait_for(f"{address} is listed", lambda: address in node.rpc(f"permissions.{dump}"), USED_WITHIN)


def revoke_and_list_again(node: Kamailio, scene: Scene, uuid: str) -> None:
    """The list of callers is alive, and who is revoked can hang up."""
    up = scene.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", uuid)])
    up.expect(200)
    node.database.execute("UPDATE address SET ip_addr = '192.0.2.1' WHERE ip_addr = '127.0.0.1'")
    wait_until_listed(node, "192.0.2.1")
    assert status(scene, uuid) == 403
    up.inside("INFO").expect(481)
    up.inside("BYE").expect(200)
    node.database.execute("UPDATE address SET ip_addr = '127.0.0.1' WHERE ip_addr = '192.0.2.1'")
    wait_until_listed(node, "127.0.0.1")
    assert status(scene, uuid) == 200


def test_bad_addresses_change_nothing_for_the_others(installation: Installation) -> None:
    with installation.running() as node, Scene(node, in_order=False) as scene:
        trunk = scene.trunk(Script())
        node.database.execute(INSERT_ADDRESS + ", ".join(BAD_ADDRESSES))
        revoke_and_list_again(node, scene, trunk.uuid)
        expect_lines(node, *(f'address={number} outcome=unusable reason="' for number in range(11, 16)))
        node.database.execute("UPDATE address SET mask = 8, ip_addr = '127.0.0.0' WHERE id = 11")
        wait_until_listed(node, "127.0.0.0", dump="subnetDump")
        call = scene.caller(host="127.0.0.2").invite("sip:1@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        call.expect(200)
        assert "invalid record" not in node.log()


MANY_ADDRESSES = (
    "INSERT INTO address (ip_addr, mask) WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n"
    " WHERE i < 20599) SELECT '10.' || i / 65536 || '.' || i / 256 % 256 || '.' || i % 256,"
    " CASE WHEN i < 600 THEN 24 ELSE 32 END FROM n"
)


def test_many_addresses_are_all_listed(installation: Installation) -> None:
    """More than Kamailio's own memory, and its table of networks, have room for by default."""
    with installation.running() as node, Scene(node, in_order=False) as scene:
        trunk = scene.trunk(Script())
        node.database.execute(MANY_ADDRESSES)
        node.database.execute("INSERT INTO address (ip_addr, mask) VALUES ('127.0.0.2', 31)")
        node.wait_for("the last", lambda: "127.0.0.2" in node.rpc("permissions.subnetDump"), within=20)
        another = scene.caller(host="127.0.0.3")
        another.invite("sip:1@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(200)
        node.database.execute("DELETE FROM address WHERE ip_addr = '127.0.0.2'")
        node.wait_for("the revocation", lambda: "127.0.0.2" not in node.rpc("permissions.subnetDump"), within=20)
        another.invite("sip:1@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(403)


def test_bad_addresses_stop_no_start(installation: Installation, postgresql_server: Server) -> None:
    database = ServerDatabase(postgresql_server.new_database(), gives_notice=True)
    database.list_callers(("127.0.0.1",))
    database.execute(INSERT_ADDRESS + BAD_ADDRESSES[0])
    options = Options(database=database)
    with installation.running(options) as first, Scene(first, in_order=False) as scene:
        trunk = scene.trunk(Script())
        wait_until(scene, trunk.uuid, 200, within=10, before=(503, 404))
        revoke_and_list_again(first, scene, trunk.uuid)
    with installation.running(replace(options, state=first.state)) as second:
        expect_lines(second, 'address=11 outcome=unusable reason="mask is not a number from 0 to 32"')


# What 0.1.0 has left: every address as it came, and nothing about faults.
OF_0_1_0 = (
    "DROP TABLE replica_fault", "DELETE FROM replica_state WHERE name = 'rules'",
    "INSERT INTO address (id, ip_addr, mask) VALUES (11, '10.0.0.0', 99)",
)  # fmt: skip


def test_an_old_copy_with_a_bad_address_is_served_from(native: Native, postgresql_server: Server) -> None:
    database = ServerDatabase(postgresql_server.new_database(), gives_notice=True)
    database.list_callers(("127.0.0.1",))
    options = Options(database=database)
    with native.running(options) as first, Scene(first, in_order=False) as scene:
        trunk = scene.trunk(Script())
        wait_until(scene, trunk.uuid, 200, within=10, before=(503, 404))
        first.program.kill()
        with contextlib.closing(sqlite3.connect(first.state / "replica.sqlite")) as copy, copy:
            for statement in OF_0_1_0:
                copy.execute(statement)
        postgresql_server.stop()
        with native.running(replace(options, state=first.state)) as second, Scene(second, in_order=False) as again:
            assert status(again, trunk.uuid) == 200
            expect_lines(second, "address=11 outcome=unusable")
            postgresql_server.start()


@pytest.fixture(scope="module")
def defaulted(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio with a default trunk that has no row."""
    with installation.running(Options(default_trunk=DEFAULT)) as running:
        yield running


BAD_TRUNKS = {
    "no secret": ({"auth_password": ""}, "auth_password and auth_ha1 are empty"),
    "a port that cannot be": ({"auth_proxy": "sip:127.0.0.1:99999"}, "auth_proxy has a port that cannot be"),
    "a transport that cannot be": (
        {"auth_proxy": "sip:127.0.0.1;transport=pigeon"},
        "auth_proxy has a transport that no socket of TRUNKAUTH_LISTEN has",
    ),
    "another's socket": ({"socket": "udp:192.0.2.1:5060"}, "socket is not one that Kamailio listens on"),
    "a domain with a space": ({"r_domain": "carrier example"}, "r_domain is not a host"),
}


@pytest.mark.natively
@pytest.mark.parametrize("what", BAD_TRUNKS)
def test_a_bad_row_ends_its_calls_and_no_others(defaulted: Kamailio, what: str) -> None:
    columns, reason = BAD_TRUNKS[what]
    with Scene(defaulted) as scene:
        bad = scene.trunk(Script(), l_username="bad", **columns)
        others = scene.trunk(Script(), l_uuid=DEFAULT), scene.trunk(Script())
        expect_lines(defaulted, f"trunk={bad.uuid} outcome=unusable reason={word(reason)}")
        for sender, headers in (("sip:x@pbx.test", [("X-Trunk", bad.uuid)]), ("sip:bad@pbx.test", [])):
            call = scene.pbx.invite(f"sip:1@{others[1].domain}", sender=sender, headers=headers)
            assert call.expect(404).reason == "No Trunk"
            line = f"trunk={bad.uuid} outcome=unusable reason={word(reason)} call-id={call.request.call_id}"
            expect_lines(defaulted, line)
        assert not any(trunk.carrier.trace for trunk in (bad, *others))
        assert status(scene, others[1].uuid) == 200


@pytest.mark.natively
def test_an_x_trunk_without_a_row_is_sent_over_no_other(defaulted: Kamailio) -> None:
    with Scene(defaulted) as scene:
        default, callers = scene.trunk(Script(), l_uuid=DEFAULT), scene.trunk(Script(), l_username="alice")
        call = scene.pbx.invite(
            f"sip:1@{callers.domain}", sender="sip:alice@pbx.test", headers=[("X-Trunk", "unheard-of")]
        )
        assert call.expect(404).reason == "No Trunk"
        assert not default.carrier.trace
        assert not callers.carrier.trace


@pytest.mark.natively
def test_a_default_trunk_without_a_row_is_named(defaulted: Kamailio) -> None:
    defaulted.wait_for_log(f"trunk={DEFAULT} outcome=no-default-trunk")


def test_a_socket_is_used_however_its_transport_is_written(scene: Scene) -> None:
    host, port = scene.kamailio.sip
    trunk = scene.trunk(Script(), socket=f"UDP:{host}:{port}")
    scene.call(trunk).expect(200)
    assert trunk.carrier.expect("INVITE").vias[0].startswith(f"SIP/2.0/UDP {host}:{port}")


@pytest.fixture(scope="module")
def own_file(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    """A Kamailio whose database is the DBA's own SQLite file."""
    state = tmp_path_factory.mktemp("state")  # a container sees no other directory
    options = Options(state=state, db_url=URL.create("sqlite", database=f"{state}/own.sqlite"))
    with installation.running(options) as running:
        yield running


@pytest.fixture(params=["kamailio", "own_file"], ids=["embedded", "the DBA's own"])
def with_a_file(request: pytest.FixtureRequest, installation: Installation) -> Kamailio:
    """A Kamailio whose database is an SQLite file."""
    found: Kamailio = request.getfixturevalue(request.param)
    return found


@pytest.mark.natively
def test_nobody_waits_for_a_lock_on_the_file(with_a_file: Kamailio) -> None:
    node = with_a_file
    with Scene(node, in_order=False) as scene:
        trunk = scene.trunk()
        up = scene.call(trunk)
        up.expect(200)
        with contextlib.closing(sqlite3.connect(node.database.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            node.wait_for_log('outcome=database-away reason="database is locked" served-from="the copy of ')
            for _ in range(3):
                scene.pbx.request("OPTIONS", f"sip:{node.sip[0]}:{node.sip[1]}").expect(200, within=AT_ONCE)
                scene.call(trunk).expect(200, within=AT_ONCE)
                place(scene, trunk.uuid)
            up.inside("BYE").expect(200, within=AT_ONCE)
            other.execute("UPDATE uacreg SET auth_password = '' WHERE l_uuid = ?", (trunk.uuid,))
            other.execute("COMMIT")
        wait_until(scene, trunk.uuid, 404, USED_WITHIN, before=(200, 503))  # 503: between its challenge and the answer


@pytest.mark.natively
def test_calls_go_on_without_the_file(with_a_file: Kamailio) -> None:
    node = with_a_file
    with Scene(node, in_order=False) as scene:
        trunk = scene.trunk()
        node.database.execute("ALTER TABLE uacreg RENAME COLUMN socket TO sockets")
        node.wait_for_log('outcome=database-away reason="no such column: socket')
        assert status(scene, trunk.uuid) == 200
        node.database.execute("ALTER TABLE uacreg RENAME COLUMN sockets TO socket")
        scene.change_row(trunk, auth_password="")
        assert status(scene, trunk.uuid) == 404
