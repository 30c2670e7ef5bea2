"""The SIP sockets that Kamailio listens on, as TRUNKAUTH_LISTEN writes them: `udp:127.0.0.1:5060`, or
`udp:10.0.0.5:5060/203.0.113.5:5060` with the address that it advertises.
"""

from __future__ import annotations

import errno
import fcntl
import re
import socket
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kemi.address import literal, normalised

_SIOCGIFCONF = 0x8912  # <linux/sockios.h>; of 40 bytes each: 16 of a name, then a sockaddr_in with its address at 20
_MOST_ADDRESSES = 1024  # of all interfaces
_RTM_NEWROUTE, _RTM_GETROUTE, _RTA_DST, _RTN_LOCAL = 24, 26, 1, 2  # <linux/rtnetlink.h>
_NLM_F_REQUEST = 1  # <linux/netlink.h>
_HOST = r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+"
_SOCKET = re.compile(
    rf"(?P<proto>udp|tcp|tls):(?P<host>{_HOST}):(?P<port>[0-9]{{1,5}})"
    rf"(?:/(?P<public_host>{_HOST})(?::(?P<public_port>[0-9]{{1,5}}))?)?"
)
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 (they are what is refused)
_FORM = "such as udp:127.0.0.1:5060 tcp:127.0.0.1:5060, or udp:10.0.0.5:5060/203.0.113.5:5060 behind a NAT"


@dataclass(frozen=True)
class Socket:
    """One SIP socket: proto `udp`, `tcp` or `tls`; host a name, an interface, an IPv4 or a bracketed IPv6 address; port
    1-65535. public_host, public_port: what Via and Record-Route say instead; empty and 0 for the same.
    """

    proto: str
    host: str
    port: int
    public_host: str = ""
    public_port: int = 0

    @classmethod
    def parse(cls, text: str) -> Socket:
        """Read proto:address:port[/address[:port]]. Raises ValueError, whose text says what is accepted."""
        match = _SOCKET.fullmatch(text)
        ports = [int(port) for port in match.group("port", "public_port") if port] if match else [0]
        if not match or not all(1 <= port <= 65535 for port in ports):
            raise ValueError(
                f"{text!r} is not a socket; it takes proto:address:port with proto udp, tcp or tls, {_FORM}"
            )
        host, public_host = match["host"], match["public_host"] or ""
        if _WILDCARDS & {normalised(host), normalised(public_host)}:
            raise ValueError(
                f"{text!r} is no address that others can reach, as Via and Record-Route would say, nor one that "
                "Kamailio knows as its own; name an address or an interface, one socket for each"
            )
        return cls(match["proto"], host, ports[0], public_host, ports[-1] if public_host else 0)

    def __str__(self) -> str:
        return f"{self.local}/{self.public_host}:{self.public_port}" if self.public_host else self.local

    @property
    def local(self) -> str:
        """The socket without what it advertises."""
        return f"{self.proto}:{self.host}:{self.port}"

    @property
    def statement(self) -> str:
        """The socket behind kamailio.cfg's `listen=`."""
        return f"{self.local} advertise {self.public_host}:{self.public_port}" if self.public_host else self.local

    @property
    def is_interface(self) -> bool:
        """True if the host is a network interface, whose addresses Kamailio finds itself."""
        return self.host in (name for _, name in socket.if_nameindex())

    @property
    def address(self) -> str:
        """The host that a peer can reach; empty for an interface without an IPv4 address."""
        return self.public_host or self.local_address

    @property
    def addresses(self) -> tuple[str, ...]:
        """The hosts on this machine: an interface's IPv4 addresses, on each of which Kamailio listens."""
        return _addresses_of_interface(self.host) if self.is_interface else (self.host,)

    @property
    def local_address(self) -> str:
        """The first of them; empty if there is none."""
        return next(iter(self.addresses), "")

    @property
    def reached_at(self) -> str:
        """Host and port that a peer can reach; empty if there is no such host."""
        return f"{self.address}:{self.public_port or self.port}" if self.address else ""

    @property
    def literal_address(self) -> str:
        """The host as Kamailio writes it, if it is an IP address; empty if Kamailio has to look up which one it is."""
        return literal(self.host)

    @property
    def is_here(self) -> bool:
        """True if its address is this machine's now: keepalived may have moved it to another node. An interface and a
        name are always here.
        """
        return not self.literal_address or _is_local(self.host.strip("[]"))

    def looked_up(self) -> Socket:
        """Return the socket with an address in place of a name, IPv4 before IPv6. Raises OSError or UnicodeError if
        there is none, or none for the name that it advertises.
        """
        if self.public_host:
            socket.getaddrinfo(self.public_host.strip("[]"), None)
        if self.literal_address or self.is_interface:
            return self
        *_, (address, *_) = min(socket.getaddrinfo(self.host, None, type=socket.SOCK_DGRAM))
        return replace(self, host=literal(str(address)))

    def bind_briefly(self) -> None:
        """Bind the socket and let it go. Raises OSError if it cannot be bound."""
        kind = socket.SOCK_DGRAM if self.proto == "udp" else socket.SOCK_STREAM
        family, _, _, _, address = socket.getaddrinfo(self.host.strip("[]"), self.port, type=kind)[0]
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not matter
            probe.bind(address)


def is_running(rpc_socket: Path) -> bool:
    """Return True if a Kamailio listens on this RPC socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(rpc_socket)) in (0, errno.EACCES)


def reach(listen: Sequence[Socket]) -> dict[str, tuple[str, ...]]:
    """Return the transports that Kamailio can send by, UDP first, and the kinds of addresses that it can send to by
    each, IPv4 first. Of an interface it takes the IPv4 addresses alone.
    """
    return {
        proto: tuple(sorted({"AAAA" if each.host.startswith("[") else "A" for each in listen if each.proto == proto}))
        for proto in ("udp", "tcp", "tls")
        if any(each.proto == proto for each in listen)
    }


def _is_local(address: str) -> bool:
    """Ask the kernel whether its route to this address ends here (rtnetlink(7)). To bind a socket would not tell: with
    ip_nonlocal_bind that always works.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    octets = socket.inet_pton(family, address)
    question = struct.pack("=8BI", family, 8 * len(octets), *bytes(6), 0)  # struct rtmsg
    question += struct.pack("=HH", 4 + len(octets), _RTA_DST) + octets
    header = struct.pack("=IHHII", 16 + len(question), _RTM_GETROUTE, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(header + question)
        answer = kernel.recv(4096)
    return answer[4] == _RTM_NEWROUTE and answer[16 + 7] == _RTN_LOCAL  # rtm_type


def _addresses_of_interface(name: str) -> tuple[str, ...]:
    """Return the IPv4 addresses of a network interface, in the kernel's order (netdevice(7))."""
    found = array("B", bytes(40 * _MOST_ADDRESSES))
    request = struct.pack("iP", len(found), found.buffer_info()[0])  # struct ifconf
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        size, _ = struct.unpack("iP", fcntl.ioctl(probe, _SIOCGIFCONF, request))
    each = struct.iter_unpack("16s4x4s16x", found[:size])
    return tuple(socket.inet_ntoa(address) for label, address in each if label.rstrip(b"\0") == name.encode())
