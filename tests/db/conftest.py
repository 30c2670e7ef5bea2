"""One server of each kind for all tests here; every test gets a database without tables. On a server of Debian 13, in a
container, the first case of each test runs; `pytest --whole` runs every case there too.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, MetaData

from kemi.start.schema import open_database
from tests.db import servers
from tests.harness.machine import NO_DOCKER


@pytest.fixture(scope="session")
def postgresql() -> Iterator[URL]:
    with servers.postgresql() as server:
        yield server.url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[URL]:
    with servers.mariadb() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgresql_in_container() -> Iterator[URL]:
    with servers.in_container("postgresql") as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_in_container() -> Iterator[URL]:
    with servers.in_container("mariadb") as url:
        yield url


IN_CONTAINERS = [] if NO_DOCKER else ["postgresql_in_container", "mariadb_in_container"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that need not run in a container as well."""
    seen: set[tuple[object, ...]] = set()
    left_out = [item for item in items if isinstance(item, pytest.Function) and _is_one_more(item, seen)]
    if left_out and not config.getoption("whole"):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_one_more(item: pytest.Function, seen: set[tuple[object, ...]]) -> bool:
    """Return True for a case on a container's server. seen: the tests and servers that have had their first one."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    servers_of = [each for each in IN_CONTAINERS if each in values]
    place = (item.path, item.originalname, *servers_of)
    is_first = place not in seen
    seen.add(place)
    return bool(servers_of) and not is_first


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def operators_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """One of each kind for the operator's commands, to which its version is nothing."""
    yield from _empty(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", *IN_CONTAINERS])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    yield from _empty(request, tmp_path)


def _empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    if request.param == "sqlite":
        yield URL.create("sqlite", database=str(tmp_path / "trunks.sqlite"))
        return
    url: URL = request.getfixturevalue(request.param)
    yield url
    drop_tables(url)


@pytest.fixture(params=["postgresql", "mariadb", *IN_CONTAINERS])
def server(request: pytest.FixtureRequest) -> Iterator[URL]:
    """An empty database on each kind of server that is copied."""
    url: URL = request.getfixturevalue(request.param)
    yield url
    drop_tables(url)


@pytest.fixture
def postgresql_tables(postgresql: URL) -> Iterator[URL]:
    """An empty database on PostgreSQL, which gives notices."""
    yield postgresql
    drop_tables(postgresql)


def drop_tables(url: URL) -> None:
    engine = open_database(url)
    tables = MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    engine.dispose()
