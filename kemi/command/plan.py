"""What the running node would do with a call: the decision code of calls itself, asked over a copy of the database, and
watched to see which rule finds its rows.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, false, func, select

from kemi import uri
from kemi.address import normalised
from kemi.command.base import Failure
from kemi.command.database import CALLERS
from kemi.command.snapshot import Snapshot
from kemi.settings import Settings
from kemi.trunks.selection import Asked, Candidates, candidates
from kemi.trunks.store import TrunkStore
from kemi.trunks.tables import UNUSABLE, address, replica_fault, uacreg
from kemi.trunks.trunk import Trunk

X_TRUNK, CALLER, USER, DIALLED, DEFAULT = (
    "1: X-Trunk is l_uuid",
    "2: From user and domain are l_username and l_domain",
    "3: From user is l_username, and l_domain is empty",
    "4: the R-URI's domain is r_domain",
    "5: the default trunk",
)


class Call(NamedTuple):
    """A call to explain. sender, dialled: the URIs of From and the R-URI. source: where it comes from, an address with
    or without a port; empty if that is not asked. trunk: of X-Trunk.
    """

    sender: str
    dialled: str
    source: str = ""
    trunk: str = ""


class Out(NamedTuple):
    """A row that the rule finds, and no call uses. row: its id."""

    uuid: str
    row: int
    fault: str


class Plan(NamedTuple):
    """source: the id of the row of address by which it may call, None if there is none or that is not asked. rule: that
    found rows, empty if none did. trunks: the candidates in order. out: the other rows. reply: the caller gets it at
    once, empty if the call goes out, and why.
    """

    source: int | None
    rule: str
    trunks: Candidates
    out: tuple[Out, ...]
    request_uri: str = ""
    next_hop: str = ""
    reply: str = ""

    @property
    def outcome(self) -> str:
        """Where it goes, or which reply it gets."""
        return self.reply or self.trunks[0].uuid


class _Watched:
    """Trunks, and the last look-up: the rule that found rows, if any has."""

    def __init__(self, store: TrunkStore, names_trunk: bool) -> None:
        self._store = store
        self._names_trunk = names_trunk
        self.rule = ""
        self.rows: ColumnElement[bool] = false()

    def by_name(self, uuid: str) -> Candidates:
        found = self._store.by_name(uuid)
        return self._note(found, X_TRUNK if self._names_trunk else DEFAULT, uacreg.c.l_uuid == uuid)

    def by_caller(self, user: str, domain: str) -> Candidates:
        found = self._store.by_caller(user, domain)
        rows = and_(uacreg.c.l_username == user, func.lower(uacreg.c.l_domain) == domain.lower())
        return self._note(found, CALLER if domain else USER, rows)

    def by_dialled_domain(self, domain: str) -> Candidates:
        found = self._store.by_dialled_domain(domain)
        return self._note(found, DIALLED, func.lower(uacreg.c.r_domain) == domain.lower())

    def _note(self, found: Candidates, rule: str, rows: ColumnElement[bool]) -> Candidates:
        if found:
            self.rule, self.rows = rule, rows
        return found


def plan(copy: Snapshot, call: Call, settings: Settings) -> Plan:
    """Return what would be done with a call, in the order of kemi.placing. Raises Failure."""
    source = _source_row(copy, call.source) if call.source else None
    watched = _Watched(copy.store, bool(call.trunk))
    found = candidates(watched, Asked(call.trunk, call.sender, call.dialled), settings.default_trunk)
    out = _out(copy, watched.rows, found)
    known = Plan(source, watched.rule, tuple(trunk for trunk in found if not trunk.fault), out)
    if call.source and source is None:
        return known._replace(reply="403 Forbidden: the source is not in address, group 1")
    if not found:
        order = "there is no such trunk" if call.trunk else "no rule finds a row"
        return known._replace(reply=f"404 No Trunk: {order}")
    if not known.trunks:
        return known._replace(reply=f"404 No Trunk: {found[0].fault}")
    return _addressed(known, known.trunks[0], call, settings)


def _addressed(known: Plan, trunk: Trunk, call: Call, settings: Settings) -> Plan:
    request_uri = trunk.request_uri(call.dialled) if trunk.domain else call.dialled
    if not trunk.target.host and _is_ours(call.dialled, settings):
        return known._replace(reply="404 No Trunk: auth_proxy and r_domain are empty and the R-URI is ours")
    return known._replace(request_uri=request_uri, next_hop=trunk.next_hop or request_uri)


def _is_ours(dialled: str, settings: Settings) -> bool:
    """Return True if the R-URI leads to a socket of ours."""
    host = normalised(uri.split(dialled).host)
    return host in {normalised(each.address or each.host) for each in settings.listen}


def _source_row(copy: Snapshot, source: str) -> int | None:
    """Return the id of the first row of address that lets a source call, as the permissions module goes by them."""
    host, port = _host_port(source)
    for row in copy.select(select(address).where(address.c.grp == CALLERS).order_by(address.c.id)):
        network = ip_network(f"{row['ip_addr']}/{row['mask']}", strict=False)
        if host in network and (not port or row["port"] in (0, port)):
            return int(str(row["id"]))
    return None


def _host_port(source: str) -> tuple[IPv4Address | IPv6Address, int]:
    try:
        return ip_address(normalised(source)), 0
    except ValueError:
        host, _, port = source.rpartition(":")
    try:
        return ip_address(normalised(host)), int(port)
    except ValueError:
        raise Failure(f"--source: {source!r} is neither an address nor address:port") from None


def _out(copy: Snapshot, rows: ColumnElement[bool], found: Candidates) -> tuple[Out, ...]:
    """Return the rows that cannot be used, of those that the rule finds."""
    fault = and_(
        replica_fault.c.table_name == uacreg.name,
        replica_fault.c.id == uacreg.c.id,
        replica_fault.c.outcome == UNUSABLE,
    )
    question = select(uacreg.c.l_uuid, uacreg.c.id, replica_fault.c.reason).join(replica_fault, fault).where(rows)
    used = {trunk.row for trunk in found if not trunk.fault}
    return tuple(
        Out(str(row["l_uuid"]), int(str(row["id"])), str(row["reason"]))
        for row in copy.select(question.order_by(uacreg.c.id))
        if row["id"] not in used
    )
