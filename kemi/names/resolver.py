"""From a target to its hops: RFC 3263 sections 4.1 and 4.2.

1. The transport is the URI's; without one, UDP for a target with a port, else what NAPTR says, or else the transports
   that have SRV records.
2. A target without a port has the hosts and ports of SRV, or its own addresses at the default port if there is none.
3. Only transports and kinds of addresses that Kamailio can send by are asked for.

A question that nobody answers ends it all: half an answer might lead elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from kemi.address import is_address
from kemi.names.nameserver import FOREVER, Ask, Records
from kemi.trunks.hops import PORTS, Hop, Hops, Target

SERVICES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_NAPTR = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
LONGEST_TTL = FOREVER
MOST_PLACES = 32  # hosts of one service


class Answer(NamedTuple):
    """A target's hops, by priority, and the seconds after which to ask again. Without hops, it does not exist."""

    hops: Hops
    ttl: int


class Place(NamedTuple):
    """A host and port to find the addresses of."""

    name: str
    port: int
    transport: str
    priority: int = 0
    weight: int = 0


class Resolver:
    """Resolves targets. transports: that Kamailio listens by, the preferred one first. kinds: A, AAAA or both."""

    def __init__(self, ask: Ask, transports: tuple[str, ...], kinds: tuple[str, ...]) -> None:
        self._ask = ask
        self._transports = transports
        self._kinds = kinds

    async def resolve(self, target: Target) -> Answer:
        """Return the target's hops. Raises NoAnswerError."""
        places, ttl = await self._places(target)
        found = await asyncio.gather(*(self._addresses(place.name) for place in places))
        hops = [
            Hop(address, place.port, place.transport, place.name, place.priority, place.weight)
            for place, (addresses, _) in zip(places, found, strict=True)
            for address in addresses
        ]
        return Answer(tuple(hops), max(1, min([LONGEST_TTL, ttl, *(each for _, each in found)])))

    async def _places(self, target: Target) -> tuple[list[Place], int]:
        """Return the places of a target and how long they are good for."""
        if target.port:
            transport = target.transport or self._default()
            return [Place(target.host, target.port, transport)], FOREVER
        if not target.transport:
            by_naptr, ttl = await self._by_naptr(target.host)
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

    async def _by_naptr(self, name: str) -> tuple[list[Place], int]:
        """Return the places of the first NAPTR record that can be used (RFC 3403 4.1)."""
        records = await self._ask(name, "NAPTR")
        usable = [
            (record.order, record.preference, transport, str(record.replacement).rstrip("."))
            for record in records.found
            if record.flags.lower() == b"s"
            and (transport := _NAPTR.get(record.service.decode(errors="replace").upper(), "")) in self._transports
        ]
        for _, _, transport, service in sorted(usable):
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

    async def _addresses(self, name: str) -> tuple[list[str], int]:
        """Return a host's addresses, IPv4 first, and how long they are good for."""
        if is_address(name):  # what an SRV record must not name, and some do
            return [name], FOREVER
        answers: list[Records] = await asyncio.gather(*(self._ask(name, kind) for kind in self._kinds))
        found: list[Any] = [record for records in answers for record in records.found]
        return [str(record.address) for record in found], min(records.ttl for records in answers)
