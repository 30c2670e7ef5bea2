"""Finds trunks in a local SQLite file through SQLAlchemy: the one door to the database for SIP workers.

Only SELECTs with bound parameters. A store belongs to the process that made it: make it after the fork, in child_init.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import randrange
from time import monotonic
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    FromClause,
    Table,
    and_,
    func,
    literal_column,
    or_,
    select,
)

from kemi.trunks.groups import CARRIERS
from kemi.trunks.hops import Hops, Target, in_order
from kemi.trunks.local import FIRST, SECOND, LocalFile, Question
from kemi.trunks.names import ResolvedNames
from kemi.trunks.places import Listed, Places, of_carrier
from kemi.trunks.rows import LONGEST_KEY
from kemi.trunks.secret import SecretError, revealed
from kemi.trunks.selection import Candidates, usable_or_first
from kemi.trunks.tables import (
    CONTACT_USER,
    POLICY_COLUMNS,
    SOURCE,
    SYNCED,
    TRUNK_COLUMNS,
    UNUSABLE,
    address,
    identity,
    replica_fault,
    replica_state,
    trunk,
    uacreg,
)
from kemi.trunks.trunk import Trunk

MOST_OF_A_KEY = 1000  # rows of one key that are looked at, by id
MOST_KEPT = 4096  # look-ups that a worker keeps, whatever the size of the table


def _is_of(fault: FromClause, table: Table) -> ColumnElement[bool]:
    """Return the condition that a fault is one for which a row of the table cannot be used."""
    return and_(fault.c.table_name == table.name, fault.c.id == table.c.id, fault.c.outcome == UNUSABLE)


_FAULT, _POLICY_FAULT = replica_fault.alias("fault"), replica_fault.alias("policy_fault")


def _rows(*conditions: ColumnElement[bool]) -> Question:
    """Return the query for the rows of one key."""
    ids = select(uacreg.c.id).where(*conditions).order_by(uacreg.c.id).limit(MOST_OF_A_KEY)
    return Question(
        select(*TRUNK_COLUMNS, *POLICY_COLUMNS, func.coalesce(_FAULT.c.reason, _POLICY_FAULT.c.reason))
        .select_from(
            uacreg.outerjoin(trunk, trunk.c.l_uuid == uacreg.c.l_uuid)
            .outerjoin(_FAULT, _is_of(_FAULT, uacreg))
            .outerjoin(_POLICY_FAULT, _is_of(_POLICY_FAULT, trunk))
        )
        .where(uacreg.c.id.in_(ids))
        .order_by(func.coalesce(trunk.c.enabled, 1).desc(), func.coalesce(trunk.c.priority, 0), uacreg.c.id)
    )


_BY_UUID = _rows(uacreg.c.l_uuid == FIRST)
_BY_ROW = _rows(uacreg.c.id == FIRST)
_BY_CALLER = _rows(uacreg.c.l_username == FIRST, func.lower(uacreg.c.l_domain) == SECOND)
_BY_NUMBER = _rows(uacreg.c.l_username == FIRST)
_BY_CONTACT_USER = _rows(literal_column(CONTACT_USER) == FIRST, literal_column(f"{CONTACT_USER} <> ''"))
_BY_DIALLED_DOMAIN = _rows(func.lower(uacreg.c.r_domain) == FIRST)

_LISTED = (
    select(address.c.ip_addr, address.c.mask, address.c.port)
    .where(address.c.grp == CARRIERS)
    .order_by(address.c.id)
    .limit(MOST_OF_A_KEY)
)
_BY_TAG = Question(_LISTED.where(address.c.tag == FIRST))
_UNTAGGED = Question(_LISTED.where(or_(address.c.tag == "", address.c.tag.is_(None))))
_SAYS = Question(select(replica_state))


class TrunkStore(LocalFile):
    """Finds trunks, enabled ones first, then by priority and id: usable ones, or the first one that cannot be used if
    there are no others.

    Look-ups are kept until the file changes. Every method takes and compares strings as they come from the wire, and
    raises what LocalFile raises; the next look-up then opens the file anew.
    """

    def __init__(self, path: Path, source: URL, names: Path | None = None) -> None:
        """source: the database that the file has to be the copy of. names: the file of resolved names; None if there is
        none.
        """
        super().__init__(path)
        self._names = ResolvedNames(names)
        self.is_next_hop, self.is_next_hop_host = self._names.is_next_hop, self._names.is_next_hop_host
        self._identity = identity(source)
        self._is_ready = False
        self._kept: dict[tuple[object, ...], Candidates] = {}
        self._rows: dict[Trunk, Trunk] = {}  # one object a row, by whichever look-up it was found
        self._listed: dict[str, tuple[Listed, ...]] = {}

    def is_ready(self) -> bool:
        """Return True if calls can be served: False until the copy was filled once."""
        if self._is_ready and monotonic() < self._stale_at:
            return True
        try:
            driver = self._look()
            if not self._is_ready:
                self._is_ready = SYNCED in _said(driver)
        except Exception:  # whatever it was, the next look-up gets a new connection
            self.close()
            raise
        return self._is_ready

    def warm_up(self) -> None:
        """Make each look-up once, so that the first call finds files open and SQL prepared. Raises nothing."""
        with contextlib.suppress(Exception):  # a call will meet it too
            self.is_ready()
            self.by_row(0)
            self.by_caller("", "")
            for key in ("", "a"):
                self._carriers(key)
            for find in (self.by_uuid, self.by_number, self.by_contact_user, self.by_dialled_domain):
                find("")
            self._names.warm_up()
        self._forget()

    def can_be_read(self) -> bool:
        """Return True if calls can be served. Raises nothing, whatever state the file is in."""
        try:
            self.by_uuid("")  # any look-up: an empty file can be opened too
            return self.is_ready()
        except Exception:  # whatever it was, a call would meet it too
            return False

    def by_uuid(self, uuid: str) -> Trunk | None:
        """Return the trunk of this l_uuid, None if there is none that can be used."""
        found = self._find(_BY_UUID, uuid)
        return found[0] if found and not found[0].fault else None

    def by_row(self, row: int) -> Trunk | None:
        """Return the trunk of this id, None if there is none that can be used."""
        found = self._find(_BY_ROW, row)
        return found[0] if found and not found[0].fault else None

    def by_name(self, uuid: str) -> Candidates:
        """Return the trunk of this l_uuid."""
        return self._find(_BY_UUID, uuid)

    def by_caller(self, user: str, domain: str) -> Candidates:
        """Return the trunks of the caller user@domain (l_username, l_domain). Domains are compared without case."""
        return self._find(_BY_CALLER, user, domain.lower())

    def by_number(self, user: str) -> Candidates:
        """Return the trunks of this l_username, whatever their l_domain."""
        return self._find(_BY_NUMBER, user)

    def by_contact_user(self, user: str) -> Candidates:
        """Return the trunks that are registered with this user in Contact, beside those of this l_uuid."""
        return self._find(_BY_CONTACT_USER, user)

    def by_dialled_domain(self, domain: str) -> Candidates:
        """Return the trunks whose r_domain is the R-URI's host, compared without case."""
        return self._find(_BY_DIALLED_DOMAIN, domain.lower())

    def resolved(self, target: Target) -> Hops | None:
        """Return a target's hops, in the order to try; empty if it cannot be resolved, None if nobody has tried."""
        hops = self._names.find(target)
        return in_order(hops, randrange) if hops and len(hops) > 1 else hops

    def places(self, trunk: Trunk) -> Places:
        """Return where the trunk's carrier is: all hops of its next hop, and the addresses of group 2 that have its
        l_uuid as tag; if the row names no next hop, also those that have no tag.
        """
        listed = self._carriers(trunk.uuid)
        if not trunk.destination:
            listed += self._carriers("")
        hops = self._names.find(trunk.target) or () if trunk.leads_to_name else trunk.address_hops
        services = self._names.services(trunk.target) if hops and hops[0].name != trunk.target.host else ()
        return of_carrier(trunk.target, hops, services, listed)

    def close(self) -> None:
        """Close both files. The next look-up opens them again."""
        super().close()
        self._is_ready = False
        self._names.close()

    def _find(self, question: Question, *values: str | int) -> Candidates:
        """Return the trunks that answer a question with these values; none if one is longer than its column."""
        key = (question, *values)
        if key in self._kept and monotonic() < self._stale_at:
            return self._kept[key]
        try:
            driver = self._look()
            if key not in self._kept:
                if any(isinstance(value, str) and len(value) > LONGEST_KEY for value in values):
                    return ()
                if len(self._kept) >= MOST_KEPT:
                    self._forget()
                trunks = usable_or_first(map(_trunk, question.rows(driver, *values)))
                self._kept[key] = tuple([self._rows.setdefault(trunk, trunk) for trunk in trunks])
        except Exception:  # as above
            self.close()
            raise
        return self._kept[key]

    def _carriers(self, tag: str) -> tuple[Listed, ...]:
        """Return the carriers' addresses with this tag; empty: with none."""
        if tag in self._listed and monotonic() < self._stale_at:
            return self._listed[tag]
        try:
            driver = self._look()
            if tag not in self._listed:
                if len(self._listed) >= MOST_KEPT:
                    self._listed.clear()
                rows = _BY_TAG.rows(driver, tag) if tag else _UNTAGGED.rows(driver)
                self._listed[tag] = tuple([Listed.of(*row) for row in rows])
        except Exception:  # as above
            self.close()
            raise
        return self._listed[tag]

    def _forget(self) -> None:
        self._kept.clear()
        self._rows.clear()
        self._listed.clear()

    def _opened(self, driver: sqlite3.Connection) -> None:
        if _said(driver).get(SOURCE) != self._identity:
            raise OSError("the file is the copy of another database")


def _trunk(columns: Sequence[Any]) -> Trunk:
    """Return the trunk of a row, with the secrets that it names."""
    trunk = Trunk.of(columns)
    try:
        password, ha1 = revealed(trunk.auth_password), revealed(trunk.auth_ha1)
    except SecretError as error:  # gone since the keeper has judged the row
        return Trunk(trunk.uuid, fault=f"auth_password or auth_ha1 {error}")
    if (password, ha1) == (trunk.auth_password, trunk.auth_ha1):
        return trunk
    return replace(trunk, auth_password=password, auth_ha1=ha1)


def _said(driver: sqlite3.Connection) -> dict[str, str]:
    """Return what a copy says of itself."""
    return {str(name): str(value) for name, value in _SAYS.rows(driver)}
