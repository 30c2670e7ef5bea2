"""The process that keeps the copy, over the mocked KSR: what Kamailio's modules are told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi.handlers import Handlers
from kemi.settings import Settings
from tests.flow.scene import (
    PASSWORD,
    changed,
    raising,
    started,
)
from tests.ksr.mock import MockKSR


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handlers]:
    """The routes in the rtimer's process, over a database of their own; the tests' own process keeps its priority."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    settings = Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(tmp_path)})
    started(settings)
    routes = Handlers(settings)
    yield routes
    if routes._keeper:
        routes._keeper.close()


RELOAD: tuple[str, list[str]] = ("permissions.addressReload", [])  # at the first look, and where addresses changed


def test_a_change_is_passed_on_to_kamailios_modules(
    keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    assert keeper.REPLICA(None, None) == 1
    assert commands == [RELOAD]
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands[1:] == [RELOAD]


def test_a_reload_that_is_refused_is_tried_again(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    keeper.REPLICA(None, None)
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    pbx.world.rpc_code = 500
    keeper.REPLICA(None, None)
    keeper.REPLICA(None, None)
    assert commands.count(RELOAD) == 3


def test_a_row_that_cannot_be_used_is_named_once(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    changed(
        tmp_path, "INSERT INTO uacreg (l_uuid, realm, auth_username, auth_password) VALUES ('t', 'r', 'u', char(10))"
    )
    keeper.REPLICA(None, None)
    changed(tmp_path, "INSERT INTO uacreg (l_uuid, realm, auth_username, auth_password) VALUES ('good', 'r', 'u', 'p')")
    keeper.REPLICA(None, None)
    warnings = [line for level, line in pbx.log if level == "warn"]
    assert warnings == ['trunk=t outcome=unusable reason="auth_password has a control character"\n']
    assert commands == [RELOAD]


def test_a_fault_in_the_keeper_is_logged_and_it_goes_on(
    pbx: MockKSR, keeper: Handlers, commands: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    keeper.REPLICA(None, None)
    changed(tmp_path, "INSERT INTO address (ip_addr) VALUES ('192.0.2.7')")
    pbx.answer("jsonrpcs.exec", raising(ValueError(PASSWORD)))
    assert keeper.REPLICA(None, None) == 1
    level, line = pbx.log[-1]
    assert (level, line.startswith("fault=ValueError@"), PASSWORD in line) == ("err", True, False)
