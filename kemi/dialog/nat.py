"""A PBX behind a NAT says in Via and Contact where it is in its own network, and nobody reaches it there. So its
Contact is made to say where it sends from, and to keep what the PBX wrote in the parameter `tn`: requests inside the
dialog bring it back as their R-URI (RFC 3261 12.2.1.1). A later Contact of the dialog moves them along.

Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network

from kemi.address import LONGEST_ADDRESS, literal, normalised
from kemi.trunks.hops import target_of
from kemi.trunks.places import Place

PARAMETER = "tn"
MENDED = f";{PARAMETER}="  # in a URI of such a Contact

_PRIVATE = tuple(map(ip_network, (  # RFC 1918, 6598, 3927, 4193, 4291
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10",
)))  # fmt: skip

_SPACE = re.compile(r"\r?\n[ \t]+|\t")  # but for a plain space (LWS, RFC 3261 25.1)
_IN_BRACKETS = re.compile(r'(?P<name>(?:"(?:\\.|[^"\\])*"|[^"<,])*)<(?P<uri>[^<>]*)>(?P<rest>.*)')
_PLAIN = re.compile(r"(?P<name>)(?P<uri>[^\s;,<>?]+)(?P<rest>(?:;.*)?)")
_HOST = r"\[[0-9A-Fa-f:.]+\]|[0-9.]+"
_URI = re.compile(
    rf"(?P<user>sips?:(?:[^@]*@)?)(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?P<rest>[;?].*)?", re.IGNORECASE
)
_TRANSPORT = re.compile(r";transport=([A-Za-z]+)(?=[;?]|$)", re.IGNORECASE)
_KEPT = re.compile(rf";{PARAMETER}=(?P<host>{_HOST})~(?P<port>[0-9]{{0,5}})~(?P<transport>[A-Za-z]*)(?=[;?]|$)")


def is_behind(named: str, source: str) -> bool:
    """Return True if a sender that names itself so, and sends from this address, is behind a NAT: it names a private
    address, and another one.
    """
    return len(named) <= LONGEST_ADDRESS and _is_behind(named, source)


@lru_cache(maxsize=1024)
def _is_behind(named: str, source: str) -> bool:
    try:
        address = ip_address(normalised(named))
    except ValueError:  # a name
        return False
    return any(address in network for network in _PRIVATE) and str(address) != normalised(source)


def mended(contact: str, source: Place) -> str:
    """Return a Contact that says where its sender is seen, empty if it is right as it is."""
    contact = _SPACE.sub(" ", contact)
    found = contact.isprintable() and (_IN_BRACKETS.fullmatch(contact) or _PLAIN.fullmatch(contact))
    uri = _URI.fullmatch(found["uri"]) if found else None
    if not (found and uri and is_behind(target_of(found["uri"], "").host, source.address)):
        return ""
    named = _TRANSPORT.search(uri["rest"] or "")
    rest = _TRANSPORT.sub("", uri["rest"] or "")
    transport = "" if source.transport == "udp" else f";transport={source.transport}"
    kept = f";{PARAMETER}={uri['host']}~{uri['port'] or ''}~{named[1] if named else ''}"
    there = f"{uri['user']}{literal(source.address)}:{source.port}{transport}{kept}{rest}"
    return f"{found['name']}<{there}>{found['rest']}"


def own(uri: str) -> str:
    """Return the URI that the PBX has written itself, the same if it has written this one."""
    kept, parts = _KEPT.search(uri), _URI.fullmatch(uri)
    if not (kept and parts):
        return uri
    port = f":{kept['port']}" if kept["port"] else ""
    transport = f";transport={kept['transport']}" if kept["transport"] else ""
    rest = _TRANSPORT.sub("", _KEPT.sub("", parts["rest"] or "", count=1))
    return f"{parts['user']}{kept['host']}{port}{transport}{rest}"
