"""Where large requests go: by TCP, if their place has it, and by UDP if it has not (RFC 3261 18.1.1).

TCP is tried in front of a hop by UDP that nobody has named: an address, or a name with a port or without records of
services (RFC 3263 4.1). Where DNS names services of UDP, it has to name one of TCP at the same address. A row that says
`;transport=udp` is taken at its word.

Pure.
"""

from __future__ import annotations

from kemi.trunks.hops import PORTS, Hop, Hops, Target

LONGEST_BY_UDP = 1000  # octets as it comes in: Via and two Record-Routes with a mark, 300 more, make it the RFC's 1,300

OR_UDP = " > "  # in a plan, between a hop by TCP and the same place by UDP; no URI has a space


def is_service(target: Target, hop: Hop) -> bool:
    """Return True if DNS has named this hop of the target as one of a service by UDP."""
    return target.is_name and not target.port and (hop.name, hop.port) != (target.host, PORTS["udp"])


def by_tcp(target: Target, hop: Hop, services: Hops) -> Hop | None:
    """Return the place of a target's hop by TCP, None if it stays by what it is. services: of the target by TCP."""
    if target.transport or hop.transport != "udp":
        return None
    if not is_service(target, hop):
        return hop._replace(transport="tcp")
    named = (one for one in services if one.address == hop.address and one.name != target.host)
    return next(named, None)
