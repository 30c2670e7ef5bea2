"""Next hops that are names: of a trunk, or of a Contact, a Route or a dialled domain that came over the wire. A worker
asks no name server: it takes the hops that are known, or has the process that resolves names find them.

A name that nobody has asked for yet takes a moment. Over UDP the request is dropped meanwhile, without a reply: the
sender repeats it after 0.5 s (RFC 3261 17.1.1.2, 17.1.2.2), and an ACK comes again with the next 200.
"""

from __future__ import annotations

from kemi.address import is_address
from kemi.auth.attempt import ELSEWHERE, Attempt
from kemi.sip import edit, place, relay, request, wanted
from kemi.trunks.hops import Hops, target_of
from kemi.trunks.places import Place, Places
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk


def of_trunk(trunks: TrunkStore, trunk: Trunk, uri: str) -> tuple[str, ...] | None:
    """Return the URIs to send to over this trunk, in the order to try; empty if its name cannot be resolved, None if
    nobody has tried. uri: the R-URI, whose host is the next hop of a trunk without one.
    """
    target = trunk.target if trunk.target.host else target_of(uri, "")
    if trunk.leads_to_address or not target.is_name:
        return (trunk.next_hop or (trunk.hop_of(uri) if trunk.domain else ""),)
    hops = trunks.resolved(target)
    if hops is None and not trunk.target.host:
        wanted.want(target.key)
    return None if hops is None else tuple([hop.uri for hop in hops])


def of_pbx(trunks: TrunkStore, uri: str) -> Hops | None:
    """Return where a PBX is, in the order to try; empty if its name cannot be resolved, None if nobody has tried."""
    return trunks.resolved(target_of(uri, ""))


def settled(trunks: TrunkStore) -> Place | None:
    """Return the place that the request goes to, whose address it has been given now if its next hop is a name; None if
    it has none: the request has been answered with 503, or dropped.
    """
    there = place.next_hop()
    if not there.address or is_address(there.address):
        return there
    target = target_of(request.next_hop(), "")
    hops = trunks.resolved(target)
    if hops:
        edit.address_to("", hops[0].uri, "")
        return Place.of_hop(hops[0])
    if hops is None:
        wanted.want(target.key)
        if request.came_over_udp():
            return None
    relay.reply(503, "Next Hop Unreachable")
    return None


def of_dialog(trunks: TrunkStore, trunk: Trunk) -> Places:
    """Return where the carrier of the dialog at hand is. A peer that the row did not name proves nothing."""
    places = trunks.places(trunk)
    return places.and_peer(place.peer()) if trunk.destination else places


def bound(attempt: Attempt, places: Places, there: Place) -> Attempt:
    """Return the attempt with no carrier that may get an answer, unless it goes to one of its trunk's carrier."""
    return attempt if places.include(there) else attempt._replace(destination=ELSEWHERE)
