"""The SIP flow, from top to bottom: a request comes in, finds its trunk, is relayed, is challenged, is answered.

    ksr_request_route      every request
      in_dialog            a request of a dialog (loose routing): inside.py
      new_request          anything else: a PBX's goes out over a trunk (placing.py), a carrier's comes in to the PBX
                           (receiving.py)
    BRANCH                 the branch route: shapes the one attempt that goes out now
    TRUNKAUTH              the failure route: answers the carrier's 401 or 407, or ends the request with 503
    REPLY                  the reply route: gives the caller his own CSeq, learns the dialog's peer and the nonces
    STRAY                  a reply that matches no transaction: dropped, unless it is the 200 of a call

A handler that raises answers 500, and the worker goes on. The caller never sees a carrier's 401 or 407.
"""

from __future__ import annotations

import time

from kemi.auth.attempt import TO_PBX, Attempt
from kemi.dialog import identity, sender
from kemi.dialog.late import farewell
from kemi.dialog.mark import Direction
from kemi.flow import calls, passage, responses, standings
from kemi.flow.dialogs import call_of
from kemi.flow.inside import Inside
from kemi.health import memory, ready
from kemi.outcome import AnsweredLate
from kemi.sip import api, carrier, edit, failure, late, nat, own, place, relay, reply, request, room, shared, strays
from kemi.sip.api import guarded
from kemi.sip.request import Incoming
from kemi.trunks.groups import CALLERS, CARRIERS


class TrunkAuth(Inside):
    """The handlers that app_python3 calls."""

    @guarded(calls.reply)
    def ksr_request_route(self, message: object) -> int:
        """Every request comes in here."""
        incoming = request.incoming()
        if incoming is None:
            return 1
        method = incoming.method
        if method == "CANCEL":
            self.cancel(incoming, message)
        elif incoming.to_tag and method != "REGISTER":
            self.in_dialog(incoming, message)
        elif method == "OPTIONS" and request.asks_for_us():
            if memory.is_full() or not (ready.names_are_tried() and self.trunks.can_be_read()):
                relay.reply_try_later()
            else:
                relay.reply(200, "OK")
        elif method != "ACK":
            self.new_request(incoming, message)
        return 1

    def new_request(self, incoming: Incoming, message: object) -> None:
        """Route a request outside a dialog: a carrier's comes in, a PBX's goes out."""
        trunks = self.trunks
        if memory.is_full() or not trunks.is_ready():
            self.try_later(incoming)
        elif incoming.group == CARRIERS or trunks.is_next_hop(incoming.source):
            self.receive(incoming)
        elif incoming.group == CALLERS if self.knows_callers else self.may_call(message):
            self.place_request(incoming, incoming.order if incoming.group == CALLERS else "")
        elif trunks.is_next_hop_host(incoming.source):
            self.receive(incoming)
        else:
            relay.reply(403, "Forbidden")
            calls.turned_away(incoming.method, calls.FORBIDDEN)

    def try_later(self, incoming: Incoming) -> None:
        """Turn a new request away that cannot be served now."""
        relay.reply_try_later()
        calls.turned_away(incoming.method, calls.TRY_LATER)

    def cancel(self, incoming: Incoming, message: object) -> None:
        """Cancel an INVITE, for its sender alone: a caller, a carrier, or an end of a dialog (RFC 3261 9.1 has the
        Route of its re-INVITE go with it, and so the mark).
        """
        if incoming.belongs_to_transaction and (self.may_call(message) or self._may_cancel(incoming)):
            relay.relay()
        else:
            relay.reply(481, "Call/Transaction Does Not Exist")

    def _may_cancel(self, incoming: Incoming) -> bool:
        """Return True if a source that is no listed caller may cancel an INVITE."""
        if opened := self._dialogs.opened(incoming):
            return opened.direction is Direction.FROM_TRUNK or passage.is_of_called_pbx(opened, self._dialogs.key)
        return self.is_carrier(incoming.source)

    def is_carrier(self, source: str) -> bool:
        """Return True if a source is a carrier: the one of the message at hand, as Kamailio writes it."""
        trunks = self.trunks
        return carrier.is_listed() or trunks.is_next_hop(source) or trunks.is_next_hop_host(source)

    # --- an attempt

    @guarded(relay.reply_nothing)
    def BRANCH(self, _message: object) -> int:
        """The one attempt that goes out now: what is changed here is so on no later one."""
        attempt = relay.attempt()
        try:
            if attempt.is_moved:
                late.note_branch()
                room.leave_now()
            if attempt.sent and not attempt.by_uac_auth and (trunk := self.trunk_now(attempt)):
                responses.add_to_branch(attempt, trunk.credentials)
        finally:  # whatever the responses came to, the numbers have to be right
            relay.shape_branch(attempt)
        return 1

    @guarded(calls.reply_instead)
    def TRUNKAUTH(self, _message: object) -> int:
        """The carrier has said no."""
        status, attempt = failure.status_and_attempt()
        if status not in self.concerns:
            calls.passed_on(status, attempt)
        elif failed := self.answer(status, attempt):
            self.after_failure(failed)
        return 1

    @guarded(relay.reply_nothing)
    def REPLY(self, _message: object) -> int:
        """A reply: the caller sees his own CSeq; a first INVITE's shows who the peer is; nonces are learned."""
        status, attempt = reply.status_and_attempt()
        if status == 100:
            return 1
        before = attempt
        if attempt.is_moved and late.is_late():
            self._late(status, attempt)
            return 1
        if attempt.number != attempt.cseq:
            reply.restore_cseq()
        if attempt.sender:
            reply.restore_party("From")
        is_placed = not attempt.in_dialog and attempt.destination != TO_PBX
        if attempt.trunk and is_placed and status not in self.concerns and standings.are_kept():
            standings.note_served(attempt.trunk)
        if status < 300:
            attempt = self._accepted(status, attempt)
        if attempt is not before:
            relay.keep(attempt)
        return 1

    def _accepted(self, status: int, attempt: Attempt) -> Attempt:
        """The carrier, or the PBX, lets the request pass. Return the attempt with what is noted: replies come again."""
        if attempt.method == "INVITE":
            if attempt.destination == TO_PBX:
                nat.mend_answer()
            elif not attempt.in_dialog:
                place.note_peer()
        if attempt.sent:
            responses.note_asked(attempt)
            if self._settings.preemptive:
                attempt = responses.learn(status, attempt)
        if attempt.goes_on and not attempt.is_accepted:
            attempt = attempt._replace(is_accepted=True)  # the caller hears it, and the call goes nowhere else
        return self._answered(status, attempt) if status >= 200 else attempt

    def _answered(self, status: int, attempt: Attempt) -> Attempt:
        """The request has its 2xx. Return the attempt with what is noted."""
        if attempt.is_moved:
            late.note_answered()
        self._dialogs.answered(attempt)
        if attempt.is_limited:
            note = room.note_up_inbound if attempt.destination == TO_PBX else room.note_up
            note(call_of(attempt.sequence), attempt.trunk, int(time.time()))
        if attempt.method != "INVITE":
            return attempt
        if attempt.sent:
            shared.keep_credentials(attempt.sequence, attempt.number, reply.sent_credentials())
        return attempt if attempt.in_dialog or attempt.is_answered else calls.answered(attempt, status)

    @guarded(relay.reply_nothing)
    def PASSED(self, _message: object) -> int:
        """A reply of the PBX to a request from the trunk: the carrier sees its own To, and where the PBX is."""
        reply.restore_party("To")
        nat.mend_contact()
        return 1

    def _late(self, status: int, attempt: Attempt) -> None:
        """End the call that a place has answered after the request went on. Kamailio cancels one that only rings. Once
        the caller has an answer, it gives him this one too, and he ends it himself (RFC 3261 13.2.2.4).
        """
        if not 200 <= status < 300 or attempt.method != "INVITE":
            return
        if late.is_answered():
            reply.restore_cseq()
            reply.restore_party("From")
            return
        api.tell(AnsweredLate(attempt.trunk))
        for one in farewell(late.answer(), self._answering()):
            own.send(one)

    def _answering(self) -> str:
        """Return the l_uuid of the trunk whose carrier has sent the 200 at hand, as its Record-Route says; empty if it
        is a PBX's, or the row is gone.
        """
        try:
            stray = strays.stray()
        except UnicodeDecodeError:
            return ""
        opened = stray and self._dialogs.opened_by(stray)
        if not opened or opened.mark.is_inbound:
            return ""
        trunk = self._trunk_of(opened)
        return trunk.uuid if trunk and self._dialogs.is_of(opened, trunk) else ""

    def STRAY(self, _message: object, _event: object) -> int:
        """A reply that matches no transaction: only the 200 of an INVITE goes on, to or from who may call."""
        return self._stray(_message)

    @guarded(strays.drop)
    def _stray(self, _message: object) -> int:
        stray = strays.stray()
        opened = stray and self._dialogs.opened_by(stray)
        if not (stray and opened):
            strays.drop()
        elif opened.direction is Direction.FROM_TRUNK:
            if not (passage.is_of_listed_pbx() or passage.is_of_called_pbx(opened, self._dialogs.key)):
                strays.drop()
                return 1
            nat.mend_contact()
            if kept := self._kept(stray.own, opened):
                trunk = self._trunk_of(opened)  # what the carrier was told, as the row is now
                uri = trunk.sender(place.uri_of(sender.of_pbx(kept))) if trunk else ""
                edit.set_party("To", f"{identity.told(kept, uri)};tag={stray.to_tag}")
        elif not (strays.goes_to_a_caller(stray) or passage.goes_to_calling_pbx(stray, opened, self._dialogs.key)):
            strays.drop()
        elif (cseq := self._dialogs.cseq_of(opened, stray.cseq)) is not None:
            if cseq != stray.cseq:
                edit.set_cseq(cseq, stray.method)
            if kept := self._kept(stray.own, opened):
                edit.set_party("From", f"{sender.of_pbx(kept)};tag={stray.from_tag}")
        else:
            strays.drop()
        return 1
