"""The sockets that Kamailio listens on, as rows are judged by them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from kemi.trunks.hops import Target


class Listen(NamedTuple):
    """A socket that Kamailio listens on. address: as `socket` writes it; empty if Kamailio finds it out itself."""

    transport: str
    address: str
    port: int


def beyond(target: Target, listen: Iterable[Listen]) -> str:
    """Return what a target that is an address is, if no socket has its kind of addresses; empty if one may have it."""
    if not target.host or target.is_name:
        return ""
    version = ip_address(target.host).version
    usable = [each.address for each in listen if target.transport in ("", each.transport)]
    if not usable or any(not address or address.startswith("[") == (version == 6) for address in usable):
        return ""
    return f"is an IPv{version} address, and no socket of TRUNKAUTH_LISTEN has one"
