"""What the running node would do with a call: the decision code of calls itself, asked over a copy of the database, and
watched to see which rule finds its rows.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, false, func, or_, outerjoin, select

from kemi import uri
from kemi.address import normalised
from kemi.command.base import Failure
from kemi.command.snapshot import Snapshot
from kemi.settings import Settings
from kemi.trunks import selection
from kemi.trunks.groups import CALLERS, CARRIERS
from kemi.trunks.selection import Asked, Candidates, candidates
from kemi.trunks.store import TrunkStore
from kemi.trunks.tables import UNUSABLE, address, replica_fault, uacreg
from kemi.trunks.tables import trunk as trunk_table

X_TRUNK, CALLER, USER, DIALLED, DEFAULT = (
    "1: X-Trunk is l_uuid",
    "2: From user and domain are l_username and l_domain",
    "3: From user is l_username, and l_domain is empty",
    "4: the R-URI's domain is r_domain",
    "5: the default trunk",
)


OTHER_TAG = "source_tag is another than the source's tag"
DISABLED = "it is not enabled"
LOOP = "auth_proxy and r_domain are empty and the R-URI is ours"


class Source(NamedTuple):
    """A row of address by which a source may call. row: its id."""

    row: int
    tag: str


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
            self.rows = or_(self.rows, rows) if rule == self.rule else rows
            self.rule = rule
        return found


def plan(copy: Snapshot, call: Call, settings: Settings) -> Plan:
    """Return what would be done with a call, in the order of kemi.flow.placing. Raises Failure."""
    source = _source_row(copy, call.source) if call.source else None
    watched = _Watched(copy.store, bool(call.trunk))
    found = candidates(watched, Asked(call.trunk, call.sender, call.dialled), settings.default_trunk)
    allowed = selection.open_to(found, source.tag) if source else found
    trunks = selection.usable(allowed)
    if not call.trunk:
        trunks = selection.in_order(trunks, lambda _: 0)
    out = (*_out(copy, watched.rows), *_closed(found, allowed))
    known = Plan(source and source.row, watched.rule, trunks, out)
    if call.source and (row := _source_row(copy, call.source, CARRIERS)):
        return known._replace(source=None, reply=f"it comes in: the source is a carrier, address {row.row}")
    if call.source and _is_next_hop(copy, call.source, is_listed=source is not None):
        return known._replace(source=None, reply="it comes in: the source is a trunk's next hop")
    if call.source and source is None:
        return known._replace(reply="403 Forbidden: the source is not in address, group 1")
    if not found:
        order = "there is no such trunk" if call.trunk else "no rule finds a row"
        return known._replace(reply=f"404 No Trunk: {order}")
    if not allowed:
        return known._replace(reply=f"403 Forbidden: {OTHER_TAG}")
    if not trunks:
        return known._replace(reply=f"404 No Trunk: {allowed[0].fault or DISABLED}")
    return _addressed(known, call, settings)


def _closed(found: Candidates, allowed: Candidates) -> tuple[Out, ...]:
    """Return the rows that the table trunk keeps the call from."""
    closed = [(trunk, "" if trunk in allowed else OTHER_TAG) for trunk in found if not trunk.fault]
    return tuple(
        Out(trunk.uuid, trunk.row, fault or DISABLED) for trunk, fault in closed if fault or not trunk.policy.enabled
    )


def _addressed(known: Plan, call: Call, settings: Settings) -> Plan:
    """Return the plan with the R-URI and the next hop of the first trunk that leads anywhere."""
    for place, trunk in enumerate(known.trunks):
        if trunk.target.host or not _is_ours(call.dialled, settings):
            request_uri = trunk.request_uri(call.dialled)
            next_hop = trunk.next_hop or (trunk.hop_of(request_uri) if trunk.domain else "") or request_uri
            return known._replace(trunks=known.trunks[place:], request_uri=request_uri, next_hop=next_hop)
        known = known._replace(out=(*known.out, Out(trunk.uuid, trunk.row, LOOP)))
    return known._replace(trunks=(), reply=f"404 No Trunk: {LOOP}")


def _is_ours(dialled: str, settings: Settings) -> bool:
    """Return True if the R-URI leads to a socket of ours."""
    hosts = {host for each in settings.listen for host in (each.public_host, *each.addresses, each.host)}
    return normalised(uri.split(dialled).host) in map(normalised, filter(None, hosts))


def _source_row(copy: Snapshot, source: str, group: int = CALLERS) -> Source | None:
    """Return the first row of a group of address that lists a source, as the permissions module goes by them."""
    host, port = _host_port(source)
    for row in copy.select(select(address).where(address.c.grp == group).order_by(address.c.id)):
        network = ip_network(f"{row['ip_addr']}/{row['mask']}", strict=False)
        if host in network and (not port or row["port"] in (0, port)):
            return Source(int(str(row["id"])), str(row["tag"] or ""))
    return None


def _is_next_hop(copy: Snapshot, source: str, *, is_listed: bool) -> bool:
    """Return True if a call from there is a carrier's, as the running node goes by the next hops that it knows: by
    address and port, or of a source that may not call by the address that a connection comes from.
    """
    host, port = _host_port(source)
    by_port = bool(port) and copy.store.is_next_hop(f"{host} {port} udp")
    return by_port or (not is_listed and copy.store.is_next_hop_host(f"{host} {port} tcp"))


def _host_port(source: str) -> tuple[IPv4Address | IPv6Address, int]:
    try:
        return ip_address(normalised(source)), 0
    except ValueError:
        host, _, port = source.rpartition(":")
    try:
        return ip_address(normalised(host)), int(port)
    except ValueError:
        raise Failure(f"--source: {source!r} is neither an address nor address:port") from None


def _out(copy: Snapshot, rows: ColumnElement[bool]) -> tuple[Out, ...]:
    """Return the rows that cannot be used, of those that the rule finds."""
    policy = outerjoin(uacreg, trunk_table, trunk_table.c.l_uuid == uacreg.c.l_uuid)
    of_rows = or_(
        and_(replica_fault.c.table_name == uacreg.name, replica_fault.c.id == uacreg.c.id),
        and_(replica_fault.c.table_name == trunk_table.name, replica_fault.c.id == trunk_table.c.id),
    )
    question = select(uacreg.c.l_uuid, uacreg.c.id, func.min(replica_fault.c.reason).label("reason")).select_from(
        policy.join(replica_fault, and_(of_rows, replica_fault.c.outcome == UNUSABLE))
    )
    return tuple(
        Out(str(row["l_uuid"]), int(str(row["id"])), str(row["reason"]))
        for row in copy.select(question.where(rows).group_by(uacreg.c.id).order_by(uacreg.c.id))
    )
