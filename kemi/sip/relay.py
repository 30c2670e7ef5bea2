"""What goes out: attempts, and replies to the caller."""

from __future__ import annotations

import KSR

from kemi.auth import codec
from kemi.auth.attempt import Attempt
from kemi.dialog.mark import PARAMETER
from kemi.sip import edit
from kemi.trunks.plan import Plan, Word

RETRY_AFTER = 10  # seconds, if calls cannot be served now

_KEEP_SENT = 1  # the flag that kamailio.cfg's onsend_route asks for

_MOST_KEPT = 512


class _Attempts(dict[str, Attempt]):
    """Attempts by the text that they are stored as. It remembers what this process stored lately, whose replies it will
    mostly handle too.
    """

    def __missing__(self, text: str) -> Attempt:
        return codec.attempt(text)


ATTEMPTS = _Attempts()


def relay() -> bool:
    """Relay the request. Return False if it could not be sent; nothing was replied then."""
    return KSR.tm.t_relay() > 0


def listen(handler: str = "REPLY") -> None:
    """Have a handler called for every reply to the request, to later attempts as well."""
    KSR.tm.t_on_reply(handler)


def send(attempt: Attempt, handler: str = "") -> bool:
    """Relay the request as this attempt: BRANCH shapes it if there is anything to shape, TRUNKAUTH handles its failure.
    Return as relay() does. handler: of its replies, as listen() has it; empty for none, or the one that listens
    already.
    """
    keep(attempt)
    if handler:
        KSR.tm.t_on_reply(handler)
    if attempt.sent and attempt.method == "INVITE" and not attempt.by_uac_auth:
        KSR.setflag(_KEEP_SENT)
    if attempt.mark or attempt.is_shaped:  # nearly every INVITE has a mark
        KSR.tm.t_on_branch("BRANCH")
    KSR.tm.t_on_failure("TRUNKAUTH")
    return KSR.tm.t_relay() > 0


def keep(attempt: Attempt) -> None:
    """Store the attempt with the transaction."""
    text = codec.attempt_text(attempt)
    if len(ATTEMPTS) >= _MOST_KEPT:
        ATTEMPTS.clear()
    ATTEMPTS[text] = attempt
    KSR.pv.sets("$avp(attempt)", text)


def attempt() -> Attempt:
    """Return the transaction's attempt; all empty if the request went out without one."""
    return ATTEMPTS[str(KSR.pv.gete("$avp(attempt)"))]


def keep_plan(plan: Plan) -> None:
    """Store the plan with the transaction."""
    KSR.pv.sets("$avp(plan)", codec.plan_text(plan))


def plan() -> Plan:
    """Return the transaction's plan; one of no place if it has none."""
    return codec.plan(str(KSR.pv.gete("$avp(plan)")))


def make_transaction() -> None:
    """Make the request's transaction, within which it is answered then."""
    KSR.tm.t_newtran()


def leave_the_last_word() -> None:
    """Have Kamailio not answer if the request cannot be sent, because it goes on. Without this, 6.1 answers 477 when
    the request route ends, wherever the request went meanwhile (t_unref() in tm/t_lookup.c).
    """
    KSR.tm.t_set_disable_internal_reply(1)


def try_for(seconds: int, ring_seconds: int) -> None:
    """Have a place that says nothing fail after so many seconds; one that said 100 has as long as it may ring."""
    KSR.tm.t_set_fr(1000 * ring_seconds, 1000 * seconds)


def shape_branch(attempt: Attempt) -> None:
    """Give the branch at hand, and no other, the attempt's CSeq, caller and mark."""
    if attempt.number != attempt.cseq:
        edit.set_cseq(attempt.number, attempt.method)
    if attempt.sender:
        edit.set_party("From", attempt.sender)
    if attempt.identity:
        edit.set_identity(attempt.identity)
    if attempt.own:
        edit.add_mark(attempt.mark, attempt.own)
    elif attempt.mark:
        KSR.rr.add_rr_param(f";{PARAMETER}={attempt.mark}")


def add_to_branch(headers: list[str]) -> None:
    """Add header fields, each with its CRLF, to the branch at hand alone."""
    for header in headers:
        if header.isascii():
            KSR.hdr.append(header)
        else:
            edit.append_octets(header.encode(errors="surrogateescape"))


def reply(code: int, reason: str) -> None:
    """Answer the request, within its transaction if there is one. An ACK is never answered."""
    KSR.sl.send_reply(code, reason)


def reply_with(header: str, code: int, reason: str) -> None:
    """Answer the request with one header field more."""
    KSR.hdr.append_to_reply(f"{header}\r\n")
    reply(code, reason)


def say(word: Word) -> None:
    """Answer with the last word."""
    if word.retry_after:
        reply_with(f"Retry-After: {word.retry_after}", word.status, word.reason)
    else:
        reply(word.status, word.reason)


def reply_try_later(seconds: int = RETRY_AFTER) -> None:
    """Answer that calls cannot be served now, and when to try again (RFC 3261 20.33)."""
    reply_with(f"Retry-After: {seconds}", 503, "Service Unavailable")


def reply_nothing(_code: int, _reason: str) -> None:
    """Answer nobody: in a branch or reply route there is nobody to answer."""
