"""The SIP flow, from top to bottom: a request comes in, finds its trunk, is relayed, is challenged, is answered.

    ksr_request_route      every request
      in_dialog            what belongs to a call already (loose routing)
      new_request          what starts something: who may, over which trunk, to where
    PREEMPT                the branch route: credentials from the start, where the carrier has told its nonce before
    TRUNKAUTH              the failure route: answers the carrier's 401 or 407, or ends the attempt with 503
    CARRIER, ACCEPTED      the reply routes: who the carrier is, and which nonces it accepts

A handler that raises answers 500 and the worker goes on (`guarded`). The caller never sees a carrier's 401 or 407.
"""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from pathlib import Path
from typing import NamedTuple

from kemi import ksr, nonces
from kemi.auth import digest, session
from kemi.auth.challenge import Challenge, next_nonce
from kemi.replica.keeper import Keeper
from kemi.settings import Settings
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

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
    """The header field that asks for credentials, the one that gives them, and the one that speaks of the next."""

    challenge: str
    answer: str
    info: str


CHALLENGES = {
    401: FieldNames("WWW-Authenticate", "Authorization", "Authentication-Info"),
    407: FieldNames("Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info"),
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
        self._from_the_start: tuple[tuple[str, str], ...] = ()  # header fields of the request that is being relayed

    def child_init(self, rank: int) -> int:
        """Called in every process; SIP workers have a rank of 1 and up, and they alone look for trunks."""
        if rank > 0:
            gc.freeze()  # what the start has made stays: no collection has to walk through it
            self._trunks = TrunkStore(self._settings.local_file, self._settings.source)
        return 0

    @guarded(ksr.reply)
    def ksr_request_route(self, _message: object) -> int:
        """Every request comes in here."""
        if not ksr.is_sane():
            return 1
        method = ksr.method()
        if method == "CANCEL":
            if ksr.belongs_to_transaction():
                ksr.relay()
            return 1
        if ksr.is_retransmission():
            return 1
        if ksr.has_to_tag():
            self.in_dialog(method)
        elif method == "OPTIONS" and ksr.asks_for_us():
            ksr.reply(200, "OK")
        elif method != "ACK":
            self.new_request(method)
        return 1

    def in_dialog(self, method: str) -> None:
        """A request that says it belongs to a dialog, or the ACK of a failure."""
        if not ksr.follows_route():
            if method != "ACK":
                ksr.reply(481, "Call/Transaction Does Not Exist")
            elif ksr.belongs_to_transaction():
                ksr.relay()
            return
        ksr.remove_headers(PRIVATE_HEADERS)
        if ksr.dialog_is_known():
            self._in_known_dialog(method)
        elif ksr.source_may_call():
            if method == "ACK":
                ksr.relay()
            else:
                self._relay("", "", None)
        elif method in HARMLESS:
            self._pass_on()
        else:
            ksr.reply(481, "Call/Transaction Does Not Exist")

    def _in_known_dialog(self, method: str) -> None:
        """A request of a dialog that was set up through this Kamailio."""
        if method == "ACK":
            ksr.correct_ack()
            ksr.relay()
            return
        if not ksr.goes_to_callee():
            self._pass_on()
            return
        if method == "INVITE":
            ksr.note_invite_cseq()
        elif method == "PRACK":
            ksr.correct_rack()
        ksr.keep_cseq_order()
        uuid, carrier = ksr.dialog_trunk() if ksr.source_may_call() else ("", "")
        self._relay(uuid, carrier, self._trunk_towards_carrier(uuid, carrier))

    def _pass_on(self) -> None:
        """Relay a request that no credentials of ours go with."""
        if not ksr.relay():
            ksr.reply(503, "Next Hop Unreachable")

    def new_request(self, method: str) -> None:
        """A request that starts something: an INVITE, a MESSAGE, …"""
        if not self.trunks.is_ready():
            ksr.reply_retry_later(RETRY_AFTER)
            return
        if not ksr.source_may_call():
            ksr.reply(403, "Forbidden")
            return
        if method == "REGISTER":  # with the trunk's credentials it would move the carrier's account to the caller
            ksr.reply_not_allowed(ALLOWED)
            return
        trunk = self._select_trunk()
        if trunk is None:
            ksr.reply(404, "No Trunk")
            return
        self._send_over(trunk, method)

    def _select_trunk(self) -> Trunk | None:
        """The first hit wins; an empty value of the request hits nothing."""
        trunks = self.trunks
        if (asked := ksr.header("X-Trunk")) and (trunk := trunks.by_uuid(asked)):
            return trunk
        user, domain = ksr.caller()
        dialled = ksr.request_domain()
        default = self._settings.default_trunk
        return (
            (trunks.by_caller(user, domain) if user and domain else None)
            or (trunks.by_caller(user, "") if user else None)
            or (trunks.by_dialled_domain(dialled) if dialled else None)
            or (trunks.by_uuid(default) if default else None)
        )

    def _send_over(self, trunk: Trunk, method: str) -> None:
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
        if method in STARTS_DIALOG:
            ksr.add_record_route()
        if method == "INVITE":
            ksr.track_dialog(trunk.uuid, trunk.carrier)
        is_preemptive = self._settings.preemptive
        reply_route = "CARRIER" if method == "INVITE" else "ACCEPTED" if is_preemptive else ""
        self._relay(trunk.uuid, trunk.carrier, trunk if is_preemptive else None, reply_route)

    def _no_trunk(self, trunk: Trunk, reason: str) -> None:
        ksr.warning(f"trunk={trunk.uuid} outcome=unusable reason={reason!r} call-id={ksr.call_id()}")
        ksr.reply(404, "No Trunk")

    def _relay(self, uuid: str, carrier: str, trunk: Trunk | None, reply_route: str = "") -> None:
        """Relay over a trunk to its carrier. trunk: its row, where the request may carry answers from the start.
        reply_route: the handler of the replies; where it is empty, they are read only from a carrier that is known to
        name its next nonce.
        """
        known, counts = nonces.take(nonces.trunk_key(uuid, carrier)) if trunk else nonces.NOTHING
        answered = ""
        if trunk and counts:
            answered, self._from_the_start = _known_answers(known, counts, trunk.credentials)
        if answered:
            ksr.change_branch("PREEMPT")
        if reply_route or known.is_named:
            ksr.listen(reply_route or "ACCEPTED")
        try:
            relayed = ksr.relay_for(ksr.Relayed(uuid, carrier, answered))
        finally:
            self._from_the_start = ()
        if not relayed:
            ksr.warning(f"trunk={uuid} outcome=unreachable call-id={ksr.call_id()}")
            ksr.reply(503, "Next Hop Unreachable")

    def _trunk_towards_carrier(self, uuid: str, carrier: str) -> Trunk | None:
        """The row of a dialog's trunk, if a request inside it may carry answers from the start: it goes to the carrier,
        and the row still names the one that the dialog was set up with.
        """
        if not (uuid and self._settings.preemptive and ksr.goes_to_carrier()):
            return None
        try:
            trunk = self.trunks.by_uuid(uuid)
        except Exception as error:  # a BYE has to go, whatever the file is like
            ksr.error(f"fault={_fault(error)} call-id={ksr.call_id()}")
            return None
        return trunk if trunk and trunk.carrier == carrier else None

    @guarded(ksr.reply_nothing)
    def PREEMPT(self, _message: object) -> int:
        """The request as it goes out for the first time: what is added here is not on what follows a challenge."""
        ksr.add_fields(self._from_the_start)
        return 1

    @guarded(ksr.reply_instead)
    def TRUNKAUTH(self, _message: object) -> int:
        """The carrier has said no. If it asked for credentials, answer; whatever else it said is passed on as it is."""
        status = ksr.failure_status()
        relayed = ksr.relayed()
        answered = session.recalled(relayed.answered)
        turned_down = session.turns_down(status, answered) and not (status == session.FORBIDDEN and ksr.was_let_in())
        if not (turned_down or status in CHALLENGES):
            return 1
        if ksr.is_canceled():
            ksr.reply_instead(487, "Request Terminated")
            return 1
        if turned_down and nonces.turned_down(nonces.trunk_key(relayed.trunk, relayed.carrier), answered):
            ksr.notice(f"trunk={relayed.trunk} outcome='asked first for {nonces.LEFT_ALONE} s' call-id={ksr.call_id()}")
        if status not in CHALLENGES:  # a carrier that refuses what it did not ask for; it may ask now
            ksr.forget_cseq_order()
            ksr.add_credentials(())
            self._relay_again(relayed._replace(answered=""))
            return 1
        trunk = self._trunk_relayed_over(relayed)
        if trunk is None:
            decision: session.Answer | session.GiveUp = session.GiveUp("no trunk that may answer")
        elif not ksr.asks_as_carrier(trunk.carrier, relayed.carrier):
            decision = session.GiveUp("not asked by the trunk's carrier")
        else:
            decision = self._answer_or_give_up(status, trunk, relayed, answered)
        if isinstance(decision, session.Answer):
            _log(ksr.notice, relayed.trunk, decision.challenge, "answered")
        else:
            _log(ksr.warning, relayed.trunk, decision.challenge, f"refused reason={decision.reason!r}")
            ksr.reply_instead(503, "Trunk Authentication Failed")
        return 1

    def _trunk_relayed_over(self, relayed: ksr.Relayed) -> Trunk | None:
        """The row of the trunk, as it is now. Another worker, which relayed, may have seen a change before this one."""
        if not relayed.trunk:
            return None
        trunk = self.trunks.by_uuid(relayed.trunk)
        if trunk is None or trunk.carrier != relayed.carrier:
            self.trunks.look_again()
            trunk = self.trunks.by_uuid(relayed.trunk)
        return trunk

    def _answer_or_give_up(
        self, status: int, trunk: Trunk, relayed: ksr.Relayed, answered: tuple[session.Answered, ...]
    ) -> session.Answer | session.GiveUp:
        """Decide about a challenge, and if it is to be answered, send the request again with credentials."""
        try:
            fields = list(ksr.challenge_fields(CHALLENGES[status].challenge))
        except ksr.UnreadableError:
            return session.GiveUp("a challenge that is not UTF-8")
        credentials = trunk.credentials
        decision = session.decide(status, fields, credentials, answered, ksr.has_readable_body)
        if isinstance(decision, session.GiveUp):
            return decision
        carried = decision.carried
        if relayed.carrier and self._settings.preemptive:
            carried = nonces.count_again(nonces.trunk_key(relayed.trunk, relayed.carrier), carried)
            if ksr.has_to_tag():
                ksr.listen("ACCEPTED")
        by_uac_auth = decision.by_uac_auth and carried[0].nc == 1
        ksr.forget_cseq_order()
        if not (by_uac_auth and ksr.answer_challenge(credentials.username, credentials.password, trunk.realm)):
            ksr.add_credentials(_fields(carried, credentials))
        if not self._relay_again(relayed._replace(answered=session.remembered(carried))):
            return session.GiveUp("next hop unreachable", decision.challenge)
        return decision

    def _relay_again(self, relayed: ksr.Relayed) -> bool:
        """Send the request again, with a CSeq of its own. False: it could not be sent."""
        if ksr.method() == "INVITE":
            ksr.note_invite_cseq()
        return ksr.relay_for(relayed)

    @guarded(ksr.reply_nothing)
    def CARRIER(self, _message: object) -> int:
        """A reply to the INVITE that started a dialog: it shows who the carrier is."""
        status = ksr.reply_status()
        if 100 < status < 300:
            ksr.note_carrier()
            if self._settings.preemptive:
                self._learn(status, is_proof=True)
        return 1

    @guarded(ksr.reply_nothing)
    def ACCEPTED(self, _message: object) -> int:
        """A reply to any other request over a trunk."""
        status = ksr.reply_status()
        if 100 < status < 300:
            self._learn(status, is_proof=ksr.method() != "OPTIONS" and not ksr.is_in_known_dialog())
        return 1

    def _learn(self, status: int, *, is_proof: bool) -> None:
        """What was accepted can be carried from the start next time. status: of the reply that says so. is_proof:
        whether unasked credentials were looked at; few carriers do that with a BYE, or with an OPTIONS. Only the first
        such reply tells: by the time of a later one, the carrier may have turned down the same nonce elsewhere.
        """
        relayed = ksr.relayed()
        answered = session.recalled(relayed.answered)
        if not (answered and relayed.carrier):
            return
        key = nonces.trunk_key(relayed.trunk, relayed.carrier)
        if not ksr.was_let_in():
            ksr.note_let_in()
            if is_proof or any(one.asked for one in answered):
                nonces.accepted(key, answered)
        if status < 200:
            return
        for challenge in {one.status for one in answered}:
            info = ksr.header(CHALLENGES[challenge].info)
            if info and (nonce := next_nonce(info)):
                nonces.replaced(key, answered, challenge, nonce)

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
        """Every reply passes. Kamailio 5.6 needs the handler where its configuration does not switch it off."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Every message is sent. As above."""
        return 1

    @property
    def trunks(self) -> TrunkStore:
        """The process's own store. Raises RuntimeError outside a SIP worker."""
        if self._trunks is None:
            raise RuntimeError("no trunks in this process: child_init has not made it a SIP worker")
        return self._trunks


def _known_answers(
    known: nonces.Record, counts: tuple[int, ...], credentials: session.Credentials
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Of challenges that were accepted before, those that a row can answer in the request at hand: as they are to be
    remembered with it, and the header fields that answer them.
    """
    remembered, answers, cover_body = _answers_ahead(known, credentials)
    if not answers or (cover_body and not ksr.has_readable_body()):
        return "", ()
    try:
        request = _request(cover_body)
    except ksr.UnreadableError:  # it goes as it would have gone without
        return "", ()
    return remembered, tuple(
        [(name, answer.value(request, counts[place], _cnonce())) for place, name, answer in answers]
    )


@lru_cache(maxsize=256)
def _answers_ahead(
    known: nonces.Record, credentials: session.Credentials
) -> tuple[str, tuple[tuple[int, str, digest.Answer], ...], bool]:
    """The part of that which is the same for every request: what is remembered; for each challenge its place, the
    header field, and the answer; whether one of them covers the body.
    """
    carried = session.answerable(known.held, credentials, lambda: True)
    answers = tuple(
        (place, CHALLENGES[one.status].answer, _answer(one, credentials))
        for place, one in enumerate(known.held)
        if one in carried
    )
    return session.remembered(carried), answers, any(answer.covers_body for _, _, answer in answers)


def _answer(one: session.Answered, credentials: session.Credentials) -> digest.Answer:
    qop = session.qop_for(one.challenge, lambda: True) or ""
    return digest.Answer(one.challenge, credentials.username, credentials.ha1_for(one.challenge), qop)


def _fields(carried: Iterable[session.Answered], credentials: session.Credentials) -> list[tuple[str, str]]:
    """The header fields that answer these challenges in the request at hand."""
    answers = [(one, _answer(one, credentials)) for one in carried]
    request = _request(any(answer.covers_body for _, answer in answers))
    return [(CHALLENGES[one.status].answer, answer.value(request, one.nc, _cnonce())) for one, answer in answers]


def _request(cover_body: bool) -> digest.Request:
    """What answers cover: the request at hand."""
    return digest.Request(ksr.method(), ksr.request_uri(), ksr.body() if cover_body else b"")


def _cnonce() -> str:
    return os.urandom(CNONCE_BYTES).hex()


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
