"""Fixtures of the live tests: each Kamailio there is, database servers, and a scene to play a call on.

A test that asks for a scene runs in each manner in which answers from the start can meet a carrier, unless it is marked
`once`: there that cannot matter. It need not run everywhere with each of its parameters: every case runs on this
machine's Kamailio where a carrier turns the first answer down (so that two answers are verified), and the first case
alone in every other manner there, and in a container. `every_manner` and `every_kamailio` are marks of tests all of
whose cases run there too, `natively` is one of tests to which Kamailio's version is nothing: they do not run in a
container. `pytest --whole` runs everything everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.db import servers
from tests.harness.machine import NO_DOCKER, RELEASED, SUITE, docker_is_missing, native_is_missing, native_version
from tests.harness.node import Installation, Kamailio, Native, Options
from tests.harness.restarts import Stories
from tests.harness.scene import Manner, Scene
from tests.harness.steps import carriers_of

KINDS = ["native"] if NO_DOCKER else ["native", "container"] if SUITE == RELEASED else ["container"]
FULL = Manner.TURNED_DOWN
EVERY_MANNER = (FULL, Manner.KEPT, Manner.OFF)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every manner for every test that has one."""
    if "manner" in metafunc.fixturenames and not metafunc.definition.get_closest_marker("once"):
        metafunc.parametrize("manner", EVERY_MANNER, indirect=True, ids=lambda manner: manner.value)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what crosses that need not be crossed."""
    if config.getoption("whole"):
        return
    seen: set[tuple[object, ...]] = set()
    left_out = [item for item in items if isinstance(item, pytest.Function) and not _is_selected(item, seen)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def _is_selected(item: pytest.Function, seen: set[tuple[object, ...]]) -> bool:
    """Return True for a case that is to run. seen: the functions and places that have had their first case."""
    parameters: dict[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    kamailio, manner = parameters.get("installation", "native"), parameters.get("manner", FULL)
    if kamailio == "native":
        is_whole = manner is FULL or item.get_closest_marker("every_manner")
    elif manner is FULL and not (item.get_closest_marker("natively") and "native" in KINDS):
        is_whole = item.get_closest_marker("every_kamailio")
    else:
        return False
    place = (item.path, item.originalname, kamailio, manner)
    is_first = place not in seen
    seen.add(place)
    return is_first or bool(is_whole)


def _installation_id(kind: str) -> str:
    return f"native-{native_version() or 'missing'}" if kind == "native" else kind


@pytest.fixture(scope="session", params=KINDS, ids=_installation_id)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A Kamailio to start; every test that asks for it runs once for each."""
    found = START[request.param](tmp_path_factory.mktemp("live"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Installation]]:
    """Each of them, for a test that waits on all at once."""
    found = [START[kind](tmp_path_factory.mktemp("live")) for kind in KINDS]
    yield found
    for each in found:
        each.close()


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """This machine's Kamailio, for what is not told apart from the container's by running it there again."""
    return _native(tmp_path_factory.mktemp("live"))


def _native(workspace: Path) -> Native:
    if missing := native_is_missing():
        pytest.skip(missing)
    return Native(workspace)


def _in_container(workspace: Path) -> Installation:
    pytest.importorskip("docker")
    if missing := docker_is_missing():
        pytest.skip(missing)
    from tests.harness.container import InContainer

    return InContainer(workspace)


START: dict[str, Callable[[Path], Installation]] = {"native": _native, "container": _in_container}


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


@pytest.fixture(scope="module")
def ended(installation: Installation, request: pytest.FixtureRequest) -> dict[str, Exception | None]:
    """What was wrong with each of the module's STORIES."""
    stories: Stories = request.module.STORIES
    return stories.play(installation)


@pytest.fixture
def listed(scene: Scene) -> Iterator[None]:
    """Group 2 of `address` is empty again after the test."""
    node = scene.kamailio
    yield
    node.database.execute("DELETE FROM address WHERE grp = 2")
    node.wait_for("the copy without it", lambda: not carriers_of(node), within=5)
    node.wait_for_workers()
