"""What a connection by TLS to a carrier is for: it serves the trunks that want the same name of its certificate, and
send from the same socket.

Pure. The process that keeps the connections (kemi/health/securing.py) and SIP workers find them by the same key.
"""

from __future__ import annotations

from typing import NamedTuple

from kemi import uri
from kemi.address import is_address, normalised
from kemi.trunks.hops import Target

TLS = ";transport=tls"  # how the URI of such a hop ends (hops.Hop.uri)


class Wanted(NamedTuple):
    """What a trunk wants of a connection. name: of its carrier's certificate, empty if any will do. socket: the sending
    one, empty for any.
    """

    name: str
    socket: str = ""

    @classmethod
    def of(cls, target: Target, domain: str, tls_verify: int, socket: str = "") -> Wanted:
        """Return it for a row: the name of the next hop (RFC 5922 4), whatever SRV and A records make of it. An address
        was written by the DBA: its certificate is for the row's domain, or for the address if there is none.
        """
        if not tls_verify:
            return cls("", socket)
        host = uri.split(f"sip:{domain}").host.rstrip(".")
        return cls(target.host if target.is_name else normalised(host) or target.host, socket)

    def server_name(self, target: Target) -> str:
        """Return the name that is said to the carrier (RFC 6066 3); empty for an address."""
        name = self.name or target.host
        return "" if is_address(name) else name

    def key(self, hop: str) -> str:
        """Return the key of the connection to this hop, a URI."""
        return f"{hop} {self.name} {self.socket}"
