"""`add`, `set`, `enable`, `disable` and `remove`: a trunk's rows of uacreg and of the optional table trunk, which are
judged before they are written.

A secret is never an argument, which other users of the machine could read: it is asked for, or comes by stdin. What
only names one (kemi.trunks.secret) may be an argument.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Integer, String, Table, inspect, select
from sqlalchemy.types import TypeEngine

from kemi.auth import digest
from kemi.command.base import Failure
from kemi.command.database import open_tables, writing
from kemi.settings import Settings
from kemi.trunks.rows import Verdict
from kemi.trunks.secret import SecretError, revealed
from kemi.trunks.tables import trunk, uacreg
from kemi.trunks.trunk import DEFAULT

Values = Mapping[str, str | int]

SECRETS = ("auth_password", "auth_ha1")
COLUMNS = {  # that may be set -> their table
    column.name: table for table in (uacreg, trunk) for column in table.columns if column.name not in ("id", "l_uuid")
}
_NAMES_SECRET = ("env:", "file:")
_ALGORITHMS = ("MD5", "SHA-256")  # that auth_ha1 can be of


def declare_add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `add`."""
    _declare_row(parser)


def declare_set(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `set`."""
    _declare_row(parser)
    parser.add_argument("--password", action="store_true", help="ask for another password too, or read it from stdin")


def declare_name(parser: argparse.ArgumentParser) -> None:
    """Add the one argument of `enable`, `disable` and `remove`."""
    parser.add_argument("trunk", metavar="TRUNK", help="its l_uuid")


def _declare_row(parser: argparse.ArgumentParser) -> None:
    declare_name(parser)
    parser.add_argument(
        "values", metavar="COLUMN=VALUE", nargs="*", type=_assignment, help=f"COLUMN is one of {', '.join(COLUMNS)}"
    )
    parser.add_argument(
        "--ha1",
        nargs="?",
        const="MD5",
        choices=_ALGORITHMS,
        help="store H(username:realm:password) in place of the password; of MD5 unless told otherwise",
    )


def add(asked: argparse.Namespace, settings: Settings) -> int:
    """Insert a trunk's rows."""
    given, policy = _of(uacreg, asked.values), _of(trunk, asked.values)
    row = {**_empty(uacreg), "l_uuid": asked.trunk, **given}
    row |= _secrets(asked.ha1, row, given)
    _judge(settings.rules.trunk(row), asked.trunk)
    with open_tables(settings) as engine, writing(engine) as connection:
        if found := _row(connection, uacreg, asked.trunk):
            raise Failure(f"there is a trunk {found['l_uuid']} already; `set` changes it")
        connection.execute(uacreg.insert().values({name: row[name] for name in row if name != "id"}))
        if policy:
            _write_policy(connection, settings, asked.trunk, policy)
    print(f"added trunk {asked.trunk}")
    return 0


def change(asked: argparse.Namespace, settings: Settings) -> int:
    """Change a trunk's rows."""
    changes, policy = _of(uacreg, asked.values), _of(trunk, asked.values)
    with open_tables(settings) as engine, writing(engine) as connection:
        row = _known(connection, asked.trunk)
        if asked.password or asked.ha1 or any(name in changes for name in SECRETS):
            changes |= _secrets(asked.ha1, {**row, **changes}, changes)
        elif row["auth_ha1"] and any(changes.get(name, row[name]) != row[name] for name in ("realm", "auth_username")):
            raise Failure("auth_ha1 is of the realm and auth_username of before; give --ha1 as well")
        if not changes and not policy:
            raise Failure("nothing to set")
        if changes:
            _judge(settings.rules.trunk({**row, **changes}), asked.trunk)
            connection.execute(uacreg.update().where(uacreg.c.l_uuid == asked.trunk).values(changes))
        if policy:
            _write_policy(connection, settings, asked.trunk, policy)
    print(f"changed trunk {asked.trunk}: {', '.join([*changes, *policy])}")
    return 0


def enable(asked: argparse.Namespace, settings: Settings) -> int:
    """Let calls use a trunk again."""
    return _set_enabled(asked.trunk, settings, 1)


def disable(asked: argparse.Namespace, settings: Settings) -> int:
    """Keep new calls from a trunk; those that are up go on."""
    return _set_enabled(asked.trunk, settings, 0)


def _set_enabled(uuid: str, settings: Settings, enabled: int) -> int:
    with open_tables(settings) as engine, writing(engine) as connection:
        _known(connection, uuid)
        _write_policy(connection, settings, uuid, {"enabled": enabled})
    print(f"{'enabled' if enabled else 'disabled'} trunk {uuid}")
    return 0


def remove(asked: argparse.Namespace, settings: Settings) -> int:
    """Delete a trunk's rows."""
    with open_tables(settings) as engine, writing(engine) as connection:
        _known(connection, asked.trunk)
        for table in (uacreg, trunk):
            if inspect(connection).has_table(table.name):
                connection.execute(table.delete().where(table.c.l_uuid == asked.trunk))
    print(f"removed trunk {asked.trunk}")
    return 0


def _write_policy(connection: Connection, settings: Settings, uuid: str, changes: Values) -> None:
    """Change the trunk's row of the table trunk, which is made if there is none. Raises Failure."""
    if not inspect(connection).has_table(trunk.name):
        raise Failure("table trunk is missing; `kemi-trunkauth db` creates it")
    row, changes = _row(connection, trunk, uuid), {"l_uuid": uuid, **changes}
    _judge(settings.rules.policy({**(row or {**_empty(trunk), **DEFAULT._asdict()}), **changes}), uuid)
    if row:
        connection.execute(trunk.update().where(trunk.c.l_uuid == uuid).values(changes))
    else:
        connection.execute(trunk.insert().values({**DEFAULT._asdict(), **changes}))


def _of(table: Table, values: Sequence[tuple[str, str | int]]) -> dict[str, str | int]:
    """Return those of the given values that go into a table."""
    return {name: value for name, value in values if COLUMNS[name] is table}


def _empty(table: Table) -> dict[str, str | int]:
    return {column.name: 0 if isinstance(column.type, Integer) else "" for column in table.columns}


def _assignment(text: str) -> tuple[str, str | int]:
    """Read COLUMN=VALUE. Raises ArgumentTypeError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=VALUE")
    if name in SECRETS and not value.startswith(_NAMES_SECRET):
        raise argparse.ArgumentTypeError(f"{name} is never an argument: it is asked for, or read from stdin")
    if name not in COLUMNS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(COLUMNS)}")
    kind = COLUMNS[name].c[name].type
    if isinstance(kind, Integer):
        if not value.isascii() or not value.isdecimal():
            raise argparse.ArgumentTypeError(f"{name} takes a whole number")
        return name, int(value)
    if len(value) > (longest := _longest(kind)):
        raise argparse.ArgumentTypeError(f"{name} takes {longest} characters at most")
    return name, value


def _longest(kind: TypeEngine[Any]) -> int:
    """Return how many characters a column of text takes."""
    return (kind.length or 0) if isinstance(kind, String) else 0


def _secrets(ha1: str | None, row: Mapping[str, object], given: Values) -> dict[str, str | int]:
    """Return both columns of secrets: as they are named, or from the password, which is asked for or read from stdin.

    ha1: the algorithm to hash it with, None to store it as it is.
    """
    if named := {name: given[name] for name in SECRETS if name in given}:
        if ha1:
            raise Failure("--ha1 is of a password, and the row is to name its secret")
        return {**dict.fromkeys(SECRETS, ""), **named}
    password = _password()
    if not password:
        raise Failure("no password was given")
    if ha1 is None:
        if len(password) > (longest := _longest(uacreg.c.auth_password.type)):
            raise Failure(f"auth_password takes {longest} characters at most; --ha1 takes any")
        return {"auth_password": password, "auth_ha1": ""}
    if not row["realm"]:
        raise Failure("--ha1 takes a realm: an HA1 is of one")
    try:
        hashed = digest.ha1(ha1, str(row["auth_username"]), str(row["realm"]), revealed(password))
    except SecretError as error:
        raise Failure(f"the password {error}") from None
    return {"auth_password": "", "auth_ha1": hashed}


def _password() -> str:
    """Return what is typed, or the first line of stdin. Raises Failure."""
    try:
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
        password.encode()
    except UnicodeError:
        raise Failure("the password is not UTF-8") from None
    return password


def _judge(verdict: Verdict, uuid: str) -> None:
    """Check a row that is to be written. Raises Failure."""
    is_long = "l_uuid is too long" if len(uuid) > _longest(uacreg.c.l_uuid.type) else ""
    if fault := is_long or verdict.fault or verdict.unregistered:
        raise Failure(f"nothing is written: {fault}")


def _known(connection: Connection, uuid: str) -> dict[str, object]:
    """Return the row of this l_uuid. Raises Failure if there is none."""
    row = _row(connection, uacreg, uuid)
    if row is None or row["l_uuid"] != uuid:
        raise Failure(f"there is no trunk {uuid}")
    return row


def _row(connection: Connection, table: Table, uuid: str) -> dict[str, object] | None:
    """Return the row of this l_uuid. To MariaDB, one in other letters is the same; to calls it is not."""
    found = connection.execute(select(table).where(table.c.l_uuid == uuid)).mappings().first()
    return dict(found) if found else None
