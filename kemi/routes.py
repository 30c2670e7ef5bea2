"""The SIP flow, from top to bottom: a request comes in, finds its trunk, is relayed, is challenged, is answered.

    ksr_request_route      every request
      in_dialog            what belongs to a call already (loose routing)
      new_request          what starts something: who may, over which trunk, to where
    TRUNKAUTH              the failure route: answers the carrier's 401 or 407, or ends the attempt with 503

A handler that raises answers 500 and the worker goes on (`guarded`). The caller never sees a carrier's 401 or 407.
"""

from __future__ import annotations

import os
import secrets
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import NamedTuple

from kemi import digest, ksr, policy
from kemi.challenge import Challenge
from kemi.keeper import Keeper
from kemi.settings import Settings
from kemi.trunks import Trunk, TrunkStore

# Never passed on. A caller's credentials are for us at most, and the dialog module takes orders from P-K-CSeq headers.
PRIVATE_HEADERS = ("X-Trunk", "Authorization", "Proxy-Authorization", "P-K-CSeq-Auth", "P-K-CSeq-Refresh")

# What may pass from a source that is not listed, in a dialog that is not known: it can end things, but start none.
HARMLESS = frozenset({"BYE", "NOTIFY"})

STARTS_DIALOG = frozenset({"INVITE", "SUBSCRIBE", "REFER"})

CNONCE_BYTES = 16

KEEPER_NICENESS = 10  # a large sync must not take the processor from calls

RETRY_AFTER = 10  # seconds, where the database has never been reached yet

ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH"


class FieldNames(NamedTuple):
    """The header field that asks for credentials, and the one that gives them."""

    challenge: str
    answer: str


CHALLENGES = {
    401: FieldNames("WWW-Authenticate", "Authorization"),
    407: FieldNames("Proxy-Authenticate", "Proxy-Authorization"),
}

Handler = Callable[["TrunkAuth", object], int]


def guarded(fail: Callable[[int, str], None]) -> Callable[[Handler], Handler]:
    """Make a handler safe to call: whatever it raises is logged with the Call-ID and answered through `fail`.

    SystemExit passes: it is KEMI's way of saying exit.
    """

    def wrap(handler: Handler) -> Handler:
        @wraps(handler)
        def run(self: TrunkAuth, message: object) -> int:
            try:
                return handler(self, message)
            except ksr.UnreadableError:
                fail(400, "Not UTF-8")
            except Exception as error:
                ksr.error(f"fault={_fault(error)} call-id={ksr.call_id()}")
                fail(500, "Internal Server Error")
            return 1

        return run

    return wrap


class TrunkAuth:
    """The handlers that app_python3 calls: one instance, copied into every process by fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trunks: TrunkStore | None = None
        self._keeper: Keeper | None = None
        self._addresses_changed = False

    def child_init(self, rank: int) -> int:
        """Called in every process; SIP workers have a rank of 1 and up, and they alone look for trunks."""
        if rank > 0:
            self._trunks = TrunkStore(self._settings.local_file, self._settings.source)
        return 0

    @guarded(ksr.reply)
    def ksr_request_route(self, _message: object) -> int:
        """Every request comes in here."""
        if not ksr.is_sane():
            return 1
        if ksr.method() == "CANCEL":
            if ksr.belongs_to_transaction():
                ksr.relay()
            return 1
        if ksr.is_retransmission():
            return 1
        if ksr.has_to_tag():
            self.in_dialog()
        elif ksr.method() == "OPTIONS" and ksr.asks_for_us():
            ksr.reply(200, "OK")
        elif ksr.method() != "ACK":
            self.new_request()
        return 1

    def in_dialog(self) -> None:
        """A request that says it belongs to a dialog, or the ACK of a failure."""
        if not ksr.follows_route():
            if ksr.method() != "ACK":
                ksr.reply(481, "Call/Transaction Does Not Exist")
            elif ksr.belongs_to_transaction():
                ksr.relay()
            return
        ksr.remove_headers(PRIVATE_HEADERS)
        known, listed = ksr.dialog_is_known(), ksr.source_may_call()
        if not (known or listed or ksr.method() in HARMLESS):
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif ksr.method() == "ACK":
            if known and ksr.goes_to_callee():
                ksr.correct_ack()
            ksr.relay()
        elif listed and not known:
            self._relay("")
        elif known and ksr.goes_to_callee():
            if ksr.method() == "INVITE":
                ksr.note_invite_cseq()
            elif ksr.method() == "PRACK":
                ksr.correct_rack()
            ksr.keep_cseq_order()
            self._relay(ksr.dialog_trunk() if listed else "")
        elif not ksr.relay():
            ksr.reply(503, "Next Hop Unreachable")

    def new_request(self) -> None:
        """A request that starts something: an INVITE, a MESSAGE, …"""
        if not self.trunks.is_ready():
            ksr.reply_retry_later(RETRY_AFTER)
            return
        if not ksr.source_may_call():
            ksr.reply(403, "Forbidden")
            return
        if ksr.method() == "REGISTER":  # with the trunk's credentials it would move the carrier's account to the caller
            ksr.reply_not_allowed(ALLOWED)
            return
        trunk = self._select_trunk()
        if trunk is None:
            ksr.reply(404, "No Trunk")
            return
        self._send_over(trunk)

    def _select_trunk(self) -> Trunk | None:
        """The first hit wins; an empty value of the request hits nothing."""
        user, domain = ksr.caller()
        dialled = ksr.request_domain()
        asked = ksr.header("X-Trunk")
        default = self._settings.default_trunk
        trunks = self.trunks
        return (
            (trunks.by_uuid(asked) if asked else None)
            or (trunks.by_caller(user, domain) if user and domain else None)
            or (trunks.by_caller(user, "") if user else None)
            or (trunks.by_dialled_domain(dialled) if dialled else None)
            or (trunks.by_uuid(default) if default else None)
        )

    def _send_over(self, trunk: Trunk) -> None:
        """Address the request to the trunk's carrier and relay it."""
        ksr.remove_headers((*PRIVATE_HEADERS, "Route"))
        if trunk.domain:
            ksr.set_request_uri(trunk.request_uri(ksr.request_uri()))
        if trunk.next_hop:
            ksr.set_next_hop(trunk.next_hop)
        elif ksr.leads_to_us():
            self._no_trunk(trunk, "auth_proxy and r_domain are empty and the R-URI is ours")
            return
        if trunk.socket and not ksr.set_socket(trunk.socket):
            self._no_trunk(trunk, "socket is not one that Kamailio listens on")
            return
        if ksr.method() in STARTS_DIALOG:
            ksr.add_record_route()
        if ksr.method() == "INVITE":
            ksr.track_dialog(trunk.uuid)
        ksr.note_destination(trunk.carrier)
        self._relay(trunk.uuid)

    def _no_trunk(self, trunk: Trunk, reason: str) -> None:
        ksr.warning(f"trunk={trunk.uuid} outcome=unusable reason={reason!r} call-id={ksr.call_id()}")
        ksr.reply(404, "No Trunk")

    def _relay(self, trunk: str) -> None:
        if not ksr.relay_for(trunk):
            ksr.warning(f"trunk={trunk} outcome=unreachable call-id={ksr.call_id()}")
            ksr.reply(503, "Next Hop Unreachable")

    @guarded(ksr.reply_instead)
    def TRUNKAUTH(self, _message: object) -> int:
        """The carrier has said no. If it asked for credentials, answer; whatever else it said is passed on as it is."""
        status = ksr.failure_status()
        if status not in CHALLENGES:
            return 1
        if ksr.is_canceled():
            ksr.reply_instead(487, "Request Terminated")
            return 1
        uuid = ksr.relayed_trunk()
        trunk = self.trunks.by_uuid(uuid) if uuid else None
        if trunk is None:
            decision: policy.Answer | policy.GiveUp = policy.GiveUp("no trunk that may answer")
        elif not ksr.asks_as_carrier(trunk.carrier):
            decision = policy.GiveUp("not asked by the trunk's carrier")
        else:
            decision = self._answer_or_give_up(status, trunk)
        if isinstance(decision, policy.Answer):
            _log(ksr.notice, uuid, decision.challenge, "answered")
        else:
            _log(ksr.warning, uuid, decision.challenge, f"refused reason={decision.reason!r}")
            ksr.reply_instead(503, "Trunk Authentication Failed")
        return 1

    def _answer_or_give_up(self, status: int, trunk: Trunk) -> policy.Answer | policy.GiveUp:
        """Decide about a challenge, and if it is to be answered, send the request again with credentials."""
        try:
            fields = list(ksr.challenge_fields(CHALLENGES[status].challenge))
        except ksr.UnreadableError:
            return policy.GiveUp("a challenge that is not UTF-8")
        credentials = policy.Credentials(trunk.realm, trunk.auth_username, trunk.auth_password, trunk.auth_ha1)
        body = ksr.body()
        answered = policy.recalled(ksr.answered_challenges())
        decision = policy.decide(status, fields, credentials, answered, has_body=body is not None)
        if isinstance(decision, policy.GiveUp):
            return decision
        ksr.forget_cseq_order()
        if not (decision.by_uac_auth and ksr.answer_challenge(credentials.username, credentials.password, trunk.realm)):
            request = digest.Request(ksr.method(), ksr.request_uri(), body)
            ksr.add_credentials(_fields(decision.carried, credentials, request))
        if ksr.method() == "INVITE":
            ksr.note_invite_cseq()
        if not ksr.relay_for(trunk.uuid, policy.remembered(decision.carried)):
            return policy.GiveUp("next hop unreachable", decision.challenge)
        return decision

    @guarded(ksr.reply_nothing)
    def CARRIER(self, _message: object) -> int:
        """A reply to the INVITE that started a dialog: it shows who the carrier is."""
        ksr.note_carrier()
        return 1

    def REPLICA(self, _message: object, _event: object) -> int:
        """Twice a second, in a process of its own: keep the copy of the database, and pass on what changed."""
        try:
            self._keep_copy()
        except Exception as error:
            ksr.error(f"fault={_fault(error)} in=REPLICA")
        return 1

    def _keep_copy(self) -> None:
        if self._keeper is None:
            os.setpriority(os.PRIO_PROCESS, 0, KEEPER_NICENESS)
            self._keeper = Keeper(self._settings.local_file, self._settings.source, self._settings.compare_interval)
        report = self._keeper.tick()
        for is_warning, line in report.lines:
            (ksr.warning if is_warning else ksr.notice)(line)
        for uuid in report.registrations:
            if not ksr.refresh_registration(uuid):
                ksr.warning(f"trunk={uuid!r} outcome=unregistered reason='uac.reg_refresh failed'")
        self._addresses_changed = self._addresses_changed or report.addresses
        if self._addresses_changed:
            self._addresses_changed = not ksr.reload_addresses()

    def ksr_reply_route(self, _message: object) -> int:
        """Every reply passes. Kamailio 5.6 needs the handler to exist."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Every message is sent. Kamailio 5.6 needs the handler to exist."""
        return 1

    @property
    def trunks(self) -> TrunkStore:
        """The process's own store. Raises RuntimeError outside a SIP worker."""
        if self._trunks is None:
            raise RuntimeError("no trunks in this process: child_init has not made it a SIP worker")
        return self._trunks


def _fields(
    carried: Iterable[policy.Answered], credentials: policy.Credentials, request: digest.Request
) -> Iterator[tuple[str, str]]:
    """The header fields that answer these challenges."""
    for one in carried:
        value = digest.authorization(
            one.challenge,
            request,
            username=credentials.username,
            ha1=credentials.ha1_for(one.challenge),
            qop=policy.qop_for(one.challenge, request.body is not None) or "",
            count=one.count,
            cnonce=secrets.token_hex(CNONCE_BYTES),
        )
        yield CHALLENGES[one.status].answer, value


def _log(write: Callable[[str], None], trunk: str, about: Challenge | None, outcome: str) -> None:
    """The one line for an answered or refused challenge: trunk, realm, algorithm, outcome, Call-ID."""
    realm = about.realm if about else ""
    algorithm = (about.algorithm or "MD5") if about else ""
    write(f"trunk={trunk} realm={realm!r} algorithm={algorithm!r} outcome={outcome} call-id={ksr.call_id()}")


def _fault(error: Exception) -> str:
    """Where and what an exception is, in one line and without its text, which may quote the message or the database."""
    frames = traceback.extract_tb(error.__traceback__)
    where = "<".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}@{where}"
