"""Requests whose next hop is a name that came over the wire: a Contact, a Route, or a dialled domain. A worker asks no
name server for it: it takes the hops that are known, or asks the process that resolves names to find them.

A name that nobody has asked for yet takes a moment. Over UDP the request is dropped meanwhile, without a reply: the
sender repeats it after 0.5 s (RFC 3261 17.1.1.2, 17.1.2.2), and an ACK comes again with the next 200.
"""

from __future__ import annotations

from kemi.address import is_address
from kemi.sip import edit, relay, request, wanted
from kemi.trunks.hops import target_of
from kemi.trunks.store import TrunkStore


def settled(trunks: TrunkStore) -> str | None:
    """Return the address that the request goes to, which it has been given now if its next hop is a name; None if it
    has none: the request has been answered with 503, or dropped.
    """
    host = request.next_hop_host()
    if not host or is_address(host):
        return host
    target = target_of(request.next_hop(), "")
    hops = trunks.resolved(target)
    if hops:
        edit.address_to("", hops[0].uri, "")
        return hops[0].address
    if hops is None:
        wanted.want(target.key)
        if request.came_over_udp():
            return None
    relay.reply(503, "Next Hop Unreachable")
    return None
