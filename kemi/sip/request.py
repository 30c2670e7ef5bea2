"""The request at hand: what it says, where it comes from, where it is to go."""

from __future__ import annotations

from typing import NamedTuple

import KSR

from kemi.auth.digest import Request
from kemi.sip.address import normalised
from kemi.trunks.selection import Asked

CALLERS = 1  # group of the address table: who may call

# The checks of Kamailio's own default configuration: version, scheme, required headers, CSeq, lengths; R-URI, From, To.
_SANITY_CHECKS = 17895
_SANITY_URIS = 7

_LONGEST_BODY = 32767  # bytes that Kamailio converts to hex (pv/pv_trans.c)


class Incoming(NamedTuple):
    """A request that came in.

    method: as written. has_to_tag: True if it says that it belongs to a dialog. belongs_to_transaction: True if the
    transaction of a CANCEL, or of a failure's ACK, is known.
    """

    method: str
    has_to_tag: bool
    belongs_to_transaction: bool


def header(name: str) -> str:
    """Return the first header field of this name as it came in, empty if there is none."""
    return str(KSR.pv.gete(f"$hdr({name})")).strip()


def uri() -> str:
    """Return the R-URI."""
    return str(KSR.pv.gete("$ru"))


def take_asked() -> Asked:
    """Return the parts of a new request that select its trunk. X-Trunk, which is an order to us, is taken off."""
    trunk = KSR.pv.get("$hdr(X-Trunk)")
    if trunk is not None:
        KSR.hdr.remove("X-Trunk")
    return Asked(str(trunk or "").strip(), str(KSR.pv.gete("$fu")), str(KSR.pv.gete("$ru")))


def next_hop_host() -> str:
    """Return the host that the request goes to, normalised; a host name stays one."""
    return normalised(str(KSR.pv.gete("$dd") or KSR.pv.gete("$rd")))


def asks_for_us() -> bool:
    """Return True if the R-URI is this proxy itself, without a user part."""
    return KSR.is_myself_ruri() and not KSR.pv.gete("$rU")


def leads_to_us() -> bool:
    """Return True if the R-URI's host is one of our own sockets: relaying there would loop."""
    return KSR.is_myself_ruri()


def source_may_call() -> bool:
    """Return True if the source is in the address table, group 1."""
    return KSR.permissions.allow_source_address(CALLERS) > 0


def incoming() -> Incoming | None:
    """Return the request that came in; None if nothing is left to do: it has been answered (400, 483), dropped, or is a
    retransmission, whose last reply has been sent again.
    """
    if KSR.maxfwd.process_maxfwd(10) < 0:
        KSR.sl.sl_send_reply(483, "Too Many Hops")
        return None
    if KSR.sanity.sanity_check(_SANITY_CHECKS, _SANITY_URIS) < 1:
        return None
    method, transaction = str(KSR.pv.gete("$rm")), KSR.tm.t_check_trans()
    if transaction == 0 and method != "CANCEL":
        return None
    return Incoming(method, KSR.siputils.has_totag() > 0, transaction > 0)


def follows_route() -> bool:
    """Return True if the request carries our own Route, which is taken off (RFC 3261 16.4)."""
    return KSR.rr.loose_route() > 0


def covered_by_digest(method: str, covers_body: bool) -> Request:
    """Return the parts that a digest covers, as they go out. The body may be no text, so it is read in hex."""
    body = bytes.fromhex(str(KSR.pv.gete("$(rb{s.encode.hexa})"))) if covers_body else b""
    return Request(method, str(KSR.pv.gete("$ru")), body)


def can_read_body() -> bool:
    """Return True if covered_by_digest() can give the request's body, which may be empty."""
    size = KSR.pv.get("$bs")
    return not isinstance(size, int) or size <= _LONGEST_BODY


def remove_headers(names: tuple[str, ...]) -> None:
    """Take every header field of these names off the request."""
    for name in names:
        KSR.hdr.remove(name)


def add_record_route() -> None:
    """Stay in the path of the dialog (RFC 3261 16.6, step 4)."""
    KSR.rr.record_route()


def address_to(uri: str, next_hop: str, sip_socket: str) -> None:
    """Send the request to this R-URI (empty: its own), next hop (a SIP URI; empty: the R-URI's host) and from this
    socket (`proto:address:port`; empty: the one that Kamailio chooses).
    """
    if uri:
        KSR.pv.sets("$ru", uri)
    if next_hop:
        KSR.setdsturi(next_hop)
    if sip_socket:
        KSR.pv.sets("$fs", sip_socket)


def leaves_from(sip_socket: str) -> bool:
    """Return True if the request leaves from this socket: address_to() has no effect for one that is not ours."""
    return KSR.pv.gete("$fs") == sip_socket
