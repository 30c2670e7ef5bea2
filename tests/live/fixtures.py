"""Fixtures of the live tests: each Kamailio there is, a scene to play a call on, and what was not tested.

Load it once for the whole run: `pytest_plugins = ["tests.live.fixtures"]` in tests/conftest.py.

A test that asks for a scene runs in each manner in which answers from the start can meet a carrier, unless it is marked
`once`: there that cannot matter.

A scene holds both ends to the rules: when its test is over, a fault on either end, a final response without its
ACK, a Python traceback or a password in the log fails it.
"""

from __future__ import annotations

import contextlib
import enum
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from tests.db import servers
from tests.live.agent import SDP, Exchange
from tests.live.caller import Caller
from tests.live.carrier import Carrier, Script
from tests.live.message import Header
from tests.live.node import InContainer, Installation, Kamailio, Native, Options, native_version
from tests.live.nonces import FOR_EVER, ONE_REQUEST, Nonces
from tests.live.verifier import ACCEPTED, KEEPING, MISSING, USED_UP, Challenge

NO_DOCKER = os.environ.get("TRUNKAUTH_NO_DOCKER") == "1"
KINDS = ["native"] if NO_DOCKER else ["native", "container"]
CHALLENGING = Script(challenge=Challenge())
MOST_TURNED_DOWN = 3  # in a row, after which a trunk's requests go without credentials at first


class Manner(enum.Enum):
    """How answers from the start meet the carriers of a scene. But for the first two, each has let a request of the
    trunk pass before.
    """

    NEW = "new"  # no request came before: the first one is challenged
    OFF = "off"  # TRUNKAUTH_PREEMPTIVE=off
    KEPT = "kept"  # the nonce of that request still serves
    TURNED_DOWN = "turned down"  # a nonce serves one request, and the next request carries it in vain


EVERY_MANNER = (Manner.OFF, Manner.KEPT, Manner.TURNED_DOWN)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once: what a carrier does with nonces cannot matter here")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every manner for every test that has one."""
    if "manner" in metafunc.fixturenames and not metafunc.definition.get_closest_marker("once"):
        metafunc.parametrize("manner", EVERY_MANNER, indirect=True, ids=lambda manner: manner.value)


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


@pytest.fixture(scope="session")
def kamailio_off(installation: Installation) -> Iterator[Kamailio]:
    """The same with TRUNKAUTH_PREEMPTIVE=off."""
    with installation.running(Options(preemptive="off")) as running:
        yield running


@pytest.fixture
def manner(request: pytest.FixtureRequest) -> Manner:
    """How answers from the start meet the carriers."""
    found: Manner = getattr(request, "param", Manner.NEW)
    return found


@pytest.fixture
def scene(manner: Manner, installation: Installation, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A stage for one call over a shared Kamailio."""
    shared = request.getfixturevalue("kamailio_off" if manner is Manner.OFF else "kamailio")
    with Scene(shared, manner) as stage:
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
    """The ends of a call around one Kamailio, cleaned up and judged at the end. in_order: False where calls are placed
    at once, so that they overtake each other.
    """

    def __init__(self, kamailio: Kamailio, manner: Manner = Manner.NEW, *, in_order: bool = True) -> None:
        self.kamailio = kamailio
        self.manner = manner
        self._nonces = Nonces(ONE_REQUEST if manner is Manner.TURNED_DOWN else FOR_EVER, in_order=in_order)
        self._secrets_before = frozenset(kamailio.database.secrets)
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
        played = replace(script, challenge=self._posed(script.challenge), behind=self._posed(script.behind))
        carrier = self._stack.enter_context(Carrier(played, {user: password}, transport=transport))
        self.agents.append(carrier)
        row: dict[str, str | int] = {
            "l_uuid": uuid,
            "r_domain": f"{uuid}.test",
            "auth_username": user,
            "auth_password": password,
            "auth_proxy": carrier.proxy_uri,
            **columns,
        }
        return self._ready(Trunk(str(row["l_uuid"]), str(row["r_domain"]), user, password, carrier), row)

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
        return self._ready(replace(trunk, uuid=uuid), row)

    def change_row(self, trunk: Trunk, **columns: str | int) -> None:
        """Other values in these columns, for all calls from now on."""
        places = ", ".join(f"{name} = ?" for name in columns)
        values = (*columns.values(), trunk.uuid)
        self.kamailio.database.execute(f"UPDATE uacreg SET {places} WHERE l_uuid = ?", values)
        self.kamailio.database.note_secrets(columns)
        self.kamailio.wait_until_looked_at()

    def _ready(self, trunk: Trunk, row: Mapping[str, str | int]) -> Trunk:
        """Insert the row, and have a request over it before the test's own where the manner wants one."""
        self.kamailio.database.insert_trunk(row)
        self._stack.callback(self.kamailio.database.delete_trunk, trunk.uuid)
        if self.manner in (Manner.KEPT, Manner.TURNED_DOWN) and trunk.carrier.script.challenge:
            self.accept_one(trunk)
        return trunk

    def _posed(self, challenge: Challenge | None) -> Challenge | None:
        """The same; one that says nothing of nonces has those of the scene."""
        return (
            challenge if challenge is None or challenge.nonces != KEEPING else replace(challenge, nonces=self._nonces)
        )

    def accept_one(self, trunk: Trunk) -> None:
        """Have the carrier challenge a request of this trunk and let it pass; nothing but its nonce stays of it."""
        with trunk.carrier.as_before(), Caller(self.kamailio.sip) as caller:
            caller.request("MESSAGE", "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(200)
            assert caller.faults == [], caller.faults

    @property
    def asked(self) -> int:
        """How often a carrier asks before it is content with a request that it wants credentials for."""
        return 0 if self.manner is Manner.KEPT else 1

    def asks(self, *statuses: int) -> list[int]:
        """The challenges of a carrier, one of its own and one of the far end behind it, where it has to ask."""
        return [*statuses] * self.asked

    @property
    def first(self) -> list[str]:
        """The verdict on such a request as it comes first, where the carrier is not content with that already."""
        return [self.at_first(USED_UP)] * self.asked

    def at_first(self, verdict: str) -> str:
        """This verdict where such a request carries an answer as it comes first, or that it carries none."""
        return MISSING if self.manner in (Manner.NEW, Manner.OFF) else verdict

    def verdicts(self, *kinds: str, cseq: int = 1) -> list[tuple[str, int, str]]:
        """All verdicts on requests of these kinds, one after the other, which are answered rightly. cseq: of the first
        of them.
        """
        found: list[tuple[str, int, str]] = []
        for number, kind in enumerate(kinds):
            before = self.first if number < MOST_TURNED_DOWN else [MISSING] * self.asked
            found += [(kind, cseq + len(found) + n, verdict) for n, verdict in enumerate([*before, ACCEPTED])]
        return found

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
        """Fail for anything that either end or the log holds against Kamailio; what the log says later of this scene's
        passwords fails the run at its end.
        """
        for agent in self.agents:
            if isinstance(agent, Carrier) and agent.received("INVITE") and not agent.script.silent:
                agent.expect_acks()
            assert agent.faults == [], (
                f"{agent.name}: {agent.faults}\n{agent.ladder()}\n{self.kamailio.last_log_lines()}"
            )
        self.kamailio.judge_log(self.kamailio.log(), self.kamailio.database.secrets - self._secrets_before)
