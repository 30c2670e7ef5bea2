"""The groups of `address`: carriers are no callers. Pure.

Whatever group 2 lists is a carrier, though a network of group 1 holds it too. A row of group 1 lets nobody call if a
row of group 2 lists all of its sources: that is a mistake of the DBA's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

CALLERS, CARRIERS = 1, 2  # the groups: who may call, and who brings calls in
COVERED = "group 2 lists the same source: a carrier, which may not call"

_Network = IPv4Network | IPv6Network


class Row(NamedTuple):
    """A row of `address` that rows.py has passed. port: 0 for any."""

    row: int
    address: str
    mask: int
    port: int

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> Row:
        """Make one of a row's columns by name."""
        row, mask, port = (int(str(columns[name])) for name in ("id", "mask", "port"))
        return cls(row, str(columns["ip_addr"]), mask, port)


def covered(callers: Iterable[Row], carriers: Iterable[Row]) -> frozenset[int]:
    """Return the ids of rows of group 1 whose sources are all in one row of group 2."""
    ports: defaultdict[_Network, set[int]] = defaultdict(set)
    for one in carriers:
        ports[_network(one)].add(one.port)
    masks: set[tuple[int, int]] = {(network.version, network.prefixlen) for network in ports}
    return frozenset(one.row for one in callers if _is_covered(one, ports, masks))


def _is_covered(one: Row, ports: defaultdict[_Network, set[int]], masks: set[tuple[int, int]]) -> bool:
    network = _network(one)
    wider = (
        network.supernet(new_prefix=mask)
        for version, mask in masks
        if version == network.version and mask <= network.prefixlen
    )
    return any(not ports[each].isdisjoint({0, one.port}) for each in wider if each in ports)


def _network(one: Row) -> _Network:
    return ip_network(f"{one.address}/{one.mask}", strict=False)
