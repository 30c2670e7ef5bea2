"""Edits of the request at hand. In a branch route they are on that branch alone."""

from __future__ import annotations

import KSR

from kemi.dialog.identity import FIELDS
from kemi.dialog.mark import PARAMETER
from kemi.dialog.sender import PARAMETER as SENDER


def discard_surplus() -> bool:
    """Cut off the octets after the body (RFC 3261 18.3), in kamailio.cfg, because the body may be no text. Return True
    if there were any. It comes before any other edit, which it would undo.
    """
    length, size = KSR.pv.get("$cl"), KSR.pv.get("$bs")
    if not (isinstance(length, int) and isinstance(size, int) and 0 <= length < size):
        return False
    whole = str(KSR.pv.gete("$(mb{s.encode.hexa})"))  # empty if it is longer than 32767 octets
    KSR.pv.sets("$var(octets)", whole[: 2 * (length - size)])
    KSR.route("CUT")
    return bool(whole)


def remove_headers(names: tuple[str, ...]) -> None:
    """Take every header field of these names off the request."""
    for name in names:
        KSR.hdr.remove(name)


def add_record_route(mark: str = "", own: str = "") -> None:
    """Stay in the path of the dialog (RFC 3261 16.6, step 4). mark, own: for all branches; empty: each adds its own."""
    KSR.rr.record_route()
    if mark:
        add_mark(mark, own)


def add_mark(mark: str, own: str = "") -> None:
    """Put the mark into our Record-Route, and the caller's own From (dialog/sender.py); in a branch route into that of
    the branch alone.
    """
    KSR.rr.add_rr_param(f";{PARAMETER}={mark};{SENDER}={own}" if own else f";{PARAMETER}={mark}")


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


def append_octets(header: bytes) -> None:
    """Add a header field, with its CRLF, that may not be UTF-8. KEMI takes text alone, so kamailio.cfg has a route."""
    KSR.pv.sets("$var(octets)", header.hex())
    KSR.route("APPEND")


def set_cseq(number: int, method: str) -> None:
    """Give the request this CSeq."""
    KSR.hdr.remove("CSeq")
    KSR.hdr.append(f"CSeq: {number} {method}\r\n")


def set_party(name: str, value: str) -> None:
    """Give the message this From or To."""
    KSR.hdr.remove(name)
    KSR.hdr.append(f"{name}: {value}\r\n")


def set_identity(fields: str) -> None:
    """Give the request these fields, each with a line end, in place of their like and of all that say who calls."""
    given = [field for field in fields.split("\n") if field]
    remove_headers(tuple(dict.fromkeys((*FIELDS, *(field.partition(":")[0] for field in given)))))
    for field in given:
        KSR.hdr.append(f"{field}\r\n")


def set_rack(value: str) -> None:
    KSR.hdr.remove("RAck")
    KSR.hdr.append(f"RAck: {value}\r\n")
