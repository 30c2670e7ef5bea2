"""Places a request: a new one finds its trunk, an attempt goes out, and a failure is followed by another one or by the
last word.

A new request is prepared once; each attempt to send it is addressed and shaped. Decisions about challenges are made in
auth/session.py, trunks are chosen in trunks/selection.py; what they decide is carried out here.
"""

from __future__ import annotations

import gc
import secrets
from typing import TYPE_CHECKING

from kemi import key, memory, nexthop, rate, responses
from kemi.auth import nonces, session
from kemi.auth.attempt import CHALLENGES, Attempt
from kemi.auth.credentials import Credentials
from kemi.auth.session import Cancelled, PassOn, Refuse, Resend
from kemi.dialogs import STARTS_DIALOG, Dialogs
from kemi.outcome import Answered, Refused, Unreachable, Unusable
from kemi.sip import api, dialog, edit, failure, relay, request, shared
from kemi.sip.request import Incoming
from kemi.trunks.places import Place, Places
from kemi.trunks.selection import Asked, candidates
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

if TYPE_CHECKING:
    from kemi.settings import Settings

# Never passed on: a caller's credentials, which are for us at most. X-Trunk has been taken off.
NOT_FORWARDED = ("Authorization", "Proxy-Authorization", "Route")

ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH"


class Placing:
    """Sends requests over trunks. One instance, copied into every process by fork."""

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

    # --- a new request

    def new_request(self, incoming: Incoming) -> None:
        """Route a request outside a dialog: an INVITE, a MESSAGE, …"""
        trunks = self.trunks
        if memory.is_full() or not trunks.is_ready():
            relay.reply_try_later()
        elif not request.source_may_call():
            relay.reply(403, "Forbidden")
        elif incoming.method == "INVITE" and rate.is_over(self._settings.max_cps):
            relay.reply_try_later(1)
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
        if (there := Place() if trunk.destination else nexthop.settled(self.trunks)) is None:
            return
        if method in STARTS_DIALOG:
            edit.add_record_route()
        if method == "INVITE":
            dialog.track()
        attempt = self._dialogs.new(incoming, trunk)
        if not trunk.destination:
            attempt = nexthop.bound(attempt, self.trunks.places(trunk), there)
        self.send(attempt, trunk.credentials if self._settings.preemptive else None)

    def _address(self, trunk: Trunk, incoming: Incoming, next_hop: str) -> str:
        """Address one attempt over this trunk; return why that cannot be, empty if it can."""
        uri = trunk.request_uri(incoming.dialled) if trunk.domain else ""
        edit.address_to(uri, next_hop or (uri and trunk.hop_of(uri)), trunk.socket)
        if not trunk.next_hop and request.leads_to_us():
            return "auth_proxy and r_domain are empty and the R-URI is ours"
        if trunk.socket and not edit.leaves_from(trunk.socket):
            return "socket is not one that Kamailio listens on"
        return ""

    # --- an attempt

    def send(self, attempt: Attempt, credentials: Credentials | None) -> None:
        """Send the first attempt of a request. credentials: for preemptive responses, None if there may be none."""
        record = nonces.UNKNOWN
        if credentials:
            record = shared.record(attempt.trunk, attempt.destination)
            if record.held:
                attempt = responses.preemptive(attempt, record, credentials)
        is_heard = attempt.method == "INVITE" and (attempt.sent or not attempt.in_dialog)
        teaches = record.names_next if attempt.in_dialog else self._settings.preemptive
        if is_heard or teaches or attempt.number != attempt.cseq:
            relay.listen()
        if not relay.send(attempt):
            api.tell(Unreachable(attempt.trunk))
            relay.reply(503, "Next Hop Unreachable")

    # --- after a failure

    def after_failure(self, status: int) -> None:
        """Answer or refuse a challenge; pass anything else on."""
        attempt = relay.attempt()
        trunk = self.trunk_now(attempt) if status in CHALLENGES else None
        credentials = trunk.credentials if trunk else None
        places = nexthop.of_dialog(self.trunks, trunk) if trunk and attempt.in_dialog else Places()
        facts = failure.facts(status, attempt, places)
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

    def trunk_now(self, attempt: Attempt) -> Trunk | None:
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
