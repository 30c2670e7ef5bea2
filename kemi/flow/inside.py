"""Requests inside a dialog: who may send them is in passage.py, which CSeq they get in dialogs.py."""

from __future__ import annotations

from functools import cached_property, partial

from kemi.address import normalised
from kemi.auth.attempt import Attempt
from kemi.dialog import identity, sender
from kemi.dialog.cseq import rack as with_cseq
from kemi.dialog.cseq import rack_cseq
from kemi.dialog.mark import Direction
from kemi.flow import nexthop, passage
from kemi.flow.dialogs import Opened, call_of
from kemi.flow.going_on import GoingOn
from kemi.outcome import Unreachable
from kemi.sip import api, edit, nat, place, relay, request, room, shared
from kemi.sip.request import Incoming
from kemi.trunks.groups import CARRIERS
from kemi.trunks.places import Place, Places
from kemi.trunks.plan import Plan
from kemi.trunks.trunk import Trunk


class Inside(GoingOn):
    """Sends the requests of a dialog on, to the trunk or to the PBX."""

    def in_dialog(self, incoming: Incoming, message: object) -> None:
        """Route a request with a To tag; ACKs of failures are not among them, which tm has taken."""
        opened = self._dialogs.opened(incoming) if request.follows_route() else None
        is_known = self.knows_callers and incoming.group != CARRIERS  # which may lie within group 1
        may_call = None if is_known else partial(self.may_call, message)
        if opened and passage.is_open(opened, incoming, self._dialogs.key, may_call, self.trunks):
            if (there := nexthop.settled(self.trunks)) is None:
                return
            if there[:2] in self._sockets and self._comes_from_us(incoming):
                self._answer_unless_ack(incoming, 482, "Loop Detected")  # who is in a dialog may write any Routes
                return
            is_out = opened.direction is not Direction.FROM_TRUNK
            by_tls = is_out and there.transport == "tls"
            if by_tls and not nexthop.may_leave(self.trunks, self._trunk_of(opened), there):
                return
            if opened.mark.is_limited and incoming.method == "BYE":
                room.note_over(call_of(opened.sequence))
            if not is_out:
                self._pass_on(incoming, opened)
            elif incoming.method == "ACK":
                self._acknowledge(incoming, opened, there)
            else:
                self._send_inside(incoming, opened, there)
        else:
            if opened and incoming.method == "INVITE" and passage.may_end(opened, incoming, self._dialogs.key):
                relay.make_transaction()  # which takes the ACK: by its Route it would go to the trunk
            self._answer_unless_ack(incoming, 481, "Call/Transaction Does Not Exist")

    def _answer_unless_ack(self, incoming: Incoming, code: int, reason: str) -> None:
        if incoming.method != "ACK":
            relay.reply(code, reason)

    @cached_property
    def _sockets(self) -> frozenset[tuple[str, int]]:
        """Address and port of our own sockets."""
        return frozenset((normalised(one), each.port) for each in self._settings.listen for one in each.addresses)

    def _comes_from_us(self, incoming: Incoming) -> bool:
        """Return True if the request comes from an address of ours. Over TCP its port is any."""
        source = place.of_source(incoming.source).address
        return any(source == address for address, _ in self._sockets)

    def _acknowledge(self, incoming: Incoming, opened: Opened, there: Place) -> None:
        """Relay the ACK of a success to this place, with the CSeq and the credentials of its INVITE."""
        if incoming.sender and self._kept(incoming.sender, opened):
            seen = self._shown_inside(Attempt(), self._trunk_of(opened), incoming, opened).sender
            edit.set_party("From", seen or request.header("From"))
        number = self._dialogs.number_of_invite(opened, incoming.cseq)
        if number != incoming.cseq:
            edit.set_cseq(number, "ACK")
        if fields := shared.credentials(opened.sequence, number):
            trunk = self._trunk_of(opened)
            if trunk and nexthop.of_dialog(self.trunks, trunk, there).include(there):
                edit.append_octets(fields)
        relay.relay()

    def _send_inside(self, incoming: Incoming, opened: Opened, there: Place) -> None:
        """Send a request of a dialog to its trunk, at this place."""
        if incoming.method == "PRACK" and (invite := rack_cseq(rack := request.header("RAck"))):
            edit.set_rack(with_cseq(rack, self._dialogs.number_of_invite(opened, invite)))
        trunk = self._trunk_of(opened)
        attempt = self._dialogs.inside(incoming, opened, trunk)
        places = nexthop.of_dialog(self.trunks, trunk, there) if trunk else Places()
        if there not in places.exact:
            attempt = nexthop.bound(attempt, places, there)
        if (incoming.sender or (trunk and trunk.has_sender)) and not opened.mark.is_inbound:
            attempt = self._shown_inside(attempt, trunk, incoming, opened)
        if attempt.mark:
            edit.add_record_route()
        if incoming.is_behind_nat:
            nat.mend_contact()
        is_known = trunk and trunk.destination == attempt.destination and there in places.exact
        can_be_preemptive = is_known and self._settings.preemptive
        if not self.send_attempt(attempt, Plan(), trunk.credentials if trunk and can_be_preemptive else None):
            api.tell(Unreachable(attempt.trunk))
            relay.reply(503, "Next Hop Unreachable")

    def _shown_inside(self, attempt: Attempt, trunk: Trunk | None, incoming: Incoming, opened: Opened) -> Attempt:
        """Return the attempt with what the carrier sees of the caller inside a dialog: a private one stays so, whatever
        became of the trunk's row.
        """
        kept = self._kept(incoming.sender, opened)
        if trunk and trunk.has_sender:
            attempt = self.shown(attempt, trunk, incoming.caller, incoming.from_tag, kept)
        if sender.is_hidden(kept) and not attempt.sender:
            attempt = attempt._replace(sender=f"{identity.NOBODY};tag={incoming.from_tag}")
        return attempt

    def _trunk_of(self, opened: Opened) -> Trunk | None:
        """Return the trunk of a dialog, None if its row is gone."""
        row = opened.mark.row
        try:
            trunk = self.trunks.by_row(row)
            if trunk is None or not self._dialogs.is_of(opened, trunk):
                self.trunks.look_again()  # the worker that set the dialog up may have seen a change before us
                trunk = self.trunks.by_row(row)
        except Exception as error:  # a BYE has to go, whatever state the file is in
            api.tell_fault(error)
            return None
        return trunk

    def _kept(self, value: str, opened: Opened) -> str:
        """Return what the dialog keeps of its caller's own From; empty if that has stayed. value: as it came."""
        return sender.reveal(self._dialogs.key, value, opened.sequence[:32]) if value else ""

    def _pass_on(self, incoming: Incoming, opened: Opened) -> None:
        """Relay a request that gets no credentials of ours. To the PBX, it is for whom the PBX has named in From."""
        if kept := self._kept(incoming.sender, opened):
            edit.set_party("To", f"{sender.of_pbx(kept)};tag={incoming.to_tag}")
            relay.listen("PASSED")
        if incoming.goes_through_nat:
            nat.address_pbx(incoming.dialled)
            relay.listen("PASSED")
        if incoming.method == "INVITE":
            edit.add_record_route(incoming.mark, incoming.sender)  # its 200 is known by it, if it comes late (STRAY)
        if not relay.relay():
            relay.reply(503, "Next Hop Unreachable")
