"""The failure that a failure route is about: what came, and what can be done."""

from __future__ import annotations

import re

import KSR

from kemi.auth.attempt import CHALLENGES, OTHER_KIND, Attempt
from kemi.auth.credentials import Credentials
from kemi.auth.session import FORBIDDEN, Failure
from kemi.sip import api, body, place, relay, shared
from kemi.trunks.places import Places
from kemi.trunks.plan import TIMEOUT, Word

MOST_FIELDS = 32  # of one kind that are read from one reply

LONGEST_RETRY_AFTER = 86400  # seconds
LONGEST_REASON = 200  # characters

_LIMIT = re.compile(r"limit|exceed|capacity|congest|too many|channels", re.IGNORECASE)
_NULL = "<null>"  # in what $_s() gives (pv_printf in src/core/pvapi.c)
_LEADING_NUMBER = re.compile(r"[0-9]{1,9}")


def status_and_attempt() -> tuple[int, Attempt]:
    """Return the status of the reply that the failure route is about, and the transaction's attempt, read at once."""
    status, _, text = str(KSR.pv.gete("$_s($T_reply_code\n$avp(attempt))")).partition("\n")
    return int(status) if status.isdecimal() else 0, relay.ATTEMPTS[text]


def facts(status: int, attempt: Attempt, places: Places) -> Failure:
    """Return the reply that the failure route is about. places: of the trunk's carrier, from which a challenge
    inside a dialog has to come.
    """
    fields, others, over = _challenge(status) if status in CHALLENGES else ((), (), "")
    asks_for_body = "auth-int" in " ".join(fields + others).lower()
    return Failure(
        status,
        fields,
        others,
        is_cancelled=is_cancelled(),
        is_carriers=not attempt.in_dialog or places.can_be_source(place.of_failure()),
        can_read_body=body.can_read_body() if asks_for_body else True,
        is_silent=status == TIMEOUT and KSR.tm.t_branch_timeout() > 0,
        says_limit=status == FORBIDDEN and _says_limit(),
        asked=shared.asked(attempt.trunk, attempt.destination) if fields or others else frozenset(),
        over=over.lower(),
    )


def is_cancelled() -> bool:
    """Return True if the caller has cancelled by now, maybe in another process. Kamailio sends nothing more then."""
    return KSR.tm.t_is_canceled() > 0


def said(status: int) -> Word:
    """Return what the failure says to the caller."""
    after = _LEADING_NUMBER.match(_field("Retry-After"))
    return Word(status, reason(), min(int(after[0]), LONGEST_RETRY_AFTER) if after else 0)


def _says_limit() -> bool:
    """Return True if a refusal says that the carrier is full, by its text or by when to try again."""
    return bool(_LIMIT.search(reason()) or _field("Retry-After"))


def reason() -> str:
    """Return the reason phrase of the failure."""
    return api.line("T_reply_reason")[:LONGEST_REASON]


def _field(name: str) -> str:
    """Return the reply's first field of this name, empty if there is none or it is not UTF-8."""
    try:
        return str(KSR.pv.gete(f"$T_rpl($(hdr({name})[0]))")).strip()
    except UnicodeDecodeError:
        return ""


def _challenge(status: int) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return the reply's challenge fields of the status's kind in order, those of the other kind, and its transport,
    empty if that was not read. Octets that are not UTF-8 are surrogates (PEP 383).
    """
    name, other = CHALLENGES[status].challenge, CHALLENGES[OTHER_KIND[status]].challenge
    read = f"$T_rpl($proto)\n$T_rpl($(hdr({name})[0]))\n$T_rpl($(hdr({name})[1]))\n$T_rpl($(hdr({other})[0]))"
    try:
        over, first, second, of_other = str(KSR.pv.gete(f"$_s({read})")).split("\n")
    except (UnicodeDecodeError, ValueError):
        over = second = of_other = ""  # octets that are no text, or a fold: one by one
    if second == of_other == _NULL:
        return () if first in ("", _NULL) else (first,), (), over
    return _challenge_fields(name), _challenge_fields(other), over


def _challenge_fields(name: str) -> tuple[str, ...]:
    fields: list[str] = []
    while len(fields) < MOST_FIELDS and (field := _challenge_field(name, len(fields))) is not None:
        fields.append(field)
    return tuple(fields) if any(fields) else ()


def _challenge_field(name: str, index: int) -> str | None:
    variable = f"T_rpl($(hdr({name})[{index}]))"
    try:
        return None if (field := KSR.pv.get(f"${variable}")) is None else str(field)
    except UnicodeDecodeError:
        return bytes.fromhex(str(KSR.pv.gete(f"$({variable}{{s.encode.hexa}})"))).decode(errors="surrogateescape")


def add_branch() -> None:
    """Make the next relay send the request again: without a new branch there would be nothing to relay."""
    KSR.pv.sets("$ru", str(KSR.pv.gete("$ru")))


def answer_by_uac_auth(credentials: Credentials) -> bool:
    """Add the response to the carrier's challenge by uac_auth(), which adds a branch as well. Return False if
    this Kamailio could not. The AVPs that held the credentials are empty afterwards.
    """
    try:
        KSR.pv.sets("$avp(auser)", credentials.username)
        KSR.pv.sets("$avp(apass)", credentials.password)
        KSR.pv.sets("$avp(arealm)", credentials.realm)
        return KSR.uac.uac_auth() > 0
    finally:
        KSR.route("FORGET")


def resend(attempt: Attempt) -> bool:
    """Relay the request again as this attempt, after a branch was added. Return False if it could not be sent.

    If a write fails (tcp.end_if_closed), Kamailio drops the connection, and opens a new one for the second try.
    """
    heard = "" if attempt.method == "INVITE" and not attempt.in_dialog else "REPLY"  # a call's INVITE is from the start
    if relay.send(attempt, heard):
        return True
    add_branch()
    return relay.send(attempt)


def reply_instead(code: int, reason: str) -> None:
    """Answer the caller from a failure route, in place of the carrier's reply."""
    KSR.tm.t_reply(code, reason)


def say_instead(word: Word) -> None:
    """Give the caller the last word."""
    if word.retry_after:
        KSR.hdr.append_to_reply(f"Retry-After: {word.retry_after}\r\n")
    KSR.tm.t_reply(word.status, word.reason)
