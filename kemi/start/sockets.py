"""The SIP sockets that Kamailio listens on, as TRUNKAUTH_LISTEN writes them: `udp:127.0.0.1:5060`."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from kemi.address import literal

_SIOCGIFADDR = 0x8915  # <linux/sockios.h>; ifreq: 16 bytes of name, then a sockaddr_in with its address at 20
_SOCKET = re.compile(r"(?P<proto>udp|tcp):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Socket:
    """One SIP socket: proto `udp` or `tcp`; host a name, an interface, an IPv4 or a bracketed IPv6 address; port
    1-65535.
    """

    proto: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Socket:
        """Read proto:address:port. Raises ValueError, whose text says what is accepted."""
        match = _SOCKET.fullmatch(text)
        if not match or not 1 <= int(match["port"]) <= 65535:
            raise ValueError(
                f"{text!r} is not a socket; it takes proto:address:port with proto udp or tcp, "
                "space-separated, such as udp:127.0.0.1:5060 tcp:127.0.0.1:5060"
            )
        return cls(match["proto"], match["host"], int(match["port"]))

    def __str__(self) -> str:
        return f"{self.proto}:{self.host}:{self.port}"

    @property
    def is_interface(self) -> bool:
        """True if the host is a network interface, whose addresses Kamailio finds itself."""
        return self.host in (name for _, name in socket.if_nameindex())

    @property
    def address(self) -> str:
        """The host that a peer can reach: an interface's IPv4 address; empty for a wildcard."""
        if self.is_interface:
            return _address_of_interface(self.host)
        return "" if self.host in ("0.0.0.0", "[::]") else self.host  # noqa: S104

    @property
    def literal_address(self) -> str:
        """The host as Kamailio writes it, if it is an IP address; empty if Kamailio has to look up which one it is."""
        return literal(self.host)

    def bind_briefly(self) -> None:
        """Bind the socket and let it go. Raises OSError if it cannot be bound."""
        kind = socket.SOCK_DGRAM if self.proto == "udp" else socket.SOCK_STREAM
        family, _, _, _, address = socket.getaddrinfo(self.host.strip("[]"), self.port, type=kind)[0]
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not matter
            probe.bind(address)


def transports(listen: Iterable[Socket]) -> tuple[str, ...]:
    """Return the transports that Kamailio can send by, UDP first."""
    listened = {each.proto for each in listen}
    return tuple(proto for proto in ("udp", "tcp", "tls") if proto in listened)


def kinds(listen: Iterable[Socket]) -> tuple[str, ...]:
    """Return the kinds of addresses that Kamailio can send to, IPv4 first."""
    return tuple(sorted({"AAAA" if each.host.startswith("[") else "A" for each in listen}))


def _address_of_interface(name: str) -> str:
    """Return the IPv4 address of a network interface; empty if it has none."""
    request = struct.pack("16s16x8x", name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])
