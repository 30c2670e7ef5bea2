"""The DBA's database as a command reads it: directly, with every row judged by the rules of the running node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import SQLAlchemyError

from kemi.command.base import Failure
from kemi.replica.file import File
from kemi.replica.source import Source
from kemi.settings import Settings
from kemi.start import schema
from kemi.trunks.rows import MOST_ID, Rules, Verdict
from kemi.trunks.tables import address, cause, copied_uacreg, trunk


@contextlib.contextmanager
def open_tables(settings: Settings) -> Iterator[Engine]:
    """Open the database, whose tables are there and can be used. Raises Failure, for its errors in the block too."""
    if settings.db_file and not settings.db_file.exists():
        raise Failure(f"TRUNKAUTH_DB_URL: {settings.shown_db_url}: there is no such file; `kemi-trunkauth db` makes it")
    engine = schema.open_database(settings.db_url)
    try:
        schema.check(engine)
        yield engine
    except (SQLAlchemyError, schema.SchemaError) as error:
        raise Failure(f"TRUNKAUTH_DB_URL: {settings.shown_db_url}: {cause(error)}") from None
    finally:
        engine.dispose()


@contextlib.contextmanager
def open_source(settings: Settings) -> Iterator[Source]:
    """Open it as the keeper of the copy does, which reads rows whatever is in them. Raises Failure likewise."""
    with open_tables(settings):
        source = File(settings.db_url) if settings.db_file else Source(settings.db_url)
        try:
            source.connect()
            yield source
        except OSError as error:
            raise Failure(f"TRUNKAUTH_DB_URL: {settings.shown_db_url}: {error}") from None
        finally:
            source.close()


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Commit all that is written in the block, or nothing if it raises."""
    level = "SERIALIZABLE" if engine.dialect.name == "sqlite" else "READ COMMITTED"
    with engine.connect() as connection, connection.execution_options(isolation_level=level).begin():
        yield connection


def judged(source: Source, rules: Rules) -> Iterator[tuple[Table, Verdict]]:
    """Yield every row with its verdict, table by table, as of one moment."""
    judges = ((copied_uacreg, rules.trunk), (trunk, rules.policy), (address, rules.address))
    with source.snapshot():
        present = source.tables()
        for table, judge in judges:
            names = table.columns.keys()
            for batch in source.rows(table, -MOST_ID - 1, MOST_ID + 1) if table in present else ():
                for row in batch:
                    yield table, judge(dict(zip(names, row, strict=True)))
