"""Who may send a request inside a dialog, and where to. A mark proves the dialog and not its sender: both ends know it,
and so does whoever stands between them.

1. To the trunk: from listed sources, which are PBXs, unless they are listed as carriers too. It goes where the route
   set leads. A caller who is not listed any more can still end the call that he has placed, from the place that the
   mark names. A PBX that was called need not be listed: the mark names the place that the DBA had it called at.
2. From the trunk: from anywhere, since a carrier has several machines, and a far end may be called directly. It goes to
   the PBX alone: to the place that the mark names, or another one that is listed as a caller's. A place that cannot be
   read is nobody's, not even a PBX's whose Contact could not be read either.
3. A name is looked for only if it is the caller's own. That of a PBX was asked for when it gave its Contact, and leads
   to the PBX if all of its addresses do.
"""

from __future__ import annotations

from collections.abc import Callable

from kemi.address import normalised
from kemi.dialog.mark import Direction, fingerprint
from kemi.flow import nexthop
from kemi.flow.dialogs import Opened
from kemi.sip import carrier, place, request
from kemi.sip.request import Incoming
from kemi.sip.strays import Stray
from kemi.trunks.groups import CALLERS, CARRIERS
from kemi.trunks.hops import LONGEST_NAME
from kemi.trunks.places import Place
from kemi.trunks.store import TrunkStore

ENDS_CALLS = frozenset({"ACK", "BYE"})

_LONGEST = LONGEST_NAME + len(" 65535 transport")  # characters of a place: fingerprints are kept


def is_open(
    opened: Opened, incoming: Incoming, key: bytes, may_call: Callable[[], bool] | None, trunks: TrunkStore
) -> bool:
    """Return True if the request at hand may pass. key: the deployment's. may_call: asked if the sender may call; None
    if the group of its source says so. trunks: they know the names that PBXs have.
    """
    if opened.direction is Direction.TO_TRUNK:
        is_caller = may_call() if may_call else incoming.group == CALLERS
        if is_caller and incoming.group != CARRIERS:
            return True
        return may_end(opened, incoming, key) and (is_caller or opened.mark.is_inbound or incoming.method in ENDS_CALLS)
    there = place.next_hop()
    if _is_pbxs(opened, there, key):
        return True
    places = nexthop.known(trunks, there)
    return bool(places) and all(_is_pbxs(opened, one, key) or place.is_callers(one) for one in places)


def may_end(opened: Opened, incoming: Incoming, key: bytes) -> bool:
    """Return True if the request at hand comes from the PBX of its dialog: ENDS_CALLS pass from there."""
    return opened.direction is Direction.TO_TRUNK and _is_pbxs(opened, place.of_source(incoming.source), key)


def is_of_listed_pbx() -> bool:
    """Return True if the message at hand is of a listed source that is no carrier: group 2 may lie within group 1."""
    return request.source_may_call() and not carrier.is_listed()


def is_of_called_pbx(opened: Opened, key: bytes) -> bool:
    """Return True if the message at hand comes from the PBX that a carrier has called."""
    return opened.mark.is_inbound and _is_pbxs(opened, place.source(), key)


def goes_to_calling_pbx(reply: Stray, opened: Opened, key: bytes) -> bool:
    """Return True if a reply goes to the PBX, or the phone, that has called over the trunk."""
    there = Place(normalised(reply.host), reply.port, reply.transport)
    return not opened.mark.is_inbound and _is_pbxs(opened, there, key)


def _is_pbxs(opened: Opened, there: Place, key: bytes) -> bool:
    """Return True if the mark names this place."""
    text = there.text
    return there.address != "" and len(text) <= _LONGEST and fingerprint(key, text) == opened.mark.pbx
