"""The SIP flow, from top to bottom: a request comes in, finds its trunk, is relayed, is challenged, is answered.

    ksr_request_route      every request
      in_dialog            what belongs to a call already (loose routing)
      new_request          what starts something: who may, over which trunk, to where
    TRUNKAUTH              the failure route: answers the carrier's 401 or 407, or ends the attempt with 503

A handler that raises answers 500 and the worker goes on (`guarded`). The caller never sees a carrier's 401 or 407.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from kemi import challenge, ksr, policy
from kemi.settings import Settings
from kemi.trunks import Trunk, TrunkStore, open_engine

# Never passed on. A caller's credentials are for us at most, and the dialog module takes orders from P-K-CSeq headers.
PRIVATE_HEADERS = ("X-Trunk", "Authorization", "Proxy-Authorization", "P-K-CSeq-Auth", "P-K-CSeq-Refresh")

# What may pass from a source that is not listed, in a dialog that is not known: it can end things, but start none.
HARMLESS = frozenset({"BYE", "NOTIFY"})

STARTS_DIALOG = frozenset({"INVITE", "SUBSCRIBE", "REFER"})

ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH"

CHALLENGES = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}

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

    def child_init(self, rank: int) -> int:
        """Called in every process; SIP workers have a rank of 1 and up, and they alone look for trunks."""
        if rank > 0:
            self._trunks = TrunkStore(open_engine(self._settings.db_url))
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
        if ksr.method() == "ACK":
            ksr.relay()
            return
        known, listed = ksr.dialog_is_known(), ksr.source_may_call()
        if not (known or listed or ksr.method() in HARMLESS):
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif known and ksr.goes_to_callee():
            ksr.keep_cseq_order()
            self._relay(ksr.dialog_trunk() if listed else "")
        elif not ksr.relay():
            ksr.reply(503, "Next Hop Unreachable")

    def new_request(self) -> None:
        """A request that starts something: an INVITE, a MESSAGE, …"""
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
        decision = self._decide(trunk, CHALLENGES[status])
        if isinstance(decision, policy.Answer) and trunk:
            decision = self._answer(trunk, decision)
        if isinstance(decision, policy.GiveUp):
            _log(ksr.warning, uuid, decision.challenge, f"refused reason={decision.reason!r}")
            ksr.reply_instead(503, "Trunk Authentication Failed")
        return 1

    def _decide(self, trunk: Trunk | None, field_name: str) -> policy.Answer | policy.GiveUp:
        if trunk is None:
            return policy.GiveUp("no trunk that may answer")
        challenges: list[challenge.Challenge] = []
        try:
            for field in ksr.challenge_fields(field_name):
                parsed = challenge.parse(field)
                if len(parsed) > 1:  # uac_auth() would take them for one
                    return policy.GiveUp("several challenges in one field", parsed[0])
                challenges += parsed
        except ksr.UnreadableError:
            return policy.GiveUp("a challenge that is not UTF-8")
        except challenge.ChallengeError as error:
            return policy.GiveUp(f"a challenge with {error}")
        credentials = policy.Credentials(trunk.realm, trunk.auth_username, trunk.auth_password)
        return policy.decide(challenges, credentials, ksr.answered_challenges())

    def _answer(self, trunk: Trunk, answer: policy.Answer) -> policy.Answer | policy.GiveUp:
        """Send the request again with credentials, or say why that could not be."""
        ksr.forget_cseq_order()
        if not ksr.answer_challenge(trunk.auth_username, trunk.auth_password, trunk.realm):
            return policy.GiveUp("not the challenge that uac_auth answers", answer.challenge)
        if not ksr.relay_for(trunk.uuid, ksr.answered_challenges() + 1):
            return policy.GiveUp("next hop unreachable", answer.challenge)
        _log(ksr.notice, trunk.uuid, answer.challenge, "answered")
        return answer

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


def _log(write: Callable[[str], None], trunk: str, about: challenge.Challenge | None, outcome: str) -> None:
    """The one line for an answered or refused challenge: trunk, realm, algorithm, outcome, Call-ID."""
    realm = about.realm if about else ""
    algorithm = about.hash_name if about else ""
    write(f"trunk={trunk} realm={realm!r} algorithm={algorithm!r} outcome={outcome} call-id={ksr.call_id()}")


def _fault(error: Exception) -> str:
    """Where and what an exception is, in one line and without its text, which may quote the message or the database."""
    frames = traceback.extract_tb(error.__traceback__)
    where = "<".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__}@{where}"
