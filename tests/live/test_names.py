"""Next hops that are names: resolved before a call needs them, and no worker ever waits for a name server.

The name server is the test's own, on an address of loopback that the Kamailio's resolv.conf names.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.db.servers import Server
from tests.harness.carrier import Carrier, Script
from tests.harness.database import ServerDatabase
from tests.harness.endpoint import Address
from tests.harness.nameserver import PORT, NameServer, is_missing, own_address
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Native, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import place, status, wait_until
from tests.harness.verifier import Challenge, Offer

AT_ONCE = 2.0  # seconds, for a final response that waits for nobody; a name server is waited for longer
RESOLVED_WITHIN = 5.0
WORKERS = 4
PLAIN = Script()


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    if missing := is_missing():
        pytest.skip(missing)
    with NameServer(own_address(), PORT) as server:
        yield server


@pytest.fixture(scope="module")
def resolv_conf(name_server: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resolv")
    folder.chmod(0o755)
    return name_server.configuration(folder)


@pytest.fixture(scope="module")
def node(installation: Installation, resolv_conf: Path) -> Iterator[Kamailio]:
    with installation.running(Options(workers=WORKERS, resolv_conf=resolv_conf)) as running:
        yield running


@pytest.fixture
def scene(node: Kamailio, name_server: NameServer) -> Iterator[Scene]:
    name_server.silent.clear()
    name_server.failing.clear()
    with Scene(node, in_order=False) as stage:
        yield stage


def tried(node: Kamailio, name: str) -> list[list[str]]:
    """Wait until workers know the addresses of a name, or that it has none; return them for each of its targets. Until
    then they drop requests for it, and these PBXs do not repeat theirs.
    """

    def found() -> list[list[str]]:
        with contextlib.closing(sqlite3.connect(node.state / "names.sqlite")) as file:
            rows = file.execute("SELECT hops FROM resolved_name WHERE target LIKE ?", (f"{name}:%",)).fetchall()
        return [[hop[0] for hop in json.loads(hops)] for (hops,) in rows]

    known = node.wait_for(f"{name} was tried", found, RESOLVED_WITHIN)
    node.wait_until_looked_at()
    return known


def named(scene: Scene, name: str, trunk: Trunk | None = None) -> Trunk:
    """A trunk whose auth_proxy has this name and its carrier's port."""
    trunk = trunk or scene.trunk(PLAIN)
    scene.change_row(trunk, auth_proxy=f"sip:{name}:{trunk.carrier.address[1]}")
    return trunk


def unreachable(scene: Scene, trunk: Trunk) -> None:
    """A call over it ends at once."""
    started = time.monotonic()
    final = place(scene, trunk.uuid).final
    assert final
    assert (final.status, final.reason) == (503, "Next Hop Unreachable")
    assert time.monotonic() - started < AT_ONCE


def srv(carrier: Address, name: str, *, priority: int = 10, weight: int = 10) -> str:
    return f"{priority} {weight} {carrier[1]} {name}."


@pytest.mark.natively
def test_a_silent_name_server_holds_up_no_other_trunk(scene: Scene, name_server: NameServer) -> None:
    name_server.silent.add("hangs.test")
    other, hanging = scene.trunk(PLAIN), named(scene, "hangs.test")
    for number in range(WORKERS):
        scene.pbx.invite(f"sip:{number}@pbx.test", headers=[("X-Trunk", hanging.uuid)])
    calls = [scene.call(other) for _ in range(WORKERS)]
    for call in calls:
        call.expect(200, within=AT_ONCE)
        call.inside("BYE").expect(200)
    tried(scene.kamailio, "hangs.test")
    unreachable(scene, hanging)
    scene.kamailio.wait_for_log('name=hangs.test outcome=unresolved reason="no answer"', within=10)


@pytest.mark.natively
def test_a_name_is_resolved_before_it_is_used_and_used_while_its_server_is_silent(
    scene: Scene, name_server: NameServer
) -> None:
    name_server.set("known.test", "A", "127.0.0.1")
    name_server.zone.ttls["known.test"] = 1
    trunk = named(scene, "known.test")
    tried(scene.kamailio, "known.test")
    name_server.silent.add("known.test")
    before = len(scene.kamailio.log())
    scene.kamailio.wait_for_log('name=known.test outcome=not-refreshed reason="no answer"', 10, before)
    assert status(scene, trunk.uuid) == 200
    name_server.silent.clear()
    log = scene.kamailio.wait_for_log("outcome=names-refreshed", 40, before)
    assert (log.count("outcome=not-refreshed"), log.count("outcome=names-refreshed")) == (1, 1)
    assert status(scene, trunk.uuid) == 200


def test_a_new_address_is_used_once_the_ttl_is_over(scene: Scene, name_server: NameServer) -> None:
    name_server.set("moves.test", "A", "127.0.0.9")  # nobody listens there
    name_server.zone.ttls["moves.test"] = 1
    trunk = named(scene, "moves.test")
    tried(scene.kamailio, "moves.test")
    name_server.set("moves.test", "A", "127.0.0.1")
    scene.kamailio.wait_for("the new address", lambda: tried(scene.kamailio, "moves.test") == [["127.0.0.1"]], 10)
    assert status(scene, trunk.uuid) == 200


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_the_answer_goes_to_the_address_that_asked(scene: Scene, name_server: NameServer, algorithm: str) -> None:
    """With a TTL of 0, and a 407 that is so slow that the name leads elsewhere by then."""
    name = f"{algorithm.lower()}.asks.test"
    name_server.set(name, "A", "127.0.0.1")
    name_server.zone.ttls[name] = 0
    trunk = named(scene, name, scene.trunk(Script(Challenge(offers=(Offer(algorithm),)))))
    tried(scene.kamailio, name)
    trunk.carrier.hold()
    call = scene.call(trunk)
    trunk.carrier.expect("INVITE")
    name_server.set(name, "A", "127.0.0.9")  # nobody listens there
    scene.kamailio.wait_for("the new address", lambda: tried(scene.kamailio, name) == [["127.0.0.9"]], 10)
    trunk.carrier.release()
    call.expect(200)
    assert trunk.carrier.answers("INVITE") == [407, 200]
    call.inside("BYE").expect(200)


def test_a_name_that_does_not_exist_costs_its_own_calls_a_quick_503(scene: Scene, name_server: NameServer) -> None:
    name_server.set("nowhere.test", "A")
    trunk = named(scene, "nowhere.test")
    scene.kamailio.wait_for_log('name=nowhere.test outcome=unresolved reason="it does not exist"', within=10)
    unreachable(scene, trunk)
    name_server.set("nowhere.test", "A", "127.0.0.1")
    wait_until(scene, trunk.uuid, 200, within=40, before=(503,))
    scene.kamailio.wait_for_log("name=nowhere.test outcome=resolved")


def test_srv_shares_calls_by_weight_and_prefers_by_priority(scene: Scene, name_server: NameServer) -> None:
    first, second, spare = (scene.trunk(PLAIN) for _ in range(3))
    for host in ("a.srv.test", "b.srv.test", "c.srv.test"):
        name_server.set(host, "A", "127.0.0.1")
    name_server.set(
        "_sip._udp.srv.test", "SRV",
        srv(spare.carrier.address, "c.srv.test", priority=20),
        srv(first.carrier.address, "a.srv.test"),
        srv(second.carrier.address, "b.srv.test"),
    )  # fmt: skip
    scene.change_row(first, auth_proxy="sip:srv.test")
    tried(scene.kamailio, "srv.test")
    wait = scene.kamailio.wait_for

    def both_were_called() -> bool:
        return status(scene, first.uuid) == 200 and bool(second.carrier.received("INVITE"))

    wait("a call at the second of two", both_were_called, 10)
    wait(
        "a call at the first of two", lambda: status(scene, first.uuid) == 200 and first.carrier.received("INVITE"), 10
    )
    assert not spare.carrier.received("INVITE")


@pytest.mark.parametrize("script", [Script(ring=False, final=503), Script(silent=True)], ids=["503", "silent"])
def test_a_call_goes_on_to_the_next_srv_target(scene: Scene, name_server: NameServer, script: Script) -> None:
    first, second = scene.trunk(script), scene.trunk(PLAIN)
    name = f"next{script.final}-{script.silent}.test".lower()
    name_server.set("a.next.test", "A", "127.0.0.1")
    name_server.set(
        f"_sip._udp.{name}", "SRV",
        srv(second.carrier.address, "a.next.test", priority=20), srv(first.carrier.address, "a.next.test"),
    )  # fmt: skip
    scene.change_row(first, auth_proxy=f"sip:{name}")
    tried(scene.kamailio, name)
    call = scene.call(first)
    call.expect(200, within=10)  # TRUNKAUTH_TRY_SECONDS is 4
    assert first.carrier.received("INVITE")
    second.carrier.expect_acks()
    call.inside("BYE").expect(200)


def test_naptr_chooses_the_transport(scene: Scene, name_server: NameServer) -> None:
    over_tcp = scene.trunk(PLAIN, transport="tcp")
    name_server.set("naptr.test", "NAPTR", '10 10 "s" "SIP+D2T" "" _sip._tcp.elsewhere.test.')
    name_server.set("_sip._tcp.elsewhere.test", "SRV", srv(over_tcp.carrier.address, "host.elsewhere.test"))
    name_server.set("host.elsewhere.test", "A", "127.0.0.1")
    scene.change_row(over_tcp, auth_proxy="sip:naptr.test")
    tried(scene.kamailio, "naptr.test")
    assert status(scene, over_tcp.uuid) == 200
    assert over_tcp.carrier.received("INVITE")


def test_a_restart_while_the_name_server_is_silent_uses_what_was_known(
    native: Native, name_server: NameServer, resolv_conf: Path
) -> None:
    name_server.silent.clear()
    name_server.set("kept.test", "A", "127.0.0.1")
    with Carrier(PLAIN, {}) as carrier:
        row = {"l_uuid": "kept", "auth_username": "u", "auth_password": "of no use here"}
        row["auth_proxy"] = f"sip:kept.test:{carrier.address[1]}"
        options = Options(workers=1, resolv_conf=resolv_conf, trunks=(row,))
        with native.running(options) as first, Scene(first) as scene:
            tried(first, "kept.test")
            assert status(scene, "kept") == 200
        name_server.silent.add("*")
        again = replace(options, trunks=(), state=first.state)
        with native.running(again) as second, Scene(second) as scene:
            assert status(scene, "kept") == 200


@pytest.mark.natively
def test_a_start_is_over_once_each_name_was_tried(native: Native, name_server: NameServer, resolv_conf: Path) -> None:
    """OPTIONS gets 200 only then, and the first call is not dropped: this PBX does not repeat it."""
    name_server.silent.add("slow.test")
    row = {"l_uuid": "slow", "auth_username": "u", "auth_password": "of no use here", "auth_proxy": "sip:slow.test"}
    options = Options(workers=1, resolv_conf=resolv_conf, trunks=(row,))
    with native.running(options) as node, Scene(node) as scene:
        assert status(scene, "slow") == 503


def test_a_contact_that_is_a_name_is_learned(scene: Scene, name_server: NameServer) -> None:
    """The first request to it is dropped and comes again; the name is resolved by then."""
    name_server.set("contact.test", "A", "127.0.0.1")
    trunk = scene.trunk(PLAIN)
    trunk.carrier.contact = f"sip:callee@contact.test:{trunk.carrier.address[1]}"
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    call.inside("BYE").expect(200)


def test_a_contact_that_cannot_be_resolved_ends_quickly_and_no_worker_asks(
    scene: Scene, name_server: NameServer
) -> None:
    name_server.silent.add("contact.silent.test")
    trunk = scene.trunk(PLAIN)
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    assert call.dialog
    target, call.dialog.target = call.dialog.target, "sip:callee@contact.silent.test"
    dropped = call.inside("INFO")  # it would come again
    assert status(scene, trunk.uuid) == 200
    assert tried(scene.kamailio, "contact.silent.test") == [[]]
    assert dropped.final is None
    started = time.monotonic()
    call.inside("INFO").expect(503)
    assert time.monotonic() - started < AT_ONCE
    call.dialog.target = target
    call.inside("BYE").expect(200)


def test_a_reply_of_nobodys_that_names_a_host_is_looked_up_nowhere(scene: Scene, name_server: NameServer) -> None:
    """Kamailio forwards a reply that fits no transaction by its second Via, before any of our routes sees it."""
    name_server.silent.add("stray.test")
    trunk = scene.trunk(PLAIN)
    host, port = scene.kamailio.sip
    lines = (
        "SIP/2.0 200 OK",
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKnone",
        "Via: SIP/2.0/UDP stray.test;branch=z9hG4bKnone",
        "From: <sip:a@stray.test>;tag=a",
        "To: <sip:b@stray.test>;tag=b",
        "Call-ID: stray",
        "CSeq: 1 INVITE",
        "Content-Length: 0",
    )
    for _ in range(2 * WORKERS):
        scene.pbx.send_bytes(("\r\n".join(lines) + "\r\n\r\n").encode(), scene.kamailio.sip)
    scene.call(trunk).expect(200, within=AT_ONCE)
    assert name_server.count("stray.test") == 0


def test_registrations_go_to_what_a_name_resolves_to(
    native: Native, name_server: NameServer, resolv_conf: Path
) -> None:
    """One registrar's name hangs, and the other's is registered with."""
    name_server.silent.clear()
    name_server.silent.add("hangs.registrar.test")
    name_server.set("registrar.test", "A", "127.0.0.1")
    challenge = Challenge(401, requests=frozenset({"REGISTER"}))
    with Carrier(Script(challenge), {"me": "secret-of-the-registrar"}) as carrier:
        columns: dict[str, str | int] = {"l_username": "100", "l_domain": "pbx.test", "r_username": "me",
                                         "r_domain": "carrier.test", "auth_username": "me", "expires": 60,
                                         "auth_password": "secret-of-the-registrar"}  # fmt: skip
        good = {**columns, "l_uuid": "good", "auth_proxy": f"sip:registrar.test:{carrier.address[1]}"}
        hanging = {**columns, "l_uuid": "hanging", "auth_proxy": "sip:hangs.registrar.test"}
        options = Options(resolv_conf=resolv_conf, trunks=(hanging, good), modparams=REGISTERS_EVERY_SECOND)
        with native.running(options) as node:
            carrier.expect("REGISTER", count=2)
            node.wait_for("registered", lambda: "good" in node.rpc("uac.reg_info", "l_uuid", "good"), 5)
        assert carrier.faults == []


def test_the_database_may_be_a_name(
    native: Native, name_server: NameServer, resolv_conf: Path, postgresql_server: Server
) -> None:
    """The process that keeps the copy asks the name servers as any program does."""
    name_server.silent.clear()
    name_server.set("database.test", "A", "127.0.0.1")
    database = ServerDatabase(postgresql_server.new_database())
    database.list_callers(("127.0.0.1",))
    named_url = database.url.set(host="database.test")
    options = Options(database=database, db_url=named_url, resolv_conf=resolv_conf)
    with native.running(options) as node, Scene(node) as scene:
        wait_until(scene, "unheard-of", 404, within=10, before=(503,))
