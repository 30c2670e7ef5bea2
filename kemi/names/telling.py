"""Tells Kamailio the addresses of names in Contacts, where its dialog module asks PBXs if their calls are up. What SIP
workers relay needs none of it (flow/nexthop.py).

One address a name, and never over one that Kamailio has: 6.1 frees what it replaces, and writes to it afterwards
(dns_cache_add_record() in core/dns_cache.c). It is deleted before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import NamedTuple

from kemi.sip import rpc
from kemi.trunks.hops import Hops, Target

KNOWN_FOR = 86400  # seconds


class _Told(NamedTuple):
    address: str
    until: float


class Telling:
    """What Kamailio was told, by name."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def tick(self, targets: Iterable[Target], hops: Mapping[Target, Hops]) -> None:
        """Tell what is new, or forgotten by now. A name keeps the address that was told while that is among its own."""
        now = monotonic()
        addresses: dict[str, list[str]] = {}
        for target in targets:
            for hop in hops.get(target, ()):
                addresses.setdefault(hop.name, []).append(hop.address)
        for name, told in list(self._told.items()):
            if told.until <= now or told.address not in addresses.get(name, ()):
                rpc.forget_name(name, told.address)
                del self._told[name]
        for name in addresses.keys() - self._told.keys():
            self._told[name] = _Told(addresses[name][0], now + KNOWN_FOR)
            rpc.keep_name(name, addresses[name][0], KNOWN_FOR)
