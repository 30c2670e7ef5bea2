"""What goes out: attempts, and replies to the caller."""

from __future__ import annotations

import re

import KSR

from kemi.auth import codec
from kemi.auth.attempt import Attempt
from kemi.sip import api, edit
from kemi.trunks.plan import Plan, Word

RETRY_AFTER = 10  # seconds, if calls cannot be served now

_KEEP_SENT = 1  # the flag that kamailio.cfg's onsend_route asks for
_CREDENTIALS = re.compile(rb"^(?:Proxy-)?Authorization[ \t]*:[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)

_KEPT: dict[str, Attempt] = {}  # what this process stored lately, by its text: it will mostly handle the replies too
_MOST_KEPT = 512


def relay() -> bool:
    """Relay the request. Return False if it could not be sent; nothing was replied then."""
    return KSR.tm.t_relay() > 0


def listen(handler: str = "REPLY") -> None:
    """Have a handler called for every reply to the request, to later attempts as well."""
    KSR.tm.t_on_reply(handler)


def send(attempt: Attempt) -> bool:
    """Relay the request as this attempt: BRANCH shapes it, TRUNKAUTH handles its failure. Return as relay() does."""
    keep(attempt)
    if attempt.sent and attempt.method == "INVITE":
        KSR.setflag(_KEEP_SENT)
    KSR.tm.t_on_branch("BRANCH")
    KSR.tm.t_on_failure("TRUNKAUTH")
    return KSR.tm.t_relay() > 0


def keep(attempt: Attempt) -> None:
    """Store the attempt with the transaction."""
    text = codec.attempt_text(attempt)
    if len(_KEPT) >= _MOST_KEPT:
        _KEPT.clear()
    _KEPT[text] = attempt
    KSR.pv.sets("$avp(attempt)", text)


def attempt() -> Attempt:
    """Return the transaction's attempt; all empty if the request went out without one."""
    text = str(KSR.pv.gete("$avp(attempt)"))
    return _KEPT.get(text) or codec.attempt(text)


def keep_plan(plan: Plan) -> None:
    """Store the plan with the transaction."""
    KSR.pv.sets("$avp(plan)", codec.plan_text(plan))


def plan() -> Plan:
    """Return the transaction's plan; one of no place if it has none."""
    return codec.plan(str(KSR.pv.gete("$avp(plan)")))


def make_transaction() -> None:
    """Make the request's transaction, within which it is answered then."""
    KSR.tm.t_newtran()


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
    if attempt.mark:
        edit.add_mark(attempt.mark, attempt.own)


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


# --- in a reply route


def reply_and_attempt() -> tuple[int, Attempt]:
    """Return the status of the reply, and the transaction's attempt, read at once; of a 100, no attempt."""
    status, _, text = str(KSR.pv.gete("$_s($rs\n$avp(attempt))")).partition("\n")
    return int(status), Attempt() if status == "100" else _KEPT.get(text) or codec.attempt(text)


def sent_credentials() -> bytes:
    """Return the header fields with which the INVITE that this reply answers was authenticated."""
    head, _, _ = bytes.fromhex(str(KSR.pv.gete("$(avp(sent){s.encode.hexa})"))).partition(b"\r\n\r\n")
    return b"".join(_CREDENTIALS.findall(head + b"\r\n"))


def restore_party(name: str) -> None:
    """Give the reply From or To as the request had it when it came in, in one line."""
    edit.set_party(name, api.line(f"T_req($hdr({name}))"))


def restore_cseq() -> None:
    """Give the reply the CSeq as the caller wrote it."""
    KSR.hdr.remove("CSeq")
    KSR.hdr.append(f"CSeq: {KSR.pv.gete('$T_req($hdr(CSeq))')}\r\n")
