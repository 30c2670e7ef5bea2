"""Read from the local file what has to be resolved: the next hops of all rows, the rows that register, and those that
are probed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from kemi.health.probes import Probed
from kemi.health.secured import Secured
from kemi.trunks.hops import Hops, Target, literal, places, target_of
from kemi.trunks.rows import SECRETS, Rules
from kemi.trunks.secret import SecretError, revealed
from kemi.trunks.secure import Wanted
from kemi.trunks.tables import (
    SYNCED,
    UNUSABLE,
    copied_uacreg,
    data_version,
    open_file,
    replica_fault,
    said,
    trunk,
    uacreg,
)

MD5_DIGITS = 32
NO_HA1 = "0" * MD5_DIGITS  # the module ignores rows without any secret
ANY_SOCKET = Rules()
REST = 1  # times as long as a look took, until the next one

_FAULTS = select(replica_fault.c.id).where(replica_fault.c.table_name == uacreg.name)
_UNUSABLE = _FAULTS.where(replica_fault.c.outcome == UNUSABLE)
_POLICY_FAULTS = select(replica_fault.c.id).where(replica_fault.c.table_name == trunk.name)
_PBXS = select(trunk.c.inbound_uri).where(trunk.c.inbound_uri != "", trunk.c.id.not_in(_POLICY_FAULTS)).distinct()
_NEXT_HOPS = select(uacreg.c.auth_proxy, uacreg.c.r_domain, uacreg.c.id.in_(_UNUSABLE)).distinct()
_REGISTERING = select(copied_uacreg).where(copied_uacreg.c.expires > 0, copied_uacreg.c.id.not_in(_FAULTS))
_PROBED = (
    select(uacreg.c.l_uuid, trunk.c.probe, uacreg.c.auth_proxy, uacreg.c.r_domain, uacreg.c.socket)
    .join(trunk, trunk.c.l_uuid == uacreg.c.l_uuid)
    .where(
        trunk.c.probe > 0,
        func.coalesce(trunk.c.enabled, 1) == 1,
        uacreg.c.id.not_in(_UNUSABLE),
        trunk.c.id.not_in(_POLICY_FAULTS),
    )
)
_SECURED = (
    select(
        func.min(uacreg.c.l_uuid),
        uacreg.c.auth_proxy,
        uacreg.c.r_domain,
        uacreg.c.socket,
        func.coalesce(trunk.c.tls_verify, 1).label("tls_verify"),
    )
    .outerjoin(trunk, trunk.c.l_uuid == uacreg.c.l_uuid)
    .where(
        uacreg.c.id.not_in(_UNUSABLE),
        or_(trunk.c.id.is_(None), trunk.c.id.not_in(_POLICY_FAULTS)),
    )
    .group_by(uacreg.c.auth_proxy, uacreg.c.r_domain, uacreg.c.socket, "tls_verify")
)
_COLUMNS = list(copied_uacreg.columns.keys())
_UUID, _PROXY, _PASSWORD, _HA1 = map(_COLUMNS.index, ("l_uuid", "auth_proxy", "auth_password", "auth_ha1"))
_SOCKET = _COLUMNS.index("socket")
_SECRETS = frozenset(_COLUMNS.index(name) for name in SECRETS)

Registration = tuple[Any, ...]  # a row of uacreg, in the order of its columns


class Found(NamedTuple):
    """The findings of one look: targets that are names, of next hops and of PBXs; those of next hops alone; the places
    of next hops that are addresses (hops.places); the rows that register or are probed, by l_uuid; those that TLS may
    lead to; and if the copy has been filled once.

    A row that cannot be used has a next hop all the same, unless that is its fault: its carrier stays one.
    """

    targets: frozenset[Target]
    next_hops: frozenset[Target]
    places: frozenset[str]
    registering: Mapping[str, Registration]
    probed: Mapping[str, Probed]
    secured: tuple[Secured, ...]
    is_synced: bool

    def all_places(self, hops: Mapping[Target, Hops]) -> frozenset[str]:
        """Return the places of all next hops. hops: of those that are names."""
        named = [places(hops[target]) for target in self.next_hops if target in hops]
        return self.places.union(*named) if named else self.places


class Rows:
    """Looks at the rows again after each change, with rests in between. While the file cannot be read, what was read
    last holds.
    """

    def __init__(self, path: Path, rules: Rules = ANY_SOCKET) -> None:
        """rules: that rows are judged by."""
        self._path = path
        self._rules = rules
        self._has_tls = any(each.transport == "tls" for each in rules.listen)
        self._engine = open_file(path)
        self._connection: Connection | None = None
        self._version: tuple[int, int] | None = None
        self._next_look = 0.0
        self._found: Found | None = None

    def found(self) -> Found | None:
        """Return what the rows hold; None before the file could be read."""
        started = time.monotonic()
        if started >= self._next_look:
            try:
                self._look()
            except (SQLAlchemyError, OSError):
                self.close()
            self._next_look = time.monotonic() + REST * (time.monotonic() - started)
        return self._found

    def close(self) -> None:
        """Close the file. The next look opens it again."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._version = None
        self._engine.dispose()

    def _look(self) -> None:
        inode = self._path.stat().st_ino
        if self._connection is None or self._version is None or self._version[0] != inode:
            self.close()
            self._connection = self._engine.connect()
        version = (inode, data_version(self._connection))
        if version == self._version:
            return
        execute = self._connection.execute
        next_hops = frozenset(
            target_of(str(proxy or ""), str(domain or ""))
            for proxy, domain, is_unusable in execute(_NEXT_HOPS)
            if not (is_unusable and self._rules.hop_fault(str(proxy or ""), str(domain or "")))
        )
        pbxs = frozenset(target_of(uri.strip(), "") for (uris,) in execute(_PBXS) for uri in str(uris).split(","))
        registering = (_revealed(row) for row in execute(_REGISTERING))
        probed = (_probed(*row) for row in execute(_PROBED))
        self._found = Found(
            frozenset(target for target in next_hops | pbxs if target.is_name),
            frozenset(target for target in next_hops if target.is_name),
            places(tuple(hop for target in next_hops if target.host and not target.is_name for hop in literal(target))),
            {str(row[_UUID]): row for row in registering if row},
            {row.uuid: row for row in probed if row.target.host},
            tuple(row for row in map(_secured, execute(_SECURED)) if row.may_lead_to_tls) if self._has_tls else (),
            bool(said(self._connection, SYNCED)),
        )
        self._version = version


def _probed(uuid: str, every: int, proxy: str | None, domain: str | None, socket: str | None) -> Probed:
    target = target_of(proxy or "", domain or "")
    return Probed(uuid, every, target, domain or "", socket or "")


def _secured(row: Sequence[Any]) -> Secured:
    uuid, proxy, domain, socket, tls_verify = row
    target = target_of(proxy or "", domain or "")
    return Secured(uuid, target, Wanted.of(target, domain or "", tls_verify, socket or ""), domain or "")


def _revealed(row: Sequence[Any]) -> Registration:
    """Return a row with the secrets that it names, as the uac module needs it; empty if one cannot be had any more. An
    HA1 that is not MD5's is kept from it: it has 33 bytes for one (do_uac_auth() in uac/auth.c), and does not answer.
    """
    try:
        found = [revealed(str(value)) if place in _SECRETS else value for place, value in enumerate(row)]
    except SecretError:
        return ()
    if len(str(found[_HA1])) > MD5_DIGITS:
        found[_HA1] = "" if found[_PASSWORD] else NO_HA1
    return tuple(found)


def way_of(row: Registration) -> tuple[str, str]:
    """Return where REGISTERs of a row go, a URI, and from which socket; both may be empty: nowhere, any. By TLS is
    nowhere.
    """
    target = target_of(str(row[_PROXY]), "")
    hop = literal(target)[0]
    return ("" if target.is_name or hop.transport == "tls" else hop.uri), str(row[_SOCKET] or "")


def resolved(
    rows: Mapping[str, Registration], hops: Mapping[Target, Hops], before: Mapping[str, Registration]
) -> dict[str, Registration]:
    """Return the registering rows with an address in place of a name in auth_proxy; those without one are left out.

    before: the rows as they were returned last; a row keeps its address for as long as its name has it.
    """
    found: dict[str, Registration] = {}
    for uuid, row in rows.items():
        target = target_of(str(row[_PROXY]), "")
        if not target.is_name:
            uri = literal(target)[0].uri if target.transport == "tls" else row[_PROXY]
            found[uuid] = (*row[:_PROXY], uri, *row[_PROXY + 1 :])
            continue
        uris = [hop.uri for hop in hops.get(target, ())]
        if uris:
            last = before[uuid][_PROXY] if uuid in before else None
            found[uuid] = (*row[:_PROXY], last if last in uris else uris[0], *row[_PROXY + 1 :])
    return found
