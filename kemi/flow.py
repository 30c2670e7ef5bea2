"""The SIP flow, from top to bottom: a request comes in, finds its trunk, is relayed, is challenged, is answered.

    ksr_request_route      every request
      in_dialog            a request of a dialog (loose routing)
      new_request          anything else: who may call, over which trunk, to where
    BRANCH                 the branch route: shapes the one attempt that goes out now
    TRUNKAUTH              the failure route: answers the carrier's 401 or 407, or ends the request with 503
    REPLY                  the reply route: gives the caller his own CSeq, learns the dialog's peer and the nonces

A new request is prepared once; each attempt to send it is addressed and shaped. Decisions about challenges are made in
auth/session.py, trunks are chosen in trunks/selection.py; the flow carries them out. A handler that raises answers 500,
and the worker goes on. The caller never sees a carrier's 401 or 407.
"""

from __future__ import annotations

import gc
import secrets
from typing import TYPE_CHECKING

from kemi import key, memory, nexthop, responses
from kemi.auth import nonces, session
from kemi.auth.attempt import CHALLENGES, Attempt
from kemi.auth.credentials import Credentials
from kemi.auth.session import Cancelled, PassOn, Refuse, Resend
from kemi.cseq import rack as with_cseq
from kemi.cseq import rack_cseq
from kemi.dialogs import STARTS_DIALOG, Dialogs, Opened
from kemi.mark import Direction
from kemi.outcome import Answered, Refused, Unreachable, Unusable
from kemi.sip import api, dialog, edit, failure, relay, request, shared
from kemi.sip.api import guarded
from kemi.sip.request import Incoming
from kemi.trunks.selection import Asked, candidates
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

if TYPE_CHECKING:
    from kemi.settings import Settings

# Never passed on: orders to us, and a caller's credentials, which are for us at most.
PRIVATE_HEADERS = ("X-Trunk", "Authorization", "Proxy-Authorization")
NOT_FORWARDED = (*PRIVATE_HEADERS[1:], "Route")  # of a new request, whose X-Trunk has been taken off

ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH"


class TrunkAuth:
    """The handlers that app_python3 calls: one instance, copied into every process by fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dialogs = Dialogs(key.load(settings.key_file), run=secrets.randbits(32))
        self._trunks: TrunkStore | None = None

    def child_init(self, rank: int) -> int:
        """Called in every process; SIP workers have a rank of 1 and up, and they alone look for trunks."""
        if rank > 0:
            gc.freeze()  # the start's objects stay: no collection has to walk through them
            self._trunks = TrunkStore(self._settings.local_file, self._settings.db_url, self._settings.names_file)
        return 0

    @property
    def trunks(self) -> TrunkStore:
        """The process's own store. Raises RuntimeError outside a SIP worker."""
        if self._trunks is None:
            raise RuntimeError("no trunks in this process: child_init has not made it a SIP worker")
        return self._trunks

    @guarded(relay.reply)
    def ksr_request_route(self, _message: object) -> int:
        """Every request comes in here."""
        incoming = request.incoming()
        if incoming is None:
            return 1
        method = incoming.method
        if method == "CANCEL":
            if incoming.belongs_to_transaction:
                relay.relay()
        elif incoming.to_tag:
            self.in_dialog(incoming)
        elif method == "OPTIONS" and request.asks_for_us():
            if memory.is_full() or not self.trunks.can_be_read():
                relay.reply_try_later()
            else:
                relay.reply(200, "OK")
        elif method != "ACK":
            self.new_request(incoming)
        return 1

    # --- inside a dialog

    def in_dialog(self, incoming: Incoming) -> None:
        """Route a request with a To tag: one of a dialog, or the ACK of a failure."""
        if request.follows_route() and (opened := self._dialogs.opened(incoming)):
            edit.remove_headers(PRIVATE_HEADERS)
            if (host := nexthop.settled(self.trunks)) is None:
                return
            if opened.direction is Direction.FROM_TRUNK:
                self._pass_on()
            elif incoming.method == "ACK":
                self._acknowledge(incoming, opened)
            else:
                self._send_inside(incoming, opened, host)
        elif incoming.method != "ACK":
            relay.reply(481, "Call/Transaction Does Not Exist")
        elif incoming.belongs_to_transaction:
            relay.relay()

    def _acknowledge(self, incoming: Incoming, opened: Opened) -> None:
        """Relay the ACK of a success, with the CSeq of its INVITE."""
        number = self._dialogs.number_of_invite(opened, incoming.cseq)
        if number != incoming.cseq:
            edit.set_cseq(number, "ACK")
        relay.relay()

    def _send_inside(self, incoming: Incoming, opened: Opened, host: str) -> None:
        """Send a request of a dialog to its trunk, at this address."""
        if incoming.method == "PRACK" and (invite := rack_cseq(rack := request.header("RAck"))):
            edit.set_rack(with_cseq(rack, self._dialogs.number_of_invite(opened, invite)))
        trunk = self._trunk_of(opened) if request.source_may_call() else None
        attempt = self._dialogs.inside(incoming, opened, trunk)
        can_be_preemptive = trunk and trunk.destination == attempt.destination and self._settings.preemptive
        if trunk and can_be_preemptive and host in dialog.peers(self.trunks.addresses(trunk)):
            self._send(attempt, trunk.credentials)
        else:
            self._send(attempt, None)

    def _trunk_of(self, opened: Opened) -> Trunk | None:
        """Return the trunk of a dialog, None if its row is gone."""
        row = opened.mark.row
        try:
            trunk = self.trunks.by_row(row)
            if trunk is None or not self._dialogs.is_of(opened, trunk):
                self.trunks.look_again()  # the worker that set the dialog up may have seen a change before us
                trunk = self.trunks.by_row(row)
        except Exception as error:  # a BYE has to go, whatever state the file is in
            api.error(f"fault={api.fault(error)} call-id={api.call_id()}")
            return None
        return trunk

    def _pass_on(self) -> None:
        """Relay a request that gets no credentials of ours."""
        if not relay.relay():
            relay.reply(503, "Next Hop Unreachable")

    # --- a new request

    def new_request(self, incoming: Incoming) -> None:
        """Route a request outside a dialog: an INVITE, a MESSAGE, …"""
        trunks = self.trunks
        if memory.is_full() or not trunks.is_ready():
            relay.reply_try_later()
        elif not request.source_may_call():
            relay.reply(403, "Forbidden")
        elif incoming.method == "REGISTER":  # with the trunk's credentials it would move the carrier's account
            relay.reply_with(f"Allow: {ALLOWED}", 405, "Method Not Allowed")  # RFC 3261 8.2.1
        elif not incoming.dialled:
            relay.reply(400, "Not UTF-8")
        else:
            asked = Asked(request.take_trunk(), incoming.caller, incoming.dialled)
            if found := candidates(trunks, asked, self._settings.default_trunk):
                self._send_over(found[0], incoming)
            else:
                relay.reply(404, "No Trunk")

    def _send_over(self, trunk: Trunk, incoming: Incoming) -> None:
        """Prepare a new request, and send its first attempt."""
        method = incoming.method
        edit.remove_headers(NOT_FORWARDED)
        if (next_hop := nexthop.of_trunk(self.trunks, trunk)) is None:
            return
        if fault := trunk.fault or self._address(trunk, incoming, next_hop):
            api.tell(Unusable(trunk.uuid, fault))
            relay.reply(404, "No Trunk")
            return
        if not trunk.target.host and nexthop.settled(self.trunks) is None:
            return
        if method in STARTS_DIALOG:
            edit.add_record_route()
        if method == "INVITE":
            dialog.track()
        attempt = self._dialogs.new(incoming, trunk)
        self._send(attempt, trunk.credentials if self._settings.preemptive else None)

    def _address(self, trunk: Trunk, incoming: Incoming, next_hop: str) -> str:
        """Address one attempt over this trunk; return why that cannot be, empty if it can."""
        edit.address_to(trunk.request_uri(incoming.dialled) if trunk.domain else "", next_hop, trunk.socket)
        if not trunk.next_hop and request.leads_to_us():
            return "auth_proxy and r_domain are empty and the R-URI is ours"
        if trunk.socket and not edit.leaves_from(trunk.socket):
            return "socket is not one that Kamailio listens on"
        return ""

    # --- an attempt

    def _send(self, attempt: Attempt, credentials: Credentials | None) -> None:
        """Send the first attempt of a request. credentials: for preemptive responses, None if there may be none."""
        record = nonces.UNKNOWN
        if credentials:
            record = shared.record(attempt.trunk, attempt.destination)
            if record.held:
                attempt = responses.preemptive(attempt, record, credentials)
        is_first_invite = attempt.method == "INVITE" and not attempt.in_dialog
        teaches = record.names_next if attempt.in_dialog else self._settings.preemptive
        if is_first_invite or teaches or attempt.number != attempt.cseq:
            relay.listen()
        if not relay.send(attempt):
            api.tell(Unreachable(attempt.trunk))
            relay.reply(503, "Next Hop Unreachable")

    @guarded(relay.reply_nothing)
    def BRANCH(self, _message: object) -> int:
        """The one attempt that goes out now: what is changed here is so on no later one."""
        attempt = relay.attempt()
        try:
            if attempt.sent and not attempt.by_uac_auth and (trunk := self._trunk_now(attempt)):
                responses.add_to_branch(attempt, trunk.credentials)
        finally:  # whatever the responses came to, the numbers have to be right
            relay.shape_branch(attempt)
        return 1

    # --- after a failure

    @guarded(failure.reply_instead)
    def TRUNKAUTH(self, _message: object) -> int:
        """The carrier has said no. A challenge is answered or refused, anything else is passed on."""
        status = failure.status()
        if status not in session.CONCERNS:
            return 1
        attempt = relay.attempt()
        trunk = self._trunk_now(attempt) if status in CHALLENGES else None
        credentials = trunk.credentials if trunk else None
        facts = failure.facts(status, attempt, self.trunks.addresses(trunk) if trunk else frozenset())
        match session.after_failure(facts, attempt, credentials):
            case PassOn():
                pass
            case Cancelled():
                failure.reply_instead(487, "Request Terminated")
            case Refuse() as refusal:
                responses.forget(attempt, refusal.rejected)
                self._refuse(attempt, refusal)
            case Resend() as resend:
                responses.forget(attempt, resend.rejected)
                self._resend(resend, credentials)
        return 1

    def _trunk_now(self, attempt: Attempt) -> Trunk | None:
        """Return the attempt's trunk as its row is now. The worker that relayed may have seen a change before us."""
        if not attempt.trunk:
            return None
        trunk = self.trunks.by_uuid(attempt.trunk)
        if trunk is None or trunk.destination != attempt.destination:
            self.trunks.look_again()
            trunk = self.trunks.by_uuid(attempt.trunk)
        return trunk

    def _refuse(self, attempt: Attempt, refusal: Refuse) -> None:
        api.tell(Refused(attempt.trunk, refusal.challenge, refusal.reason))
        failure.reply_instead(503, "Trunk Authentication Failed")

    def _resend(self, resend: Resend, credentials: Credentials | None) -> None:
        """Send the request again, with a CSeq of its own."""
        attempt = resend.attempt
        if attempt.sent and attempt.destination:
            attempt = responses.counted(attempt)
            resend = resend._replace(attempt=attempt)
        attempt = self._dialogs.again(attempt)
        if credentials and resend.suits_uac_auth and failure.answer_by_uac_auth(credentials):
            attempt = attempt._replace(by_uac_auth=True)
        else:
            failure.add_branch()
        relay.listen()
        if not failure.resend(attempt):
            self._refuse(attempt, Refuse("next hop unreachable", resend.challenge))
        else:
            for challenge in resend.challenges:
                api.tell(Answered(attempt.trunk, challenge))

    # --- replies

    @guarded(relay.reply_nothing)
    def REPLY(self, _message: object) -> int:
        """A reply: the caller sees his own CSeq; a first INVITE's shows who the peer is; nonces are learned."""
        status = relay.reply_status()
        if status == 100:
            return 1
        attempt = relay.attempt()
        if attempt.number != attempt.cseq:
            relay.restore_cseq()
        if status < 300:
            if attempt.method == "INVITE" and not attempt.in_dialog:
                dialog.note_peer()
            if self._settings.preemptive:
                responses.learn(status, attempt)
        if 200 <= status < 300 and attempt.method == "BYE":
            shared.forget_sequence(attempt.sequence)
        return 1
