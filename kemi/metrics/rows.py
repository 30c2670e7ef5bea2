"""What the copy says of trunks, and of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import and_, func, select

from kemi.trunks.tables import SYNCED, UNUSABLE, open_file, replica_fault, said, trunk, uacreg


class StoredTrunk(NamedTuple):
    """A row of uacreg, with its row of trunk. The last two are numbers only if the row can be used."""

    uuid: str
    registers: bool
    is_enabled: bool
    is_usable: bool
    max_calls: int
    max_cps: int


class Stored(NamedTuple):
    """is_complete: the copy was filled once. left_out: rows with faults, by table."""

    is_complete: bool
    trunks: Sequence[StoredTrunk]
    left_out: dict[str, int]


_FAULTS = select(replica_fault.c.table_name, replica_fault.c.id).where(replica_fault.c.outcome == UNUSABLE).subquery()
_POLICY_FAULTS = _FAULTS.alias()
_ROWS = (
    select(
        uacreg.c.l_uuid, uacreg.c.expires, trunk.c.enabled, func.coalesce(_FAULTS.c.id, _POLICY_FAULTS.c.id),
        trunk.c.max_calls, trunk.c.max_cps,
    )
    .select_from(
        uacreg.outerjoin(trunk, trunk.c.l_uuid == uacreg.c.l_uuid)
        .outerjoin(_FAULTS, and_(_FAULTS.c.table_name == uacreg.name, _FAULTS.c.id == uacreg.c.id))
        .outerjoin(
            _POLICY_FAULTS, and_(_POLICY_FAULTS.c.table_name == trunk.name, _POLICY_FAULTS.c.id == trunk.c.id)
        )
    )
    .order_by(uacreg.c.id)
)  # fmt: skip
_LEFT_OUT = (
    select(replica_fault.c.table_name, func.count())
    .where(replica_fault.c.outcome == UNUSABLE)
    .group_by(replica_fault.c.table_name)
)
_TABLES = (uacreg.name, trunk.name, "address")


def stored(file: Path) -> Stored:
    """Read the copy. Raises SQLAlchemyError if it cannot be read."""
    engine = open_file(file)
    try:
        with engine.connect() as connection:
            is_complete = bool(said(connection, SYNCED))
            left_out = {str(table): int(number) for table, number in connection.execute(_LEFT_OUT)}
            trunks = [_trunk(row) for row in connection.execute(_ROWS)]
    finally:
        engine.dispose()
    return Stored(is_complete, trunks, {table: left_out.get(table, 0) for table in _TABLES})


def _trunk(row: Sequence[Any]) -> StoredTrunk:
    uuid, expires, enabled, fault, *limits = row
    if fault is not None:
        return StoredTrunk(str(uuid), False, enabled != 0, False, 0, 0)
    max_calls, max_cps = (value or 0 for value in limits)
    return StoredTrunk(str(uuid), bool(expires), enabled != 0, True, max_calls, max_cps)
