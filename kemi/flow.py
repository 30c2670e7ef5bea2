"""The SIP flow, from top to bottom: a request comes in, finds its trunk, is relayed, is challenged, is answered.

    ksr_request_route      every request
      in_dialog            a request of a dialog (loose routing)
      new_request          anything else: who may call, over which trunk, to where
    BRANCH                 the branch route: shapes the one attempt that goes out now
    TRUNKAUTH              the failure route: answers the carrier's 401 or 407, or ends the request with 503
    INVITE_REPLY           the reply route of a first INVITE: learns the dialog's peer, and what the others learn
    REQUEST_REPLY          the reply route of any other request: learns which nonces the carrier accepts

A new request is prepared once; each attempt to send it is addressed and shaped. Decisions about challenges are made in
auth/session.py, trunks are chosen in trunks/selection.py; the flow carries them out. A handler that raises answers 500,
and the worker goes on. The caller never sees a carrier's 401 or 407.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from kemi import responses
from kemi.auth import nonces, session
from kemi.auth.attempt import CHALLENGES, Attempt
from kemi.auth.codec import Route
from kemi.auth.credentials import Credentials
from kemi.auth.nonces import Record
from kemi.auth.session import Cancelled, PassOn, Refuse, Resend
from kemi.outcome import Answered, Refused, Unreachable, Unusable
from kemi.sip import api, dialog, relay, request, shared
from kemi.sip.api import guarded
from kemi.sip.dialog import Direction
from kemi.sip.request import Incoming
from kemi.trunks.selection import Asked, candidates
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

if TYPE_CHECKING:
    from kemi.settings import Settings

# Never passed on. A caller's credentials are for us at most, and the dialog module takes orders from P-K-CSeq headers.
PRIVATE_HEADERS = ("X-Trunk", "Authorization", "Proxy-Authorization", "P-K-CSeq-Auth", "P-K-CSeq-Refresh")
NOT_FORWARDED = (*PRIVATE_HEADERS[1:], "Route")  # of a new request, whose X-Trunk has been taken off

# Methods an unlisted source may send in an unknown dialog: they end things and start none.
HARMLESS = frozenset({"BYE", "NOTIFY"})

STARTS_DIALOG = frozenset({"INVITE", "SUBSCRIBE", "REFER"})

RETRY_AFTER = 10  # seconds, while there is no copy of the database yet
ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH"


class TrunkAuth:
    """The handlers that app_python3 calls: one instance, copied into every process by fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trunks: TrunkStore | None = None

    def child_init(self, rank: int) -> int:
        """Called in every process; SIP workers have a rank of 1 and up, and they alone look for trunks."""
        if rank > 0:
            gc.freeze()  # the start's objects stay: no collection has to walk through them
            self._trunks = TrunkStore(self._settings.local_file, self._settings.source)
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
        elif incoming.has_to_tag:
            self.in_dialog(incoming)
        elif method == "OPTIONS" and request.asks_for_us():
            relay.reply(200, "OK")
        elif method != "ACK":
            self.new_request(method)
        return 1

    # --- inside a dialog

    def in_dialog(self, incoming: Incoming) -> None:
        """Route a request with a To tag: one of a dialog, or the ACK of a failure."""
        method = incoming.method
        if not request.follows_route():
            if method != "ACK":
                relay.reply(481, "Call/Transaction Does Not Exist")
            elif incoming.belongs_to_transaction:
                relay.relay()
            return
        request.remove_headers(PRIVATE_HEADERS)
        if dialog.is_known():
            self._in_known_dialog(method)
        elif request.source_may_call():
            if method == "ACK":
                relay.relay()
            else:
                self._send(Attempt(method=method, in_dialog=True), None)
        elif method in HARMLESS:
            self._pass_on()
        else:
            relay.reply(481, "Call/Transaction Does Not Exist")

    def _in_known_dialog(self, method: str) -> None:
        """Route a request of a dialog that was set up through this Kamailio."""
        if method == "ACK":
            dialog.correct_ack()
            relay.relay()
            return
        if dialog.direction() is Direction.FROM_TRUNK:
            self._pass_on()
            return
        if method == "INVITE":
            dialog.note_invite()
        elif method == "PRACK":
            dialog.correct_rack()
        dialog.keep_cseq_order()
        route = dialog.route() if request.source_may_call() else Route()
        attempt = Attempt(route.trunk, route.destination, method, in_dialog=True, is_tracked=True)
        self._send(attempt, self._preemptive_in_dialog(attempt))

    def _preemptive_in_dialog(self, attempt: Attempt) -> Credentials | None:
        """Return the credentials for preemptive responses inside a dialog, None unless the request goes to the peer's
        very address, and the trunk's row still has the destination that the dialog was set up with.
        """
        if not (attempt.trunk and self._settings.preemptive and request.next_hop_host() == dialog.peer() != ""):
            return None
        try:
            trunk = self.trunks.by_uuid(attempt.trunk)
        except Exception as error:  # a BYE has to go, whatever state the file is in
            api.error(f"fault={api.fault(error)} call-id={api.call_id()}")
            return None
        return trunk.credentials if trunk and trunk.destination == attempt.destination else None

    def _pass_on(self) -> None:
        """Relay a request that gets no credentials of ours."""
        if not relay.relay():
            relay.reply(503, "Next Hop Unreachable")

    # --- a new request

    def new_request(self, method: str) -> None:
        """Route a request outside a dialog: an INVITE, a MESSAGE, …"""
        trunks = self.trunks
        if not trunks.is_ready():
            relay.reply_with(f"Retry-After: {RETRY_AFTER}", 503, "Service Unavailable")  # RFC 3261 20.33
        elif not request.source_may_call():
            relay.reply(403, "Forbidden")
        elif method == "REGISTER":  # with the trunk's credentials it would move the carrier's account to the caller
            relay.reply_with(f"Allow: {ALLOWED}", 405, "Method Not Allowed")  # RFC 3261 8.2.1
        else:
            asked = request.take_asked()
            if found := candidates(trunks, asked, self._settings.default_trunk):
                self._send_over(found[0], asked, method)
            else:
                relay.reply(404, "No Trunk")

    def _send_over(self, trunk: Trunk, asked: Asked, method: str) -> None:
        """Prepare a new request, and send its first attempt."""
        request.remove_headers(NOT_FORWARDED)
        if fault := self._address(trunk, asked):
            api.tell(Unusable(trunk.uuid, fault))
            relay.reply(404, "No Trunk")
            return
        if method in STARTS_DIALOG:
            request.add_record_route()
        is_tracked = method == "INVITE" and dialog.track(Route(trunk.uuid, trunk.destination))
        attempt = Attempt(trunk.uuid, trunk.destination, method, is_tracked=is_tracked)
        self._send(attempt, trunk.credentials if self._settings.preemptive else None)

    def _address(self, trunk: Trunk, asked: Asked) -> str:
        """Address one attempt over this trunk; return why that cannot be, empty if it can."""
        request.address_to(trunk.request_uri(asked.dialled) if trunk.domain else "", trunk.next_hop, trunk.socket)
        if not trunk.next_hop and request.leads_to_us():
            return "auth_proxy and r_domain are empty and the R-URI is ours"
        if trunk.socket and not request.leaves_from(trunk.socket):
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
        if not relay.send(attempt, self._reply_route(attempt, record)):
            api.tell(Unreachable(attempt.trunk))
            relay.reply(503, "Next Hop Unreachable")

    def _reply_route(self, attempt: Attempt, record: Record) -> str:
        """Return the handler of the replies to a request's attempts, empty if they teach nothing."""
        if attempt.method == "INVITE" and not attempt.in_dialog:
            return "INVITE_REPLY"
        teaches = record.names_next if attempt.in_dialog else self._settings.preemptive
        return "REQUEST_REPLY" if teaches else ""

    @guarded(relay.reply_nothing)
    def BRANCH(self, _message: object) -> int:
        """The one attempt that goes out now: a header added here is on no later one."""
        attempt = relay.attempt()
        if attempt.sent and not attempt.by_uac_auth and (credentials := self._credentials(attempt)):
            responses.add_to_branch(attempt, credentials)
        return 1

    # --- after a failure

    @guarded(relay.reply_instead)
    def TRUNKAUTH(self, _message: object) -> int:
        """The carrier has said no. A challenge is answered or refused, anything else is passed on."""
        status = relay.failure_status()
        if status not in session.CONCERNS:
            return 1
        attempt = relay.attempt()
        credentials = self._credentials(attempt) if status in CHALLENGES else None
        match session.after_failure(relay.failure(status, attempt), attempt, credentials):
            case PassOn():
                pass
            case Cancelled():
                relay.reply_instead(487, "Request Terminated")
            case Refuse() as refusal:
                responses.forget(attempt, refusal.rejected)
                self._refuse(attempt, refusal)
            case Resend() as resend:
                responses.forget(attempt, resend.rejected)
                self._resend(resend, credentials)
        return 1

    def _credentials(self, attempt: Attempt) -> Credentials | None:
        """Return the credentials of the attempt's trunk as its row is now.

        The worker that relayed may have seen a change before this one.
        """
        if not attempt.trunk:
            return None
        trunk = self.trunks.by_uuid(attempt.trunk)
        if trunk is None or trunk.destination != attempt.destination:
            self.trunks.look_again()
            trunk = self.trunks.by_uuid(attempt.trunk)
        return trunk.credentials if trunk else None

    def _refuse(self, attempt: Attempt, refusal: Refuse) -> None:
        api.tell(Refused(attempt.trunk, refusal.challenge, refusal.reason))
        relay.reply_instead(503, "Trunk Authentication Failed")

    def _resend(self, resend: Resend, credentials: Credentials | None) -> None:
        """Send the request again, with a CSeq of its own."""
        attempt, reply_route = resend.attempt, ""
        if attempt.sent and attempt.destination and self._settings.preemptive:
            attempt = responses.counted(attempt)
            resend = resend._replace(attempt=attempt)
            reply_route = "REQUEST_REPLY" if attempt.in_dialog else ""
        if attempt.in_dialog:
            dialog.drop_cseq_order()
        if credentials and resend.suits_uac_auth and relay.answer_by_uac_auth(credentials):
            attempt = attempt._replace(by_uac_auth=True)
            if attempt.is_tracked and attempt.method == "INVITE":
                dialog.note_invite()
        else:
            relay.add_branch()
            if attempt.is_tracked:
                dialog.raise_cseq(attempt.method)
        if not relay.send(attempt, reply_route):
            self._refuse(attempt, Refuse("next hop unreachable", resend.challenge))
        elif resend.challenge:
            api.tell(Answered(attempt.trunk, resend.challenge))

    # --- replies

    @guarded(relay.reply_nothing)
    def INVITE_REPLY(self, _message: object) -> int:
        """A reply to the INVITE that starts a dialog: it shows who the peer is."""
        status = relay.reply_status()
        if 100 < status < 300:
            dialog.note_peer()
            if self._settings.preemptive:
                responses.learn(status, relay.attempt())
        return 1

    @guarded(relay.reply_nothing)
    def REQUEST_REPLY(self, _message: object) -> int:
        """A reply to any other request over a trunk."""
        status = relay.reply_status()
        if 100 < status < 300:
            responses.learn(status, relay.attempt())
        return 1
