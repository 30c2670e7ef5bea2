"""From a target to its hops: RFC 3263 sections 4.1 and 4.2.

1. The transport is the URI's; without one, UDP for a target with a port, else what NAPTR says, or else the transports
   that have SRV records. Of a SIPS URI it is TLS, and NAPTR may say where.
2. A target without a port has the hosts and ports of SRV, or its own addresses at the default port if there is none.
3. Only transports and kinds of addresses that Kamailio can send by are used. If that leaves nothing, the other kind is
   asked for once, to say why.

A question that nobody answers ends it all: half an answer might lead elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from kemi.address import is_address
from kemi.names.nameserver import FOREVER, Ask, Records
from kemi.trunks.hops import PORTS, Hop, Hops, Target

SERVICES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_NAPTR = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
LONGEST_TTL = FOREVER
MOST_PLACES = 32  # hosts of one service
MOST_HOPS = 64  # of a target, whatever a zone holds: SIP workers read them
_FAMILIES = {"A": "IPv4", "AAAA": "IPv6"}


class Answer(NamedTuple):
    """A target's hops, by priority, and the seconds after which to ask again. beyond: why Kamailio cannot send to what
    it has; empty if it has nothing.
    """

    hops: Hops
    ttl: int
    beyond: str = ""

    @property
    def fault(self) -> str:
        """Why there are no hops, empty if there are some."""
        return "" if self.hops else self.beyond or "it does not exist"


class Place(NamedTuple):
    """A host and port to find the addresses of."""

    name: str
    port: int
    transport: str
    priority: int = 0
    weight: int = 0


class Resolver:
    """Resolves targets. reach: the transports that Kamailio listens by, the preferred one first, and the kinds of
    addresses that it can send to by each: A, AAAA or both.
    """

    def __init__(self, ask: Ask, reach: Mapping[str, tuple[str, ...]]) -> None:
        self._ask = ask
        self._reach = reach
        self._transports = tuple(reach)

    async def resolve(self, target: Target) -> Answer:
        """Return the target's hops. Raises NoAnswerError."""
        if target.transport and target.transport not in self._reach:
            return Answer((), LONGEST_TTL, f"no socket of TRUNKAUTH_LISTEN has {target.transport}")
        places, ttl = await self._places(target)
        found = await asyncio.gather(*(self._addresses(place) for place in places))
        hops = [
            Hop(address, place.port, place.transport, place.name, place.priority, place.weight)
            for place, (addresses, _) in zip(places, found, strict=True)
            for address in addresses
        ]
        beyond = "" if hops else await self._beyond(places)
        return Answer(tuple(hops[:MOST_HOPS]), max(1, min([LONGEST_TTL, ttl, *(each for _, each in found)])), beyond)

    async def _beyond(self, places: Iterable[Place]) -> str:
        """Return why none of these places can be sent to; empty if they have no address at all."""
        for place in places:
            for kind in _FAMILIES.keys() - self._reach[place.transport]:
                if (await self._ask(place.name, kind)).found:
                    only = _FAMILIES[kind]
                    missing = f"TRUNKAUTH_LISTEN no {only} socket with {place.transport}"
                    return f"it has {only} addresses alone, and {missing}"
        return ""

    async def _places(self, target: Target) -> tuple[list[Place], int]:
        """Return the places of a target and how long they are good for."""
        if target.port:
            transport = target.transport or self._default()
            return [Place(target.host, target.port, transport)], FOREVER
        if target.is_sips or not target.transport:
            by_naptr, ttl = await self._by_naptr(target.host, ("tls",) if target.is_sips else self._transports)
            if by_naptr:
                return by_naptr, ttl
        for transport in (target.transport,) if target.transport else self._transports:
            if transport in SERVICES:
                places, ttl = await self._by_srv(f"{SERVICES[transport]}.{target.host}", transport)
                if places:
                    return places, ttl
        transport = target.transport or self._default()
        return [Place(target.host, PORTS.get(transport, 5060), transport)], FOREVER

    def _default(self) -> str:
        """Return the transport of a URI that leaves it open: UDP (RFC 3263 4.1), if Kamailio listens by it."""
        return "udp" if "udp" in self._transports else self._transports[0]

    async def _by_naptr(self, name: str, transports: tuple[str, ...]) -> tuple[list[Place], int]:
        """Return the places of the first NAPTR record of one of these transports that can be used (RFC 3403 4.1)."""
        records = await self._ask(name, "NAPTR")
        usable = [
            (record.order, record.preference, transport, str(record.replacement).rstrip("."))
            for record in records.found
            if record.flags.lower() == b"s"
            and str(record.replacement) != "."
            and (transport := _NAPTR.get(record.service.decode(errors="replace").upper(), "")) in transports
        ]
        for _, _, transport, service in sorted(usable)[:MOST_PLACES]:
            places, ttl = await self._by_srv(service, transport)
            if places:
                return places, min(ttl, records.ttl)
        return [], FOREVER

    async def _by_srv(self, service: str, transport: str) -> tuple[list[Place], int]:
        """Return the places of a service, by priority. A target of "." says that it is not offered (RFC 2782)."""
        records = await self._ask(service, "SRV")
        places = [
            Place(str(record.target).rstrip(".").lower(), record.port, transport, record.priority, record.weight)
            for record in sorted(records.found, key=lambda record: (record.priority, -record.weight))
            if str(record.target) != "."
        ]
        return places[:MOST_PLACES], records.ttl

    async def _addresses(self, place: Place) -> tuple[list[str], int]:
        """Return a host's addresses, IPv4 first, and how long they are good for."""
        if is_address(place.name):  # what an SRV record must not name, and some do
            return [place.name], FOREVER
        kinds = self._reach[place.transport]
        answers: list[Records] = await asyncio.gather(*(self._ask(place.name, kind) for kind in kinds))
        found: list[Any] = [record for records in answers for record in records.found]
        return [str(record.address) for record in found], min(records.ttl for records in answers)
