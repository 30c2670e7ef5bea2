"""The routes over the mocked KSR, with a database of trunks: see tests/flow/scene.py."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kemi.handlers import Handlers
from kemi.line import Level, Line
from kemi.settings import Settings
from kemi.start import key
from kemi.trunks.store import TrunkStore
from tests.flow.scene import (
    INSERT_TRUNKS,
    LISTEN,
    PBX,
    Marks,
    Send,
    copied,
    request,
    resolve_hosts,
    routes_with,
    started,
)
from tests.ksr.fixtures import current
from tests.ksr.mock import MockKSR
from tests.lines import told

LEVELS = {Level.ERROR: "err", Level.WARNING: "warn", Level.NOTICE: "notice", Level.INFO: "info"}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.from_environment({
        "TRUNKAUTH_STATE_DIR": str(tmp_path_factory.mktemp("state")), "TRUNKAUTH_DEFAULT_TRUNK": "",
        "TRUNKAUTH_LISTEN": LISTEN,
    })  # fmt: skip
    started(settings, INSERT_TRUNKS)
    resolve_hosts(settings)
    return settings


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the module: with a database of its own if it has ROWS, and POLICIES, of trunks."""
    rows = getattr(request.module, "ROWS", "")
    if not rows:
        shared: Settings = request.getfixturevalue("database")
        return shared
    own = Settings.from_environment({
        "TRUNKAUTH_STATE_DIR": str(tmp_path_factory.mktemp("state")), "TRUNKAUTH_LISTEN": LISTEN,
    })  # fmt: skip
    started(own, rows)
    if policies := getattr(request.module, "POLICIES", ""):
        copied(own, policies)
    return own


@pytest.fixture
def changing(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Settings]:
    """The module's own settings, whose rows are as before when the test is over."""
    yield settings
    before = [getattr(request.module, name, "") for name in ("ROWS", "POLICIES")]
    copied(settings, "DELETE FROM uacreg", "DELETE FROM trunk", *filter(None, before))


@pytest.fixture(autouse=True)
def addresses_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is active: those of its sockets are this machine's."""
    monkeypatch.setattr("kemi.start.sockets._is_local", lambda _address: True)


@pytest.fixture(autouse=True)
def names_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that resolves names has been through all of them."""
    monkeypatch.setattr("kemi.health.ready._ARE_TRIED", bytearray(b"\x01"))


@pytest.fixture(autouse=True)
def workers_start_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts a worker, and needs few of its look-ups."""
    monkeypatch.setattr(TrunkStore, "warm_up", lambda _: None)


@pytest.fixture(autouse=True)
def all_trunks_are_up(ksr: MockKSR) -> None:
    """No trunk has failed in a test before."""
    from kemi.sip import standings

    standings._KEPT_UNTIL[:] = bytes(len(standings._KEPT_UNTIL))


@pytest.fixture(autouse=True)
def told_to_the_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to the log is in the mock's."""
    from kemi.sip import api

    def write(line: Line) -> None:
        if api.shows(line.level):
            current().log.append((LEVELS[line.level], f"{told(line)}\n"))

    monkeypatch.setattr(api, "write", write)


@pytest.fixture
def routes(settings: Settings, pbx: MockKSR) -> Iterator[Handlers]:
    """A SIP worker."""
    routes = pbx.handlers = routes_with(settings)
    yield routes
    routes.trunks.close()


@pytest.fixture
def marks(settings: Settings, routes: Handlers) -> Marks:
    return Marks(key.load(settings.key_file), routes._dialogs.run[0])


@pytest.fixture
def pbx(ksr: MockKSR) -> MockKSR:
    """A Kamailio that knows the PBX, is reached by sane requests, and whose uac_auth() answers what it can."""
    ksr.trust(f"{PBX}/32")
    ksr.world.sane = True
    ksr.world.uac_answers = True
    ksr.answer("tm.t_drop_replies_all", 1)
    ksr.answer("permissions.allow_address", lambda group, one, _port: 1 if ksr.state.is_trusted(group, one) else -1)
    return ksr


@pytest.fixture
def commands(pbx: MockKSR) -> list[tuple[str, list[str]]]:
    """The RPC commands that are run, in order; each is answered with 200 unless a test says otherwise."""
    run: list[tuple[str, list[str]]] = []

    def exec_(command: str) -> int:
        asked = json.loads(command)
        run.append((asked["method"], asked["params"]))
        return 1

    pbx.answer("jsonrpcs.exec", exec_)
    pbx.world.rpc_code = 200
    pbx.receive(request())  # rtimer gives its routes a message of its own
    return run


@pytest.fixture
def send(pbx: MockKSR, routes: Handlers) -> Send:

    def send(message: str, source: str = PBX) -> None:
        pbx.receive(message, source=(source, 5060))
        assert routes.ksr_request_route(None) == 1

    return send
