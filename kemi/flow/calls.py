"""How calls end: each is told and counted once, whoever had the last word. So is the last word of each of its places.

A call is an INVITE outside a dialog. At the default level the log has a line for those that failed; one that was
answered costs a few numbers.
"""

from __future__ import annotations

import time

from kemi.auth.attempt import TO_PBX, Attempt
from kemi.line import Level
from kemi.metrics import counts
from kemi.outcome import ENDS, Call, end
from kemi.sip import api, call, failure, relay, shared
from kemi.trunks.places import Place
from kemi.trunks.plan import Word

MOST_TURNED_AWAY = 10  # lines a minute, of each process, about calls for which nobody has looked for a trunk

CANCELLED = Word(487, "Request Terminated")
FORBIDDEN = Word(403, "Forbidden")
TRY_LATER = Word(503, "Service Unavailable")

NOTHING = 0  # in place of the status of a place that has said nothing


def is_call(attempt: Attempt) -> bool:
    return attempt.method == "INVITE" and not attempt.in_dialog


def answered(attempt: Attempt, status: int) -> Attempt:
    """The first 2xx of a call goes to the caller. Return the attempt, which is answered then."""
    milliseconds = int(time.time() * 1000) - attempt.began
    if attempt.destination == TO_PBX:
        counts.count_inbound(attempt.trunk, "answered")
    else:
        counts.count_answered(attempt.trunk, milliseconds)
    if api.LOG.most >= Level.INFO:  # shows(), without a call for each that is answered
        word = Word(status, call.reply_reason())
        _tell(attempt, call.place_that_answered(), call.parties_of_answered(), word, milliseconds)
    return attempt._replace(is_answered=True)


def attempted(attempt: Attempt, status: int) -> None:
    """A place of a call has said its last word, or NOTHING. A PBX is none."""
    if is_call(attempt) and attempt.destination != TO_PBX:
        counts.count_attempt(attempt.trunk, status)


def passed_on(status: int, attempt: Attempt) -> None:
    """The failure that the failure route is about goes to the caller as it is."""
    if is_call(attempt):
        attempted(attempt, status)
        ended(attempt, Word(status, failure.reason()))


def ended(attempt: Attempt, word: Word, hop: str | None = None) -> None:
    """The caller got this last word, after this attempt. hop: where it went; None if the failure route is about it."""
    if not is_call(attempt):
        return
    name = end(word.status, word.reason)
    is_inbound = attempt.destination == TO_PBX
    (counts.count_inbound if is_inbound else counts.count_call)(attempt.trunk, name)
    if api.shows(ENDS[name].level):
        where = call.place_that_failed(attempt.is_moved) if hop is None else call.text(Place.of_uri(_uri(hop)))
        milliseconds = int(time.time() * 1000) - attempt.began if attempt.began else 0
        _tell(attempt, where, call.parties(), word, milliseconds)
    if attempt.trunk and not is_inbound and ENDS[name] is ENDS["failed"]:
        shared.note_failure(attempt.trunk, int(time.time()), word.status, word.reason)


def _uri(hop: str) -> str:
    """Return the URI that a request is sent to: a PBX's stands behind its R-URI."""
    return hop.rpartition(" ")[2]


def _tell(attempt: Attempt, where: str, parties: tuple[str, str], word: Word, milliseconds: int) -> None:
    carrier, pbx = (None, where) if attempt.destination == TO_PBX else (where, None)
    seconds = milliseconds / 1000
    api.tell(Call(attempt.trunk, carrier, pbx, *parties, word.status, word.reason, attempt.tries, seconds))


class _Bound:
    """Bounds the lines of this process about calls that are turned away, however many come."""

    def __init__(self) -> None:
        self._minute = self._lines = 0

    def has_room(self) -> bool:
        minute = int(time.time()) // 60
        if minute != self._minute:
            self._minute, self._lines = minute, 0
        self._lines += 1
        return self._lines <= MOST_TURNED_AWAY


_BOUND = _Bound()


def turned_away(method: str, word: Word) -> None:
    """A request was answered before anybody looked for a trunk: anybody can make that happen, any number of times."""
    if method == "INVITE":
        counts.count_call("", end(word.status, word.reason))
        if _BOUND.has_room():
            _tell(Attempt(), "", call.parties(), word, 0)


# --- after a fault in a handler


def reply(code: int, reason: str) -> None:
    """Answer a request that could not be handled."""
    relay.reply(code, reason)
    if call.is_new():
        ended(Attempt(method="INVITE"), Word(code, reason), "")


def reply_instead(code: int, reason: str) -> None:
    """Answer the caller from a failure route that could not go on."""
    failure.reply_instead(code, reason)
    ended(relay.attempt(), Word(code, reason))
