"""One server of each kind for all tests here; every test gets a database without tables."""

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


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", *IN_CONTAINERS])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
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
