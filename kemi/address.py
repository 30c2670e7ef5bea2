"""One form for an address, whichever pseudo-variable it comes from: `$si` has `::1`, `$rd` and `$dd` have `[::1]`."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

LONGEST_ADDRESS = 64  # characters, with brackets and a scope; whatever is longer is a name


def normalised(host: str) -> str:
    """Return an IP address in its shortest form without brackets, a host name in lower case; empty stays empty."""
    return _normalised(host) if len(host) <= LONGEST_ADDRESS else host.lower()


@lru_cache(maxsize=1024)
def _normalised(host: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare.lower()


def literal(host: str) -> str:
    """Return an IP address as Kamailio writes it in a socket, IPv6 in brackets; empty for a host name."""
    address = normalised(host)
    if not is_address(address):
        return ""
    return f"[{address}]" if ":" in address else address


def is_address(host: str) -> bool:
    """Return True for an IP address, normalised or not, False for a name."""
    return len(host) <= LONGEST_ADDRESS and _is_address(host)


@lru_cache(maxsize=1024)
def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
