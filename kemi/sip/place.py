"""Where the request at hand goes to and would be answered to, and where its replies come from."""

from __future__ import annotations

import re
from functools import lru_cache

import KSR

from kemi.address import normalised
from kemi.trunks.groups import CALLERS
from kemi.trunks.hops import PORTS
from kemi.trunks.places import Place

LONGEST_KEPT = 255  # characters of a text whose place is kept: carriers and PBXs say the same with every call

_NULL = "<null>"  # in what $_s() gives (pv_printf in src/core/pvapi.c)
_HOP = re.compile(r"(?!<null>)([!-~]+) ([a-zA-Z]+) (?:sip|(sips)) ([0-9]{0,5})", re.IGNORECASE)
_URIS = "$_s($dd $dP $(du{uri.scheme}) $(du{uri.port})\n$rd $rP $(ru{uri.scheme}) $(ru{uri.port}))"
_IN_BRACKETS = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^"<])*<([^<>]*)>')  # a name in quotes may have brackets


def next_hop() -> Place:
    """Return where Kamailio sends the request to; a host name stays one; empty if it is no host. Of a SIPS URI $dP says
    UDP, and of one by TLS without a port $dp 5060 (pv_get_dsturi_attr() in pv/pv_core.c).
    """
    text = str(KSR.pv.gete(_URIS))
    return _kept_next_hop(text) if len(text) <= LONGEST_KEPT else _next_hop(text)


def _next_hop(text: str) -> Place:
    next_hop, _, dialled = text.partition("\n")
    hop = _HOP.fullmatch(dialled if next_hop.startswith(_NULL) else next_hop)
    if not hop:
        return Place()
    transport = "tls" if hop[3] else hop[2].lower()
    return Place(normalised(hop[1]), int(hop[4] or PORTS.get(transport, 5060)), transport)


_kept_next_hop = lru_cache(maxsize=1024)(_next_hop)


def way_back() -> str:
    """Return the field that says where requests to the sender of this one go: its Contact, or the Record-Route of the
    last proxy that stays in the path; empty if they are not UTF-8.
    """
    try:
        route, _, contact = str(KSR.pv.gete("$_s($hdr(Record-Route)\n$hdr(Contact))")).partition("\n")
    except UnicodeDecodeError:
        return ""
    return contact if route == _NULL else route


def of_field(value: str) -> str:
    """Return where a Contact or a Record-Route leads, as text."""
    return _kept_field(value) if len(value) <= LONGEST_KEPT else _leads_to(value)


def _leads_to(value: str) -> str:
    """Return where the first URI of a Contact or a Record-Route leads."""
    return Place.of_uri(uri_of(value)).text


_kept_field = lru_cache(maxsize=1024)(_leads_to)


def uri_of(field: str) -> str:
    """Return the URI of the first address in a header field (RFC 3261 20.10)."""
    found = _IN_BRACKETS.match(field)
    return found[1] if found else field.partition(";")[0].strip()


def is_callers(place: Place) -> bool:
    """Return True if this place is in the address table, group 1."""
    return KSR.permissions.allow_address(CALLERS, place.address, place.port) > 0


def peer() -> Place:
    """Return the place that answered the dialog's first INVITE; empty if it is not known any more."""
    return _stored(str(KSR.pv.gete("$dlg_var(peer)")))


_stored = lru_cache(maxsize=1024)(Place.of_text)


def source_text() -> str:
    """Return where the message at hand came from, as Incoming.source has it."""
    return str(KSR.pv.gete("$_s($si $sp $proto)"))


def source() -> Place:
    """Return where the message at hand came from."""
    return of_source(str(KSR.pv.gete("$_s($si $sp $proto)")))


@lru_cache(maxsize=1024)
def of_source(text: str) -> Place:
    """Return the place that Kamailio writes like this: Incoming.source."""
    address, port, transport = text.split(" ")
    return Place(normalised(address), int(port), transport.lower())


@lru_cache(maxsize=1024)
def stored(source: str) -> str:
    """Return a place that Kamailio writes like Incoming.source in the form that is stored."""
    return of_source(source).text


# --- of a reply


def note_peer() -> None:
    """Remember the source of the reply at hand as the dialog's peer."""
    KSR.pv.sets("$dlg_var(peer)", stored(str(KSR.pv.gete("$_s($si $sp $proto)"))))


def of_failure() -> Place:
    """Return the source of the reply that the failure route is about; port 0 if there was none, but a timeout."""
    address, port, transport = (KSR.pv.gete(f"$T_rpl({name})") for name in ("$si", "$sp", "$proto"))
    return Place(normalised(str(address)), int(port or 0), str(transport).lower())
