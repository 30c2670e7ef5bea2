"""The request at hand: what it says, and where it comes from."""

from __future__ import annotations

import re
from typing import NamedTuple

import KSR

from kemi.dialog import nat
from kemi.dialog.cseq import BEYOND
from kemi.dialog.identity import FIELDS
from kemi.dialog.mark import PARAMETER
from kemi.dialog.sender import PARAMETER as SENDER
from kemi.sip import edit
from kemi.trunks.groups import CALLERS

# The answers of the route ARRIVED in trunkauth.inc.cfg; any other is 1 and the group of the source.
_MALFORMED, _TOO_MANY_HOPS = 0, -1

# Read at once, because each crossing into Kamailio costs every request; one a line.
_FACTS = "$rm\n$ci\n$ft\n$tt\n$cs\n$ml\n$route_uri\n$si $sp $proto\n$sel(via.host)"
_URIS = "\n$fu\n$ru\n$(hdr(Proxy-Require)[*])\n$(hdr(X-Trunk)[*])"
_LINES = 13
_NULL = "<null>"  # in what $_s() gives (pv_printf in src/core/pvapi.c)
_MARK = re.compile(rf";{PARAMETER}=([A-Za-z0-9_-]{{1,100}})(?:;{SENDER}=([A-Za-z0-9_-]{{1,300}}))?(?:;|$)")


class Incoming(NamedTuple):
    """A request that came in.

    method, call_id, from_tag: as written. to_tag: empty if it belongs to no dialog. cseq: its number. mark: the value
    of our parameter in its top Route, empty if there is none; sender: of the one beside it (dialog/sender.py). source:
    where it came from: address, port and transport, as Kamailio writes them. caller: the URI of From; dialled: the
    R-URI; both empty if one of them is not UTF-8. order: X-Trunk, empty if there is none, or one of those is not UTF-8.
    belongs_to_transaction: True if the transaction of a CANCEL, or of a failure's ACK, is known. group: that of
    `address` which its source is in, 2 if it is in both, 0 for none. is_behind_nat: True if its sender is
    (dialog/nat.py). size: its octets.
    """

    method: str
    call_id: str
    from_tag: str
    to_tag: str
    cseq: int
    mark: str
    sender: str
    source: str
    caller: str
    dialled: str
    order: str
    belongs_to_transaction: bool
    group: int
    is_behind_nat: bool = False
    size: int = 0

    @property
    def goes_through_nat(self) -> bool:
        """True if it may be for a PBX behind a NAT, and its R-URI is not the one that the PBX knows."""
        return nat.MENDED in self.dialled


def header(name: str) -> str:
    """Return the first header field of this name as it came in, empty if there is none or it is not UTF-8."""
    try:
        return str(KSR.pv.gete(f"$hdr({name})")).strip()
    except UnicodeDecodeError:
        return ""


def next_hop() -> str:
    """Return the URI that the request goes to."""
    return str(KSR.pv.gete("$du") or KSR.pv.gete("$ru"))


def came_over_udp() -> bool:
    """Return True if the sender repeats the request for as long as nothing is answered."""
    return header("Via").upper().startswith("SIP/2.0/UDP")


def asks_for_us() -> bool:
    """Return True if the R-URI is this proxy itself, without a user part."""
    return KSR.is_myself_ruri() and not KSR.pv.gete("$rU")


def leads_to_us() -> bool:
    """Return True if the R-URI's host is one of our own sockets: relaying there would loop."""
    return KSR.is_myself_ruri()


def source_may_call() -> bool:
    """Return True if the source is in the address table, group 1."""
    return KSR.permissions.allow_source_address(CALLERS) > 0


def disbelieve_identity() -> None:
    """Take off what the sender of a new request says of his identity, before anything else is changed."""
    if any(map(header, FIELDS)):
        edit.remove_headers(FIELDS)
        KSR.textopsx.msg_apply_changes()


def incoming() -> Incoming | None:
    """Return the request that came in; None if nothing is left to do: it has been answered (400, 420, 483), dropped, or
    is a retransmission, whose last reply has been sent again.
    """
    arrived = KSR.route("ARRIVED")
    if arrived == _MALFORMED and edit.discard_surplus():
        arrived = KSR.route("ARRIVED")
    if arrived == _MALFORMED:
        KSR.sanity.sanity_reply()
        return None
    try:
        text = str(KSR.pv.gete(f"$_s({_FACTS}{_URIS})"))
    except UnicodeDecodeError:
        text = f"{KSR.pv.gete(f'$_s({_FACTS})')}\n\n\n{_NULL}\n{_NULL}"
    lines = text.split("\n")
    # A field is folded where it must not be; NUL, which no function of KSR takes; RFC 3261 8.1.1.5.
    if len(lines) != _LINES or "\0" in text or int(lines[4]) >= BEYOND:
        KSR.sl.sl_send_reply(400, "Bad Request")
        return None
    method, call_id, from_tag, to_tag, cseq, size, route, source, via, caller, dialled, required, order = lines
    is_behind_nat = not source.startswith(f"{via} ") and nat.is_behind(via, source.partition(" ")[0])
    if is_behind_nat:
        KSR.force_rport()  # its replies go to where it sends from, although it may not ask for that (RFC 3581)
    if arrived == _TOO_MANY_HOPS:
        KSR.sl.sl_send_reply(483, "Too Many Hops")
        return None
    if required != _NULL and (extensions := required.replace(",", " ").split()) and method not in ("ACK", "CANCEL"):
        KSR.hdr.append_to_reply(f"Unsupported: {', '.join(extensions)}\r\n")  # RFC 3261 16.3, step 5
        KSR.sl.sl_send_reply(420, "Bad Extension")
        return None
    transaction = KSR.tm.t_check_trans()
    if transaction == 0 and method != "CANCEL":
        return None
    mark, sender = (found[1], found[2] or "") if (found := _MARK.search(route)) else ("", "")
    from_tag, to_tag = "" if from_tag == _NULL else from_tag, "" if to_tag == _NULL else to_tag
    named = "" if order == _NULL else order.strip()
    return Incoming(
        method, call_id, from_tag, to_tag, int(cseq), mark, sender, source, caller, dialled, named, transaction > 0,
        arrived - 1, is_behind_nat, int(size),
    )  # fmt: skip


def follows_route() -> bool:
    """Return True if the request carries our own Route, which is taken off (RFC 3261 16.4), and so is what is for us
    alone: X-Trunk, and a caller's credentials.
    """
    return KSR.route("INSIDE") > 0
