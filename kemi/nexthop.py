"""Next hops that are names: of a trunk, or of a Contact, a Route or a dialled domain that came over the wire. A worker
asks no name server: it takes the hops that are known, or has the process that resolves names find them.

A name that nobody has asked for yet takes a moment. Over UDP the request is dropped meanwhile, without a reply: the
sender repeats it after 0.5 s (RFC 3261 17.1.1.2, 17.1.2.2), and an ACK comes again with the next 200.
"""

from __future__ import annotations

from kemi.address import is_address
from kemi.outcome import Unreachable
from kemi.sip import api, edit, relay, request, wanted
from kemi.trunks.hops import target_of
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk


def of_trunk(trunks: TrunkStore, trunk: Trunk) -> str | None:
    """Return the URI to send to over this trunk, empty for the host of the R-URI; None if there is none now: the
    request has been answered with 503, or dropped.
    """
    if not trunk.target.is_name:
        return trunk.next_hop
    hops = trunks.resolved(trunk.target)
    if hops:
        return hops[0].uri
    if hops is not None or not request.came_over_udp():
        api.tell(Unreachable(trunk.uuid))
        relay.reply(503, "Next Hop Unreachable")
    return None


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
