"""Next hops that are names: of a trunk, or of a Contact, a Route or a dialled domain that came over the wire. A worker
asks no name server: it takes the hops that are known, or has the process that resolves names find them.

A name that nobody has asked for yet takes a moment. Over UDP the request is dropped meanwhile, without a reply: the
sender repeats it after 0.5 s (RFC 3261 17.1.1.2, 17.1.2.2), and an ACK comes again with the next 200.
"""

from __future__ import annotations

from kemi.address import is_address
from kemi.auth.attempt import ELSEWHERE, Attempt
from kemi.sip import api, edit, place, relay, request, secure, wanted
from kemi.trunks.hops import Hop, Hops, literal, target_of, uris_of
from kemi.trunks.places import Place, Places
from kemi.trunks.plan import Plan
from kemi.trunks.secure import TLS
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

NOWHERE = Place()


def of_trunk(trunks: TrunkStore, trunk: Trunk, uri: str) -> tuple[str, ...] | None:
    """Return the URIs to send to over this trunk, in the order to try; empty if its name cannot be resolved, None if
    nobody has tried. uri: the R-URI, whose host is the next hop of a trunk without one.
    """
    if trunk.only_hop:
        return trunk.only_hop
    target = trunk.target if trunk.target.host else target_of(uri, "")
    if not (trunk.leads_to_name or target.is_name):
        if trunk.target.transport == "tls":
            return that_serve(trunk, (literal(target)[0].uri,))
        return (trunk.next_hop or (trunk.hop_of(uri) if trunk.domain else ""),)
    hops = trunks.resolved(target)
    if hops is None:
        if not trunk.target.host:
            wanted.want(target.key)
        return None
    uris = uris_of(hops)
    return that_serve(trunk, uris) if TLS in "".join(uris) else uris


def that_serve(trunk: Trunk, uris: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the URIs but those by TLS without a connection; None if one is being made, and there is no other. None is
    made to where callers dial.
    """
    left, is_pending = [], False
    for uri in uris:
        if uri.endswith(TLS):
            number = secure.look(trunk.wanted.key(uri)) if trunk.target.host else secure.FAILED
            is_pending = is_pending or number == secure.PENDING
            if number <= 0:
                continue
        left.append(uri)
    return None if is_pending and not left else tuple(left)


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


def known(trunks: TrunkStore, there: Place) -> tuple[Place, ...]:
    """Return all places that a request to this one may come to, as far as that is known without asking anybody."""
    if is_address(there.address):
        return (there,)
    target = target_of(request.next_hop(), "")
    return tuple(map(Place.of_hop, trunks.resolved(target) or ())) if target.host else ()


def may_leave(trunks: TrunkStore, trunk: Trunk | None, there: Place) -> bool:
    """Have a request inside a dialog, which goes to this place by TLS, leave by the judged connection if the place is a
    hop of its trunk's. Return False if that is not up: the request has been answered with 503, or dropped.
    """
    if trunk is None or there not in _places(trunks, trunk).exact:
        return True
    hop = Hop(*there).uri
    number = secure.look(key := trunk.wanted.key(hop))
    if number > 0 and secure.leave_by(key):
        relay.keep_plan(Plan(hop=hop))
        return True
    if number == secure.FAILED or not request.came_over_udp():
        relay.reply(503, "Next Hop Unreachable")
    return False


def of_dialog(trunks: TrunkStore, trunk: Trunk, there: Place = NOWHERE) -> Places:
    """Return where the carrier of the dialog at hand is; without the dialog's peer, if this place is its anyway. A peer
    that the row did not name proves nothing.
    """
    places = _places(trunks, trunk)
    if there in places.exact or not trunk.destination:
        return places
    return places.and_peer(place.peer())


def _places(trunks: TrunkStore, trunk: Trunk) -> Places:
    """Return where a trunk's carrier is; none if the file cannot be read: a BYE has to go, whatever state it is in."""
    try:
        return trunks.places(trunk)
    except Exception as error:
        api.tell_fault(error)
        return Places()


def bound(attempt: Attempt, places: Places, there: Place) -> Attempt:
    """Return the attempt with no carrier that may get an answer, unless it goes to one of its trunk's carrier."""
    return attempt if places.include(there) else attempt._replace(destination=ELSEWHERE)
