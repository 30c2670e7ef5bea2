"""The process that keeps the copy, over the mocked KSR: what Kamailio's modules are told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi import schema
from kemi.handlers import Handlers
from kemi.settings import Settings
from kemi.trunks.tables import open_file
from tests.flow.scene import (
    PASSWORD,
    changed,
    raising,
    request,
)
from tests.ksr.mock import MockKSR


@pytest.fixture
def commands(pbx: MockKSR) -> list[tuple[str, list[str]]]:
    """The RPC commands that are run, in order; each is answered with 200 unless a test says otherwise."""
    run: list[tuple[str, list[str]]] = []

    def exec_(command: str) -> int:
        asked = json.loads(command)
        run.append((asked["method"], asked["params"]))
        return 1

    pbx.answer("jsonrpcs.exec", exec_)
    pbx.answer("uac.uac_reg_status", 1)  # every trunk is registered
    pbx.world.rpc_code = 200
    pbx.receive(request())  # rtimer gives its routes a message of its own
    return run


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handlers]:
    """The routes in the rtimer's process, over a database of their own; the tests' own process keeps its priority."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    settings = Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(tmp_path)})
    engine = open_file(settings.local_file)
    schema.create(engine)
    routes = Handlers(settings)
    yield routes
    if routes._keeper:
        routes._keeper.close()
    engine.dispose()


ROW = (
    "INSERT INTO uacreg (l_uuid, l_username, l_domain, r_username, r_domain, auth_username, auth_proxy, expires) "
    "VALUES ('t', 'a', 'b', 'c', 'd', 'u', 'sip:c', 60)"
)


RELOAD: tuple[str, list[str]] = ("permissions.addressReload", [])  # at the first look, and where addresses changed


def test_a_change_is_passed_on_to_kamailios_modules(
    keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    assert keeper.REPLICA(None, None) == 1
    assert commands == [RELOAD]
    changed(tmp_path, ROW)
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands[1:] == [("uac.reg_refresh", ["t"])]
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands[2:] == [RELOAD]


def test_a_registration_that_is_gone_is_removed(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    changed(tmp_path, ROW)
    keeper.REPLICA(None, None)
    changed(tmp_path, "DELETE FROM uacreg")
    pbx.world.rpc_code = 404
    keeper.REPLICA(None, None)
    assert commands == [RELOAD, ("uac.reg_refresh", ["t"]), ("uac.reg_remove", ["t"])]


def test_what_a_module_refuses_is_tried_again_or_named(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    keeper.REPLICA(None, None)
    changed(tmp_path, ROW)
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    pbx.world.rpc_code = 500
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands.count(RELOAD) == 3
    assert ("warn", "trunk='t' outcome=unregistered reason='uac.reg_refresh failed'\n") in pbx.log


def test_a_row_that_cannot_be_used_is_named_once(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    changed(tmp_path, "INSERT INTO uacreg (l_uuid, auth_username, auth_password) VALUES ('t', 'u', 'a' || char(10))")
    keeper.REPLICA(None, None)
    changed(tmp_path, "INSERT INTO uacreg (l_uuid, auth_username) VALUES ('good', 'u')")
    keeper.REPLICA(None, None)
    assert pbx.log == [("warn", "trunk='t' outcome=unusable reason='auth_password has a control character'\n")]
    assert commands == [RELOAD]


def test_a_fault_in_the_keeper_is_logged_and_it_goes_on(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    keeper.REPLICA(None, None)
    changed(tmp_path, ROW)
    pbx.answer("jsonrpcs.exec", raising(ValueError(PASSWORD)))
    assert keeper.REPLICA(None, None) == 1
    level, line = pbx.log[-1]
    assert (level, line.startswith("fault=ValueError@"), PASSWORD in line) == ("err", True, False)
