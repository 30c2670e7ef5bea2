"""What follows a failure: an answer to a challenge, the next place, or the last word.

Decided in auth/session.py; carried out here.
"""

from __future__ import annotations

from typing import NamedTuple

from kemi.auth import session
from kemi.auth.attempt import CHALLENGES, TO_PBX, Attempt
from kemi.auth.challenge import Challenge
from kemi.auth.credentials import Credentials
from kemi.auth.resend import NO_ROOM
from kemi.auth.session import Cancelled, Decision, Failure, NextTrunk, PassOn, Refuse, Resend
from kemi.flow import calls, large, limits, nexthop, responses, standings
from kemi.flow.receiving import Receiving
from kemi.outcome import Answered, NextTried, Refused, Unreachable, Unusable
from kemi.sip import api, failure, moving, place, relay, tcp
from kemi.trunks.large import OR_UDP
from kemi.trunks.places import Places
from kemi.trunks.plan import (
    FULL,
    NOTHING,
    REFUSED,
    SERVICE_UNAVAILABLE,
    SILENT,
    UNREACHABLE,
    UNUSABLE,
    Plan,
    Word,
    best,
)
from kemi.trunks.secure import TLS


class Unanswered(NamedTuple):
    """A failure that is no challenge to answer, of this attempt, and what has been decided about it."""

    attempt: Attempt
    facts: Failure
    decision: PassOn | Cancelled | Refuse | NextTrunk


class GoingOn(Receiving):
    """Goes on with requests that a place did not take."""

    def answer(self, status: int, attempt: Attempt) -> Unanswered | None:
        """Answer a challenge to this attempt: send it again. Return the failure, if there is nothing to answer."""
        trunk = self.trunk_now(attempt) if status in CHALLENGES and attempt.destination != TO_PBX else None
        credentials = trunk.credentials if trunk else None
        places = nexthop.of_dialog(self.trunks, trunk) if trunk and attempt.in_dialog else Places()
        facts = failure.facts(status, attempt, places)
        decision = session.after_failure(facts, attempt, credentials, self._settings.next_on)
        if isinstance(decision, Resend) and attempt.is_moved and not moving.plan().has_room:
            decision = Refuse(NO_ROOM, decision.challenge, decision.rejected) if decision.challenges else PassOn()
        if not isinstance(decision, Resend):
            return None if self._goes_by_udp(attempt, facts, decision) else Unanswered(attempt, facts, decision)
        if decision.rejected:
            responses.forget(attempt, decision.rejected)
        if facts.over in ("", "tcp"):
            tcp.end_if_closed(place.of_failure())
        self._resend(decision, credentials)
        return None

    def after_failure(self, failed: Unanswered) -> None:
        """Refuse a challenge, go on to the next place, or have the last word."""
        attempt, facts, decision = failed
        status = facts.status
        plan = moving.plan() if isinstance(decision, NextTrunk) else Plan()
        if isinstance(decision, NextTrunk) and not plan.goes_on:
            decision = decision.refusal or PassOn()  # there is a place but its own by UDP
        calls.attempted(attempt, calls.NOTHING if facts.is_silent else status)
        match decision:
            case PassOn():
                self._end(status, attempt, SILENT if facts.is_silent else failure.said(status))
            case Cancelled():
                self._end_cancelled(attempt)
            case Refuse() as refusal:
                self._refuse(attempt, refusal)
            case NextTrunk(None):
                self._go_on(attempt, SILENT if facts.is_silent else failure.said(status), plan)
            case NextTrunk(Refuse() as refusal):
                if refusal.rejected:
                    responses.forget(attempt, refusal.rejected)
                api.tell(Refused(attempt.trunk, refusal.challenge, refusal.reason))
                self._go_on(attempt, NOTHING if refusal.is_nobodys else REFUSED, plan)

    def _go_on(self, attempt: Attempt, word: Word, plan: Plan) -> None:
        """Send the request to the next place of its plan, after this word of the last one."""
        reason = _reason(word)
        api.tell(NextTried(attempt.trunk, reason))
        plan = plan.heard(word)
        if attempt.destination == TO_PBX:
            self._go_on_inbound(attempt, plan)
            return
        if plan.leaves_trunk and word != NOTHING:
            standings.note_failed(attempt.trunk, reason, word.retry_after)
        self._send_next(attempt, plan)

    def _goes_by_udp(self, attempt: Attempt, facts: Failure, decision: Decision) -> bool:
        """Send the request to the same place by UDP, and return True, if nothing at all came by TCP."""
        if not (facts.is_silent and isinstance(decision, NextTrunk)):
            return False
        if is_silent := large.was_silent(plan := moving.plan()):
            self._go_on_by_udp(attempt, plan, "silent")
        return is_silent

    def _go_on_by_udp(self, attempt: Attempt, plan: Plan, reason: str) -> None:
        """Send the request to the same place by UDP, which has not taken it by TCP."""
        self._send_next(attempt._replace(tries=attempt.tries - 1), large.without_tcp(attempt, plan, reason))

    def _send_next(self, attempt: Attempt, plan: Plan) -> None:
        """Send the request to the next place of its plan, or have the last word."""
        dialled = moving.dialled()
        admitted, hop = self.trunk_now(attempt), None
        trunk, plan = self.next_place(plan, admitted, dialled)
        while trunk:
            moving.forget_address(dialled)
            if fault := self.address(trunk, dialled, plan.hop):
                api.tell(Unusable(trunk.uuid, fault))
            elif trunk is not admitted and not limits.admits(trunk, admitted, attempt.method, dialled):
                plan, admitted = plan._replace(hops=()).heard(FULL), None
            else:
                admitted, hop = trunk, plan.hop
                attempt = self._dialogs.over(attempt, trunk, dialled)._replace(is_moved=True)
                if not trunk.destination:
                    attempt = self.bound(attempt, trunk)
                if trunk.has_sender:
                    attempt = self.shown(attempt, trunk, moving.caller(), moving.tag())
                if self.send_attempt(attempt, plan, trunk.credentials if self._settings.preemptive else None):
                    moving.forget_replies()
                    return
                if failure.is_cancelled():
                    self._end_cancelled(attempt)
                    return
                attempt = attempt._replace(tries=attempt.tries - (OR_UDP in plan.hop))
                plan = large.unsent(attempt, plan)
            trunk, plan = self.next_place(plan, trunk, dialled)
        word = UNUSABLE if plan.word == NOTHING else plan.word
        failure.say_instead(word)
        calls.ended(attempt, word, hop)

    def _go_on_inbound(self, attempt: Attempt, plan: Plan) -> None:
        """Send a carrier's request to the next PBX."""
        attempt = attempt._replace(is_moved=True)
        if not (left := self.to_next_pbx(attempt, plan)):
            moving.forget_replies()
        elif failure.is_cancelled():
            self._end_cancelled(attempt)
        else:
            failure.say_instead(left.word)
            calls.ended(attempt._replace(tries=attempt.tries + len(plan.hops) - len(left.hops)), left.word, left.hop)

    def _end_cancelled(self, attempt: Attempt) -> None:
        failure.say_instead(calls.CANCELLED)
        calls.ended(attempt, calls.CANCELLED)

    def _end(self, status: int, attempt: Attempt, said: Word) -> None:
        """Pass the failure on, or the better word of a place before. Kamailio would make a 500 of a 503."""
        is_placed = not attempt.in_dialog and attempt.destination != TO_PBX
        is_fault = not attempt.is_accepted or said.retry_after
        if is_placed and is_fault and (said == SILENT or status in self._settings.next_on):
            standings.note_failed(attempt.trunk, _reason(said), said.retry_after)
        word = best(relay.plan().word, said) if attempt.is_moved else said
        if word != said or status == SERVICE_UNAVAILABLE:
            failure.say_instead(word)
        calls.ended(attempt, word)

    def _refuse(self, attempt: Attempt, refusal: Refuse) -> None:
        if refusal.rejected:
            responses.forget(attempt, refusal.rejected)
        api.tell(Refused(attempt.trunk, refusal.challenge, refusal.reason))
        is_placed = attempt.trunk and not attempt.in_dialog and attempt.destination != TO_PBX
        if is_placed and not refusal.is_nobodys:
            standings.note_failed(attempt.trunk, refusal.reason, 0)
        word = relay.plan().word if attempt.is_moved else NOTHING
        if word == NOTHING or not refusal.is_nobodys:
            word = best(word, REFUSED)
        failure.say_instead(word)
        calls.ended(attempt, word)

    def _resend(self, resend: Resend, credentials: Credentials | None) -> None:
        """Send the request again, with a CSeq of its own."""
        attempt = resend.attempt
        if attempt.sent and attempt.destination:
            attempt = responses.counted(attempt)
            if attempt is not resend.attempt:
                resend = resend._replace(attempt=attempt)
        attempt = self._dialogs.again(attempt)
        if attempt.is_moved and (trunk := self.trunk_now(attempt)):
            dialled = moving.dialled()
            moving.forget_address(dialled)
            self.address(trunk, dialled, relay.plan().hop)
        if credentials and resend.suits_uac_auth and failure.answer_by_uac_auth(credentials):
            attempt = attempt._replace(by_uac_auth=True)
        else:
            failure.add_branch()
        plan = moving.plan() if attempt.goes_on or self.has_tls else Plan()
        if is_by_size := OR_UDP in plan.hop:
            attempt = attempt._replace(goes_on=plan.goes_on)
            relay.keep_plan(large.heard_by_tcp(plan))
        if (not plan.hop.endswith(TLS) or self.is_secured(attempt, plan.hop)) and failure.resend(attempt):
            if is_by_size:
                large.wait(large.heard_by_tcp(plan), self._settings)
            for challenge in resend.challenges:
                api.tell(Answered(attempt.trunk, challenge))
        else:
            self._not_sent(attempt, plan, resend.challenge)

    def _not_sent(self, attempt: Attempt, plan: Plan, challenge: Challenge | None) -> None:
        """Go on after the answer to a challenge could not be sent, nor at the second try."""
        plan = plan.unsent().unsent()
        if failure.is_cancelled():
            self._end_cancelled(attempt)
        elif OR_UDP in plan.hop:
            self._go_on_by_udp(attempt, plan, "refused")
        elif attempt.goes_on:
            api.tell(Unreachable(attempt.trunk))
            calls.attempted(attempt, calls.NOTHING)
            self._go_on(attempt, UNREACHABLE, plan)
        else:
            calls.attempted(attempt, calls.NOTHING)
            self._refuse(attempt, Refuse("next hop unreachable", challenge))


_REASONS = {SILENT: "silent", NOTHING: "not answered"}


def _reason(word: Word) -> str:
    return _REASONS.get(word) or f"{word.status} {word.reason}"
