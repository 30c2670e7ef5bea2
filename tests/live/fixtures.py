"""Fixtures of the live tests: each Kamailio there is, a scene to play a call on, and what was not tested.

Load it once for the whole run: `pytest_plugins = ["tests.live.fixtures"]` in tests/conftest.py.

A scene holds both ends to the rules: when its test is over, a fault on either end, a final response without its
ACK, a Python traceback or a password in the log fails it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from tests.db import servers
from tests.live.agent import SDP, Exchange
from tests.live.caller import Caller
from tests.live.carrier import Carrier, Script
from tests.live.message import Header
from tests.live.node import InContainer, Installation, Kamailio, Native, native_version
from tests.live.verifier import Challenge

NO_DOCKER = os.environ.get("TRUNKAUTH_NO_DOCKER") == "1"
KINDS = ["native"] if NO_DOCKER else ["native", "container"]
CHALLENGING = Script(challenge=Challenge())


def pytest_report_header() -> str:
    """What the live tests run against, and what they leave out."""
    native = f"Kamailio {native_version() or 'missing, which fails the live tests'} of this machine"
    left_out = "TRUNKAUTH_NO_DOCKER=1: NOT TESTED are the image, the lab, and database servers in containers"
    return f"live: {native}; {left_out if NO_DOCKER else 'Kamailio in a container, kamailio/Dockerfile'}"


def _installation_id(kind: str) -> str:
    return f"native-{native_version()}" if kind == "native" else kind


@pytest.fixture(scope="session", params=KINDS, ids=_installation_id)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A Kamailio to start; every test that asks for it runs once for each."""
    kinds: dict[str, type[Native] | type[InContainer]] = {"native": Native, "container": InContainer}
    found = kinds[request.param](tmp_path_factory.mktemp("live"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """This machine's Kamailio, for what is not told apart from the container's by running it there again."""
    return Native(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="session")
def running_postgresql() -> Iterator[servers.Server]:
    with servers.postgresql("-c", "log_statement=all", "-c", "log_line_prefix=%a %d ", "-c", "fsync=off") as server:
        yield server


@pytest.fixture(scope="session")
def running_mariadb() -> Iterator[servers.Server]:
    with servers.mariadb("--innodb-flush-log-at-trx-commit=0") as server:
        yield server


@pytest.fixture
def postgresql_server(running_postgresql: servers.Server) -> Iterator[servers.Server]:
    """A PostgreSQL server to do anything to. Its log tells every statement, and whose it is."""
    yield running_postgresql
    running_postgresql.restore()


@pytest.fixture
def mariadb_server(running_mariadb: servers.Server) -> Iterator[servers.Server]:
    """A MariaDB server to do anything to."""
    yield running_mariadb
    running_mariadb.restore()


@pytest.fixture(scope="session")
def kamailio(installation: Installation) -> Iterator[Kamailio]:
    """A running Kamailio with the settings as they come, shared by the tests that need no other."""
    with installation.running() as running:
        yield running


@pytest.fixture
def scene(kamailio: Kamailio) -> Iterator[Scene]:
    """A stage for one call over the shared Kamailio."""
    with Scene(kamailio) as stage:
        yield stage


@dataclass(frozen=True)
class Trunk:
    """A row of uacreg and the carrier behind it."""

    uuid: str
    domain: str
    user: str
    password: str = field(repr=False)  # the one that the carrier takes
    carrier: Carrier


class Scene:
    """The ends of a call around one Kamailio, cleaned up and judged at the end."""

    def __init__(self, kamailio: Kamailio) -> None:
        self.kamailio = kamailio
        self.agents: list[Carrier | Caller] = []
        self._stack = contextlib.ExitStack()
        self._caller: Caller | None = None

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.judge()
        finally:
            self._stack.close()

    def trunk(self, script: Script = CHALLENGING, *, transport: str = "udp", **columns: str | int) -> Trunk:
        """A carrier that knows a user, and the row that knows it too, unless a column says otherwise."""
        uuid, password = f"trunk-{secrets.token_hex(4)}", f"pw-{secrets.token_hex(8)}"
        user = str(columns.get("auth_username") or f"user-{uuid}")
        carrier = self._stack.enter_context(Carrier(script, {user: password}, transport=transport))
        self.agents.append(carrier)
        row: dict[str, str | int] = {
            "l_uuid": uuid,
            "r_domain": f"{uuid}.test",
            "auth_username": user,
            "auth_password": password,
            "auth_proxy": carrier.proxy_uri,
            **columns,
        }
        self.kamailio.database.insert_trunk(row)
        self._stack.callback(self.kamailio.database.delete_trunk, str(row["l_uuid"]))
        return Trunk(str(row["l_uuid"]), str(row["r_domain"]), user, password, carrier)

    def another_row(self, trunk: Trunk, **columns: str | int) -> Trunk:
        """A second row for the carrier of this one, alike but for these columns."""
        uuid = f"{trunk.uuid}-{secrets.token_hex(2)}"
        row: dict[str, str | int] = {
            "l_uuid": uuid,
            "r_domain": trunk.domain,
            "auth_username": trunk.user,
            "auth_password": trunk.password,
            "auth_proxy": trunk.carrier.proxy_uri,
            **columns,
        }
        self.kamailio.database.insert_trunk(row)
        self._stack.callback(self.kamailio.database.delete_trunk, uuid)
        return replace(trunk, uuid=uuid)

    def caller(self, *, host: str = "127.0.0.1", transport: str = "udp") -> Caller:
        """A PBX of this Kamailio."""
        caller = self._stack.enter_context(Caller(self.kamailio.sip, host=host, transport=transport))
        self.agents.append(caller)
        return caller

    @property
    def pbx(self) -> Caller:
        """The PBX of a scene that has but one."""
        self._caller = self._caller or self.caller()
        return self._caller

    def call(self, trunk: Trunk, *, headers: Iterable[Header] = (), body: bytes = SDP) -> Exchange:
        """An INVITE of the scene's PBX over this trunk."""
        return self.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid), *headers], body=body)

    def judge(self) -> None:
        """Fail for anything that either end or the log holds against Kamailio."""
        for agent in self.agents:
            if isinstance(agent, Carrier) and agent.received("INVITE") and not agent.script.silent:
                agent.expect_acks()
            assert agent.faults == [], (
                f"{agent.name}: {agent.faults}\n{agent.ladder()}\n{self.kamailio.last_log_lines()}"
            )
        self.kamailio.judge_log(self.kamailio.log())
