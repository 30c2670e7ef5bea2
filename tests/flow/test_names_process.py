"""The process that resolves names, over the mocked KSR: what workers find then, and what the uac module is told."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi.handlers import Handlers
from kemi.health import ready
from kemi.names import process
from kemi.names.nameserver import NameServer
from kemi.settings import Settings
from tests.flow.scene import PASSWORD, PBX, SBC, Marks, copied, in_dialog, raising, request, routes_with, started
from tests.harness import nameserver
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

Commands = list[tuple[str, list[str]]]

REFRESH, REMOVE = ("uac.reg_refresh", ["t"]), ("uac.reg_remove", ["t"])
TICKS = 20  # of 0.3 s each, which is more than any answer takes


@pytest.fixture
def name_server() -> Iterator[nameserver.NameServer]:
    with nameserver.NameServer() as server:
        server.set("sbc.carrier.test", "A", "192.0.2.50")
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(tmp_path)})
    started(found)
    return found


@pytest.fixture
def routes(
    settings: Settings, name_server: nameserver.NameServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Handlers]:
    """All routes, in one process here, over a database and a name server of their own."""
    asked = NameServer(name_server.configuration(tmp_path), name_server.port)
    monkeypatch.setattr(process, "NameServer", lambda: asked)
    monkeypatch.setattr("kemi.names.rows.REST", 0)
    monkeypatch.setattr("kemi.trunks.local.FRESH_FOR", 0)
    found = routes_with(settings)
    yield found
    found.trunks.close()
    if found._work:
        found._work.close()


def row(next_hop: str = "sip:sbc.carrier.test", expires: int = 0) -> str:
    columns = "l_uuid, l_username, l_domain, r_username, r_domain, auth_username, auth_password, auth_proxy, expires"
    return f"INSERT INTO uacreg ({columns}) VALUES ('t', 'a', 'b', 'c', 'd.test', 'u', 'p', '{next_hop}', {expires})"


def tick(routes: Handlers) -> None:
    for _ in range(TICKS):
        assert routes.NAMES(None, None) == 1


def test_a_start_is_over_once_the_copy_was_filled_and_its_names_were_tried(
    pbx: MockKSR,
    routes: Handlers,
    settings: Settings,
    name_server: nameserver.NameServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kemi.health.ready._ARE_TRIED", bytearray(1))
    pbx.receive(request())
    name_server.silent.add("*")
    with contextlib.closing(sqlite3.connect(settings.local_file)) as local, local:
        assert local.execute("DELETE FROM replica_state WHERE name = 'synced_at'").rowcount == 1
    assert routes.NAMES(None, None) == 1
    assert not ready.names_are_tried()
    copied(settings, row("sip:slow.test"))
    with contextlib.closing(sqlite3.connect(settings.local_file)) as local, local:
        local.execute("INSERT OR REPLACE INTO replica_state (name, value) VALUES ('synced_at', 1)")
    assert routes.NAMES(None, None) == 1
    assert not ready.names_are_tried()
    tick(routes)
    assert ready.names_are_tried()


def addresses(routes: Handlers) -> frozenset[str]:
    """The addresses of the trunk's next hop, as a worker knows them."""
    trunk = routes.trunks.by_uuid("t")
    assert trunk
    return frozenset(place.address for place in routes.trunks.places(trunk).exact)


def registrars(state: Path) -> list[str]:
    """Where the uac module registers."""
    with contextlib.closing(sqlite3.connect(state / "names.sqlite")) as file:
        return [str(proxy) for (proxy,) in file.execute("SELECT auth_proxy FROM registrations")]


def call(pbx: MockKSR, routes: Handlers, message: str) -> None:
    pbx.handlers = routes
    pbx.receive(message, source=(PBX, 5060))
    routes.ksr_request_route(None)


def test_a_trunks_name_is_resolved_before_a_call_comes(
    pbx: MockKSR, routes: Handlers, commands: Commands, settings: Settings, name_server: nameserver.NameServer
) -> None:
    copied(settings, row())
    tick(routes)
    name_server.silent.add("*")
    call(pbx, routes, request(headers="X-Trunk: t\r\n"))
    assert pbx.relayed[0].next_hop == SBC
    assert addresses(routes) == {"192.0.2.50"}
    assert commands == []


def test_the_uac_module_gets_an_address_for_a_name_and_is_told(
    routes: Handlers, commands: Commands, tmp_path: Path, settings: Settings
) -> None:
    copied(settings, row(expires=60))
    tick(routes)
    assert (registrars(tmp_path), commands) == ([SBC], [REFRESH])
    copied(settings, "UPDATE uacreg SET auth_password = 'second'")
    tick(routes)
    assert (registrars(tmp_path), commands) == ([SBC], [REFRESH] * 2)
    copied(settings, "UPDATE uacreg SET expires = 0")
    tick(routes)
    assert (registrars(tmp_path), commands) == ([], [REFRESH] * 3)


def test_a_registration_that_is_gone_is_removed(
    pbx: MockKSR, routes: Handlers, commands: Commands, settings: Settings
) -> None:
    copied(settings, row("sip:192.0.2.9", expires=60))
    tick(routes)
    copied(settings, "DELETE FROM uacreg")
    pbx.world.rpc_code = 404
    tick(routes)
    assert commands == [REFRESH, REFRESH, REMOVE]


def test_a_registration_that_the_module_refuses_is_named(
    pbx: MockKSR, routes: Handlers, commands: Commands, settings: Settings
) -> None:
    copied(settings, row("sip:192.0.2.9", expires=60))
    pbx.world.rpc_code = 500
    tick(routes)
    assert ("warn", 'trunk=t outcome=unregistered reason="uac.reg_refresh failed"\n') in pbx.log


def test_a_row_that_registers_at_a_name_without_an_address_is_left_out(
    routes: Handlers, commands: Commands, tmp_path: Path, settings: Settings
) -> None:
    copied(settings, row("sip:nowhere.test", expires=60))
    tick(routes)
    assert (registrars(tmp_path), commands) == ([], [])


@pytest.mark.usefixtures("commands")
def test_a_contact_that_is_a_name_is_learned_while_the_request_is_repeated(
    pbx: MockKSR, routes: Handlers, marks: Marks, name_server: nameserver.NameServer
) -> None:
    bye = marks.request("BYE", uri="sip:callee@far.test:5070")
    tick(routes)
    in_dialog(pbx)
    call(pbx, routes, bye)
    assert (pbx.relayed, pbx.replies) == ([], [])  # dropped: it comes again
    name_server.set("far.test", "A", "192.0.2.53")
    tick(routes)
    call(pbx, routes, bye)
    assert (pbx.relayed[0].ruri, pbx.relayed[0].next_hop) == (
        "sip:callee@far.test:5070",
        "sip:192.0.2.53:5070;transport=udp",
    )


@pytest.mark.usefixtures("commands")
def test_a_contact_that_cannot_be_resolved_503(pbx: MockKSR, routes: Handlers, marks: Marks) -> None:
    bye = marks.request("BYE", uri="sip:callee@nowhere.test")
    tick(routes)
    in_dialog(pbx)
    call(pbx, routes, bye)
    tick(routes)
    call(pbx, routes, bye)
    assert (pbx.relayed, pbx.replies) == ([], [Reply(503, "Next Hop Unreachable")])


@pytest.mark.usefixtures("commands")
def test_over_tcp_nothing_is_repeated_so_503(pbx: MockKSR, routes: Handlers, marks: Marks) -> None:
    in_dialog(pbx)
    call(pbx, routes, marks.request("BYE", uri="sip:callee@far.test").replace("SIP/2.0/UDP", "SIP/2.0/TCP"))
    assert (pbx.relayed, pbx.replies) == ([], [Reply(503, "Next Hop Unreachable")])


@pytest.mark.usefixtures("commands")
def test_a_stranger_can_have_no_name_resolved(
    pbx: MockKSR, routes: Handlers, marks: Marks, name_server: nameserver.NameServer
) -> None:
    pbx.world.loose_route = 1
    call(pbx, routes, marks.request("BYE", "forged", uri="sip:callee@strange.test"))
    tick(routes)
    assert name_server.count("strange.test") == 0


@pytest.mark.usefixtures("commands")
def test_a_fault_is_logged_and_it_goes_on(
    pbx: MockKSR, routes: Handlers, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(settings, row())
    with monkeypatch.context() as patched:
        patched.setattr("kemi.names.rows.Rows.found", raising(ValueError(PASSWORD)))
        assert routes.NAMES(None, None) == 1
    level, line = pbx.log[-1]
    assert (level, line.startswith("fault=ValueError@"), PASSWORD in line) == ("err", True, False)
    tick(routes)
    assert addresses(routes) == {"192.0.2.50"}


@pytest.mark.usefixtures("commands")
def test_a_file_that_cannot_be_written_is_said_once_and_once_that_it_can_again(
    pbx: MockKSR, routes: Handlers, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(settings, row())
    with monkeypatch.context() as patched:
        patched.setattr("kemi.names.file.NamesFile.keep", raising(OSError("disk full")))
        tick(routes)
    tick(routes)
    lines = [line for _, line in pbx.log]
    assert lines == [
        'outcome=names-not-kept reason="disk full"\n',
        "outcome=names-kept\n",
    ]
    assert addresses(routes) == {"192.0.2.50"}


def test_a_standby_registers_and_probes_nothing_until_it_has_its_address(
    pbx: MockKSR, routes: Handlers, commands: Commands, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[object] = []
    monkeypatch.setattr("kemi.names.registering.Registering.look", lambda _, uuids: looked_at.append(uuids))
    monkeypatch.setattr("kemi.health.pinging.Pinging.tick", lambda _, rows: looked_at.append(rows))
    monkeypatch.setattr("kemi.health.probing.Probing.tick", lambda _, trunks, hops: looked_at.append(trunks))
    monkeypatch.setattr("kemi.health.holding.Holding.ask", lambda _, hops: looked_at.append(hops))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("kemi.start.sockets._is_local", lambda _: False)
        copied(settings, row("sip:192.0.2.9", expires=60))
        tick(routes)
    address = routes._settings.listen[0].host
    assert ([(name, str(given)) for name, given in commands], looked_at) == (
        [("uac.reg_active", "[0]"), (REFRESH[0], str(REFRESH[1]))],
        [],
    )
    assert routes.NAMES(None, None) == 1
    assert ([(name, str(given)) for name, given in commands[2:]], len(looked_at)) == ([("uac.reg_active", "[1]")], 4)
    assert [line for _, line in pbx.log] == [
        f"outcome=standby address={address}\n",
        f"outcome=active address={address}\n",
    ]
