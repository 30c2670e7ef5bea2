"""One server of each kind for all tests here; every test gets a database without tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, MetaData

from kemi.trunks import open_engine
from tests.db import servers


@pytest.fixture(scope="session")
def postgresql() -> Iterator[URL]:
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[URL]:
    with servers.mariadb() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    if request.param == "sqlite":
        yield URL.create("sqlite", database=str(tmp_path / "trunks.sqlite"))
        return
    url: URL = request.getfixturevalue(request.param)
    yield url
    engine = open_engine(url)
    tables = MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    engine.dispose()
