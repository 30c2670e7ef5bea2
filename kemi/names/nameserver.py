"""Questions to the name servers of /etc/resolv.conf, asked by dnspython. Names are absolute: no search list. The
addresses that /etc/hosts has for a name come first, as everywhere on a machine (hosts(5)).
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdata
import dns.resolver

CONFIGURATION = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")
HOSTS_TTL = 60  # seconds until /etc/hosts is read again for a name
_KINDS = {"A": 4, "AAAA": 6}  # -> the IP version
TRY_LIMIT = 1.0  # seconds for one try at one server
QUESTION_LIMIT = 4.0  # seconds for all tries
UDP_SIZE = 1232  # RFC 6891 6.2.5, as everybody does since 2020
FOREVER = 86400


class Records(NamedTuple):
    """The records of a name, and the seconds they may be used for; none if there are none."""

    found: tuple[Any, ...] = ()
    ttl: int = FOREVER


class NoAnswerError(Exception):
    """No server gave an answer, which says nothing about the name; the text is the reason."""


class Ask(Protocol):
    """Asks for the records of one kind (A, AAAA, SRV, NAPTR). Raises NoAnswerError."""

    async def __call__(self, name: str, kind: str) -> Records: ...


class NameServer:
    """The machine's name servers; a change of their file is noticed at the next question."""

    def __init__(self, configuration: Path = CONFIGURATION, port: int = 53, hosts: Path = HOSTS) -> None:
        self._configuration = configuration
        self._hosts = hosts
        self._port = port
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._read: tuple[int, int] = (0, 0)

    async def __call__(self, name: str, kind: str) -> Records:
        if kind in _KINDS and (found := in_hosts(self._hosts, name, _KINDS[kind])):
            return Records(tuple(dns.rdata.from_text("IN", kind, address) for address in found), HOSTS_TTL)
        try:
            answer = await self._current().resolve(name, kind, search=False, lifetime=QUESTION_LIMIT)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Records()
        except (dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel, dns.name.BadEscape):
            return Records()
        except dns.exception.Timeout:
            raise NoAnswerError("no answer") from None
        except (dns.exception.DNSException, OSError) as error:
            raise NoAnswerError(_in_words(error)) from None
        return Records(tuple(answer), answer.chaining_result.minimum_ttl)

    def _current(self) -> dns.asyncresolver.Resolver:
        """Return a resolver that follows the file as it is now. Raises OSError or DNSException."""
        status = self._configuration.stat()
        read = (status.st_ino, status.st_mtime_ns)
        if self._resolver is None or read != self._read:
            resolver = dns.asyncresolver.Resolver(configure=False)
            with self._configuration.open(encoding="utf-8", errors="replace") as lines:
                resolver.read_resolv_conf(lines)
            resolver.port = self._port
            resolver.timeout = TRY_LIMIT
            resolver.use_edns(0, 0, UDP_SIZE)
            self._resolver, self._read = resolver, read
        return self._resolver


def in_hosts(hosts: Path, name: str, version: int) -> list[str]:
    """Return the addresses of this IP version that a hosts file has for a name; none if it cannot be read."""
    found: list[str] = []
    try:
        lines = hosts.read_text(errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if name.rstrip(".").lower() in [each.lower() for each in names] and _version(address) == version:
            found.append(address)
    return found


def _version(address: str) -> int:
    try:
        return ip_address(address).version
    except ValueError:
        return 0


def _in_words(error: Exception) -> str:
    """Return the reason in one line: of NoNameservers (SERVFAIL, REFUSED, a garbled reply) that of the last server."""
    if isinstance(error, dns.resolver.NoNameservers):
        errors = error.kwargs.get("errors", [])
        return str(errors[-1][3]) if errors else "no name server answers"
    return " ".join(str(error).split()) or type(error).__name__
