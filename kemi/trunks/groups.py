"""Which rows of `address` Kamailio is given, of those that rows.py has passed one by one. Pure.

1. Whatever group 2 lists is a carrier, though a network of group 1 holds it too. A row of group 1 lets nobody call if a
   row of group 2 lists all of its sources: that is a mistake of the DBA's.
2. The permissions module ends Kamailio if its private memory is too small for all rows, and leaves out networks beyond
   its `max_subnets` without saying which. So the last ones, by id, are left out here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

CALLERS, CARRIERS = 1, 2  # the groups: who may call, and who brings calls in
COVERED = "group 2 lists the same source: a carrier, which may not call"

MOST_NETWORKS = 4096  # max_subnets in trunkauth.inc.cfg
MOST_ROWS = 50_000  # half of what fits into PRIVATE_MEMORY (start/run.py)

_Network = IPv4Network | IPv6Network


class Row(NamedTuple):
    """A row of `address` that rows.py has passed. port: 0 for any."""

    row: int
    address: str
    mask: int
    port: int
    group: int = CALLERS

    @classmethod
    def of(cls, columns: Mapping[str, object]) -> Row:
        """Make one of a row's columns by name."""
        row, *numbers = (int(str(columns[name])) for name in ("id", "mask", "port", "grp"))
        return cls(row, str(columns["ip_addr"]), *numbers)

    @property
    def is_network(self) -> bool:
        """True if it lists more than one address."""
        return self.mask < (128 if ":" in self.address else 32)


def left_out(rows: Iterable[Row]) -> dict[int, str]:
    """Return the rows that Kamailio is not given: id -> why."""
    ordered = sorted(rows)
    callers, carriers = ([one for one in ordered if one.group == group] for group in (CALLERS, CARRIERS))
    reasons = dict.fromkeys(covered(callers, carriers), COVERED)
    networks = [one.row for one in ordered if one.is_network and one.row not in reasons]
    reasons |= dict.fromkeys(networks[MOST_NETWORKS:], f"it is beyond the first {MOST_NETWORKS} networks")
    usable = [one.row for one in ordered if one.row not in reasons]
    return reasons | dict.fromkeys(usable[MOST_ROWS:], f"it is beyond the first {MOST_ROWS} rows")


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
