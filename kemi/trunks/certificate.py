"""The names in a certificate, and whether one of them is a carrier's: RFC 5922 7.1 and 7.2, RFC 6125 6.4.

The names are those of subjectAltName: dNSName, iPAddress, and a URI of the scheme sip without a user. A common name is
none, as public CAs have it. A wildcard stands for one label, the leftmost one; RFC 5922 7.2 forbids it, and carriers
use it all the same.

Pure. Kamailio has verified the signatures; a certificate that cannot be read has no names.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from ipaddress import ip_address

from kemi import uri
from kemi.address import is_address, normalised

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_EXTENSIONS = 0xA3  # [3] of TBSCertificate (RFC 5280 4.1)
_DNS, _URI, _IP = 0x82, 0x86, 0x87  # of GeneralName (RFC 5280 4.2.1.6); the other kinds need not be text
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")  # 2.5.29.17


def names(pem: str) -> frozenset[str]:
    """Return the names of a certificate: host names in lower case, addresses in their shortest form."""
    found = _PEM.search(pem)
    try:
        certificate = base64.b64decode(found[1]) if found else b""
        return frozenset(filter(None, (_name(tag, value) for tag, value in _alternative_names(certificate))))
    except (ValueError, IndexError):
        return frozenset()


def covers(names: frozenset[str], wanted: str) -> bool:
    """Return True if one of the names is the wanted one, a host name in lower case or an address."""
    if wanted in names or is_address(wanted):
        return wanted in names
    label, _, parent = wanted.partition(".")
    return bool(label) and "." in parent and f"*.{parent}" in names


def _name(tag: int, value: bytes) -> str:
    if tag == _IP:
        return str(ip_address(value))
    if tag not in (_DNS, _URI):
        return ""
    text = value.decode("ascii")
    if tag == _DNS:
        return normalised(text.rstrip("."))
    scheme, user, host, _ = uri.split(text)
    return normalised(host) if scheme.lower() == "sip" and not user else ""


def _alternative_names(certificate: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tags and values of subjectAltName."""
    (_, whole), *_ = _parts(certificate)
    (_, to_be_signed), *_ = _parts(whole)
    for tag, extensions in _parts(to_be_signed):
        if tag == _EXTENSIONS:
            (_, listed), *_ = _parts(extensions)
            for _, extension in _parts(listed):
                (_, kind), *_, (_, value) = _parts(extension)
                if kind == _ALTERNATIVE_NAMES:
                    (_, found), *_ = _parts(value)
                    yield from _parts(found)


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the value of each part. Raises ValueError or IndexError."""
    place = 0
    while place < len(der):
        tag, length = der[place], der[place + 1]
        place += 2
        if length & 0x80:
            octets = length & 0x7F
            length = int.from_bytes(der[place : place + octets], "big")
            place += octets
        if place + length > len(der):
            raise ValueError("it ends early")
        yield tag, der[place : place + length]
        place += length
