"""The sockets that Kamailio listens on, as rows are judged by them. Pure."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple

from kemi.address import normalised
from kemi.trunks.hops import NAME, PORTS, Target

NO_TRANSPORT = "has a transport that no socket of TRUNKAUTH_LISTEN has"

_BROADCAST = IPv4Address("255.255.255.255")


class Listen(NamedTuple):
    """A socket that Kamailio listens on. address: as `socket` writes it; empty if Kamailio finds it out itself."""

    transport: str
    address: str
    port: int


def beyond(target: Target, listen: Collection[Listen]) -> str:
    """Return why nothing can be sent from these sockets to where a target leads; empty if it may be. listen: empty if
    any socket may be one.
    """
    if not _is_place(target):
        return "leads nowhere"
    usable = [each for each in listen if target.transport in ("", each.transport)]
    if listen and not usable:
        return NO_TRANSPORT
    if target.is_name:
        return ""
    transport = target.transport or "udp"
    there = (transport, target.host, target.port or PORTS.get(transport, 5060))
    if any((each.transport, normalised(each.address), each.port) == there for each in listen):
        return "leads to us"
    version = ip_address(target.host).version
    if not usable or any(not each.address or each.address.startswith("[") == (version == 6) for each in usable):
        return ""
    return f"is an IPv{version} address, and no socket of TRUNKAUTH_LISTEN has one"


def _is_place(target: Target) -> bool:
    """Return True if a target is a name, or the address of one machine."""
    if not target.host or target.is_name:
        return bool(NAME.fullmatch(target.host))
    address = ip_address(target.host)
    return not (address.is_unspecified or address.is_multicast or address == _BROADCAST)
