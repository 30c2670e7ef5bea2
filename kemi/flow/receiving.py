"""Brings in what carriers send: a new request of a carrier goes to the PBX of its trunk, and nowhere else.

A carrier is a source in `address`, group 2, or one whose address and port are a trunk's next hop. trunks/inbound.py
chooses the trunk. What happens on this way is none of the trunk's credentials, standing or registration.
"""

from __future__ import annotations

from collections.abc import Sequence

from kemi.auth.attempt import TO_PBX, Attempt
from kemi.flow import calls, limits, nexthop
from kemi.flow.placing import Placing
from kemi.outcome import NoRoute, Unreachable
from kemi.sip import api, carrier, dialog, edit, place, relay, request
from kemi.sip.request import Incoming
from kemi.trunks import inbound
from kemi.trunks.inbound import Called, Found
from kemi.trunks.places import Place
from kemi.trunks.plan import FULL, UNREACHABLE, Plan, Word
from kemi.trunks.trunk import Trunk

NO_ROUTE = Word(404, "No Route For This Number")
BROUGHT_IN = frozenset({"INVITE", "MESSAGE"})
ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE"


class Receiving(Placing):
    """Sends requests of carriers to PBXs."""

    def receive(self, incoming: Incoming) -> None:
        """Answer a carrier's new request, or bring it in."""
        carrier.note(incoming.source)
        if incoming.method == "OPTIONS":  # asks if the registered contact is still there
            relay.reply(200, "OK")
        elif incoming.method not in BROUGHT_IN:
            relay.reply_with(f"Allow: {ALLOWED}", 405, "Method Not Allowed")
        elif not incoming.dialled:
            relay.reply(400, "Not UTF-8")
        else:
            self._bring_in(incoming, self._found(incoming))

    def _found(self, incoming: Incoming) -> Found:
        """Return the trunk of a carrier's request."""
        source = place.of_source(incoming.source)
        called = Called(incoming.dialled, carrier.called_party(), carrier.tag())
        return inbound.find(self.trunks, called, lambda trunk: self.trunks.places(trunk).can_be_source(source))

    def phones(self, _number: str) -> Sequence[tuple[str, str]]:
        """Return R-URI and next hop of each phone that a number which a carrier has called rings, in the order in which
        they are tried. If there is none, as here, the PBXs of the trunk's inbound_uri are called.
        """
        return ()

    def _bring_in(self, incoming: Incoming, found: Found) -> None:
        """Send a carrier's request to the first PBX of its trunk that can be reached."""
        phones = [phone for phone in self.phones(found.number) if not self._leads_to_us(phone[1])]
        hops: tuple[str, ...] | None = tuple(map(" ".join, phones))
        trunk = self.trunks.by_uuid(found.name) if hops and found.fault == inbound.NO_PBX else found.trunk
        if trunk is None:
            api.tell(NoRoute(found.name, api.source(), found.fault))
            relay.say(NO_ROUTE)
            self._told(incoming, found.name, NO_ROUTE)
            return
        hops = hops or self._pbxs(trunk, found.number)
        if not hops:
            if hops is not None or not request.came_over_udp():
                relay.say(UNREACHABLE)
                self._told(incoming, trunk.uuid, UNREACHABLE)
            return
        plan = Plan(hops=hops)
        dialog.bring_in()
        if incoming.method == "INVITE" and len(hops) > 1:
            relay.try_for(self._settings.try_seconds, self._settings.ring_seconds)
        if not limits.admits(trunk, None, incoming.method, ""):
            relay.make_transaction()  # with whose end that of the tracked call comes
            relay.say(FULL)
            self._told(incoming, trunk.uuid, FULL)
            return
        attempt = self._dialogs.to_pbx(incoming, trunk)
        if left := self.to_next_pbx(attempt, plan):
            relay.say(left.word)
            calls.ended(attempt._replace(tries=len(hops) - len(left.hops)), left.word, left.hop)

    def _told(self, incoming: Incoming, trunk: str, word: Word) -> None:
        """Tell the end of a request that was sent to no PBX."""
        calls.ended(Attempt(trunk, TO_PBX, incoming.method), word, "")

    def _leads_to_us(self, hop: str) -> bool:
        """Return True if a carrier's request would come back to us from there, as a caller's."""
        edit.address_to(hop, "", "")
        return request.leads_to_us()

    def _pbxs(self, trunk: Trunk, number: str) -> tuple[str, ...] | None:
        """Return the hops to the trunk's PBXs, in order, each behind its R-URI; empty if there is none, None if one has
        a name that nobody has tried to resolve yet.
        """
        found: list[str] = []
        is_known = True
        for pbx in trunk.inbound:
            hops = nexthop.of_pbx(self.trunks, pbx)
            is_known = is_known and hops is not None
            for hop in hops or ():
                if self._leads_to_us(hop.uri):
                    api.tell(NoRoute(trunk.uuid, api.source(), "inbound_uri leads to us"))
                else:
                    found.append(f"{inbound.request_uri(pbx, number)} {hop.uri}")
        return tuple(found) if found or is_known else None

    def to_next_pbx(self, attempt: Attempt, plan: Plan) -> Plan | None:
        """Send a carrier's request to the next PBX of its plan that can be sent to; return the plan if none can."""
        while plan.hops and plan.has_room:
            plan = plan._replace(hop=plan.hops[0], hops=plan.hops[1:])
            uri, _, hop = plan.hop.partition(" ")
            edit.address_to(uri, hop, "")
            attempt = attempt._replace(tries=attempt.tries + 1)
            if self.send_attempt(self._dialogs.to_pbx_at(attempt, Place.of_uri(hop)), plan, None):
                return None
            api.tell(Unreachable(attempt.trunk))
            attempt = attempt._replace(is_moved=True)
            plan = plan.unsent().heard(UNREACHABLE)
        return plan
