"""Where a next hop leads: the URI's target before it is resolved, and the hops after it (RFC 3263, RFC 2782).

Nothing is resolved here. The process that resolves names writes hops into a file; SIP workers read them from there.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate, groupby
from typing import NamedTuple

from kemi.address import is_address, normalised

_URI = re.compile(
    r"(?P<scheme>sips?):(?:[^@]*@)?(?P<host>\[[^\]]*\]|[^:;?\[\]]+)(?::(?P<port>\d{1,5}))?(?P<parameters>;[^?]*)?(?:\?.*)?",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r";\s*(transport|maddr)\s*=\s*([^;\s]+)", re.IGNORECASE)

_SIPS = "sips"
LONGEST_NAME = 255  # characters (RFC 1035 2.3.4)
NAME = re.compile(r"[A-Za-z0-9._-]+")  # that a name server can be asked for
PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}
TRANSPORTS = frozenset({"", *PORTS, "sctp", "ws", "wss"})


class Target(NamedTuple):
    """The parts of a URI that decide where its requests go (RFC 3263 4): host is an address without brackets or a name
    in lower case, empty for no target at all; port 0 and transport empty if the URI has none; `sips` demands TLS.
    is_sips: True if the URI is one of `sips` and says no more, so that NAPTR is asked for TLS.
    """

    host: str = ""
    port: int = 0
    transport: str = ""
    is_sips: bool = False

    @property
    def is_name(self) -> bool:
        """True if the host has to be resolved."""
        return bool(self.host) and not is_address(self.host)

    @property
    def key(self) -> str:
        """The target as text, by which its hops are stored."""
        return f"{self.host}:{self.port};{_SIPS if self.is_sips else self.transport}"

    @classmethod
    def of_key(cls, key: str) -> Target:
        """Return the target of this key, if its host is a name. Raises ValueError."""
        host, port, transport = re.split("[:;]", key)
        return cls(host, int(port), "tls", is_sips=True) if transport == _SIPS else cls(host, int(port), transport)


class Hop(NamedTuple):
    """One address that a target resolves to. name: the host that has it. priority, weight: of its SRV record."""

    address: str
    port: int
    transport: str
    name: str = ""
    priority: int = 0
    weight: int = 0

    @property
    def uri(self) -> str:
        """A URI that needs no name server."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"sip:{host}:{self.port};transport={self.transport}"


Hops = tuple[Hop, ...]


@lru_cache(maxsize=1024)
def uris_of(hops: Hops) -> tuple[str, ...]:
    """Return the URIs of hops, in their order."""
    return tuple([hop.uri for hop in hops])


def target_of(next_hop: str, domain: str) -> Target:
    """Return the target of a row: that of its auth_proxy, or its r_domain if that is empty."""
    match = _URI.fullmatch(next_hop or f"sip:{domain}")
    if not match:
        return Target()
    parameters = {name.lower(): value for name, value in _PARAMETER.findall(match["parameters"] or "")}
    transport, is_sips = parameters.get("transport", "").lower(), False
    if match["scheme"].lower() == _SIPS:
        is_sips = not (transport or match["port"])
        transport = "tls"  # sips with transport=tcp is TLS over TCP (RFC 3263 4.1)
    host = parameters.get("maddr") or match["host"]
    if transport not in TRANSPORTS or len(host) > LONGEST_NAME:
        return Target()
    target = Target(_bare(host), int(match["port"] or 0), transport)
    return target._replace(is_sips=True) if is_sips and target.is_name else target


def _bare(host: str) -> str:
    """Return a host without brackets and the dot at its end, an address in its shortest form, a name in lower case."""
    return normalised(host.rstrip("."))


def literal(target: Target) -> Hops:
    """Return the one hop of a target that is an address already (RFC 3263 4.1 and 4.2)."""
    transport = target.transport or "udp"
    return (Hop(target.host, target.port or PORTS.get(transport, 5060), transport, target.host),)


def in_order(hops: Hops, below: Callable[[int], int]) -> Hops:
    """Return the hops in the order to try them in: by priority, within it at random by weight (RFC 2782). Addresses of
    one host stay together.

    below: returns a random number from 0 to its argument less one.
    """
    ordered: list[Hop] = []
    for _, same in groupby(hops, key=lambda hop: hop.priority):
        hosts = [list(group) for _, group in groupby(same, key=lambda hop: (hop.name, hop.port))]
        while hosts:
            ordered += hosts.pop(drawn([host[0].weight for host in hosts], below) if len(hosts) > 1 else 0)
    return tuple(ordered)


def drawn(weights: Sequence[int], below: Callable[[int], int]) -> int:
    """Return the place of one weight, each as likely as it is heavy; all are alike if all are 0."""
    if not any(weights):
        return below(len(weights))
    return bisect(list(accumulate(weights)), below(sum(weights)))


def places(hops: Hops) -> frozenset[str]:
    """Return where requests from these hops may come from, as text: address and port, and the address with port 0 of a
    hop that has connections.
    """
    return frozenset(
        f"{hop.address} {port}" for hop in hops for port in ((hop.port,) if hop.transport == "udp" else (hop.port, 0))
    )


def to_text(hops: Hops) -> str:
    """Return hops as they are stored."""
    return json.dumps([list(hop) for hop in hops])


def from_text(text: str) -> Hops:
    """Read stored hops. Raises ValueError or TypeError."""
    return tuple(Hop(*values) for values in json.loads(text))
