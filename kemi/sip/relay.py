"""What goes out, and what comes back: attempts, failures, replies."""

from __future__ import annotations

import KSR

from kemi.auth import codec
from kemi.auth.attempt import CHALLENGES, Attempt
from kemi.auth.credentials import Credentials
from kemi.auth.session import Failure
from kemi.sip import dialog, request
from kemi.sip.address import normalised

MOST_FIELDS = 32  # challenges read from one reply

_KEPT: dict[str, Attempt] = {}  # what this process stored last, by its text: the branch route reads it at once

_CREDENTIAL_AVPS = ("auser", "apass", "arealm")


def relay() -> bool:
    """Relay the request. Return False if it could not be sent; nothing was replied then."""
    return KSR.tm.t_relay() > 0


def send(attempt: Attempt, reply_route: str = "") -> bool:
    """Relay the request as this attempt: BRANCH shapes it, TRUNKAUTH handles its failure. Return as relay() does.

    reply_route: the handler of all replies from now on, to later attempts as well; empty: as before.
    """
    if reply_route:
        KSR.tm.t_on_reply(reply_route)
    keep(attempt)
    KSR.tm.t_on_branch("BRANCH")
    KSR.tm.t_on_failure("TRUNKAUTH")
    return KSR.tm.t_relay() > 0


def keep(attempt: Attempt) -> None:
    """Store the attempt with the transaction."""
    text = codec.attempt_text(attempt)
    _KEPT.clear()
    _KEPT[text] = attempt
    KSR.pv.sets("$avp(attempt)", text)


def attempt() -> Attempt:
    """Return the transaction's attempt; all empty if the request went out without one."""
    text = str(KSR.pv.gete("$avp(attempt)"))
    return _KEPT.get(text) or codec.attempt(text)


def add_to_branch(headers: list[str]) -> None:
    """Add header fields, each with its CRLF, to the branch at hand alone."""
    for header in headers:
        KSR.hdr.append(header)


def reply(code: int, reason: str) -> None:
    """Answer the request, within its transaction if there is one. An ACK is never answered."""
    KSR.sl.send_reply(code, reason)


def reply_with(header: str, code: int, reason: str) -> None:
    """Answer the request with one header field more."""
    KSR.hdr.append_to_reply(f"{header}\r\n")
    reply(code, reason)


def reply_instead(code: int, reason: str) -> None:
    """Answer the caller from a failure route, in place of the carrier's reply."""
    KSR.tm.t_reply(code, reason)


def reply_nothing(_code: int, _reason: str) -> None:
    """Answer nobody: in a branch or reply route there is nobody to answer."""


# --- in a failure route


def failure_status() -> int:
    """Return the status of the reply that the failure route is about."""
    status = KSR.pv.get("$T_reply_code")
    return status if isinstance(status, int) else 0


def failure(status: int, attempt: Attempt) -> Failure:
    """Return the reply that the failure route is about."""
    fields = _challenge_fields(CHALLENGES[status].challenge) if status in CHALLENGES else ()
    asks_for_body = "auth-int" in " ".join(fields or ()).lower()
    return Failure(
        status,
        fields,
        is_cancelled=KSR.tm.t_is_canceled() > 0,
        source=normalised(str(KSR.pv.gete("$T_rpl($si)"))) if attempt.in_dialog else "",
        peer=dialog.peer() if attempt.in_dialog else "",
        can_read_body=request.can_read_body() if asks_for_body else True,
    )


def _challenge_fields(name: str) -> tuple[str, ...] | None:
    """Return the reply's fields of this name in order, None if one is not UTF-8."""
    fields: list[str] = []
    try:
        while len(fields) < MOST_FIELDS and (field := KSR.pv.gete(f"$T_rpl($(hdr({name})[{len(fields)}]))")):
            fields.append(str(field))
    except UnicodeDecodeError:
        return None
    return tuple(fields)


def add_branch() -> None:
    """Make the next relay send the request again: without a new branch there would be nothing to relay."""
    KSR.pv.sets("$ru", str(KSR.pv.gete("$ru")))


def answer_by_uac_auth(credentials: Credentials) -> bool:
    """Add the response to the carrier's challenge by uac_auth(), which adds a branch and raises CSeq as well. Return
    False if this Kamailio could not. The AVPs that held the credentials are empty afterwards.
    """
    values = (credentials.username, credentials.password, credentials.realm)
    try:
        for avp, value in zip(_CREDENTIAL_AVPS, values, strict=True):
            KSR.pv.sets(f"$avp({avp})", value)
        return KSR.uac.uac_auth() > 0
    finally:
        for avp in _CREDENTIAL_AVPS:
            KSR.pv.unset(f"$(avp({avp})[*])")  # an AVP is a stack: without [*] only its newest value goes


# --- in a reply route


def reply_status() -> int:
    """Return the status of the reply."""
    status = KSR.pv.get("$rs")
    return status if isinstance(status, int) else 0
