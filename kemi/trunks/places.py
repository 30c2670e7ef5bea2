"""Where a trunk's carrier is: who may get an answer of its credentials, and whose challenge is believed.

Pure. A place is compared to the letter: another port or transport of the same address may be somebody else's.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from kemi.trunks import large
from kemi.trunks.hops import Hop, Hops, Target, literal, target_of

_DATAGRAMS = "udp"


class Place(NamedTuple):
    """Where a request goes, or where a message came from. address: in its shortest form, or a host name; empty for
    nowhere.
    """

    address: str = ""
    port: int = 0
    transport: str = ""

    @classmethod
    def of_uri(cls, uri: str) -> Place:
        """Return where requests for this URI go, before its name is resolved."""
        target = target_of(uri, "")
        return cls(*literal(target)[0][:3]) if target.host else cls()

    @classmethod
    def of_hop(cls, hop: Hop) -> Place:
        return cls(*hop[:3])

    @classmethod
    def of_text(cls, text: str) -> Place:
        """Read one as it is stored; empty for any other text."""
        address, _, rest = text.partition(" ")
        port, _, transport = rest.partition(" ")
        return cls(address, int(port), transport) if port.isdecimal() else cls()

    @property
    def text(self) -> str:
        return f"{self.address} {self.port} {self.transport}"


class Listed(NamedTuple):
    """A row of `address`, group 2. port: 0 for any."""

    network: IPv4Network | IPv6Network
    port: int

    @classmethod
    def of(cls, address: str, mask: int, port: int) -> Listed:
        """Make one of a row that rows.py has passed."""
        return cls(ip_network(f"{address}/{mask}", strict=False), port)


class Places(NamedTuple):
    """All places of a trunk's carrier. exact: its next hop's, and the peer of a dialog. listed: by group 2. by_tcp:
    where else large requests go, and dialogs that began with one (large.py).
    """

    exact: frozenset[Place] = frozenset()
    listed: tuple[Listed, ...] = ()
    by_tcp: frozenset[Place] = frozenset()

    def include(self, place: Place) -> bool:
        """Return True if an answer may go to this place."""
        return place in self.exact or any(_is_listed(place, one) for one in self.listed)

    def can_be_source(self, place: Place) -> bool:
        """Return True if a challenge from this place is believed. A connection comes from any port of its host's."""
        if self.include(place):
            return True
        if place.transport == _DATAGRAMS:
            return False
        return any(place[::2] == one[::2] for one in self.exact)

    def and_peer(self, peer: Place) -> Places:
        """Return them inside a dialog with this peer, which may be unknown."""
        if peer in self.exact:
            return self
        return self._replace(exact=self.exact | self.by_tcp | ({peer} if peer.address else frozenset()))


@lru_cache(maxsize=1024)
def of_carrier(target: Target, hops: Hops, services: Hops, listed: tuple[Listed, ...]) -> Places:
    """Return the places of a target's hops, and those that are listed. services: of the target by TCP."""
    by_tcp = frozenset(Place.of_hop(twin) for hop in hops if (twin := large.by_tcp(target, hop, services)))
    return Places(frozenset(map(Place.of_hop, hops)), listed, by_tcp)


def _is_listed(place: Place, listed: Listed) -> bool:
    return listed.port in (0, place.port) and _contains(listed.network, place.address)


@lru_cache(maxsize=4096)
def _contains(network: IPv4Network | IPv6Network, address: str) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:  # a name
        return False
