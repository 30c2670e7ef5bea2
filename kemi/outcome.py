"""What happened to a request, as events; each is one line of the log. No field of an event is a secret or a nonce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kemi.auth.challenge import Challenge
from kemi.line import Level, Line, Value
from kemi.trunks.plan import NOT_AUTHENTICATED, SERVICE_UNAVAILABLE, TIMEOUT


class Answered(NamedTuple):
    """A challenge was answered."""

    trunk: str
    challenge: Challenge


class Refused(NamedTuple):
    """A challenge was not answered, and the caller got 503. challenge: None if none could be read."""

    trunk: str
    challenge: Challenge | None
    reason: str


class BackedOff(NamedTuple):
    """A carrier rejected so many preemptive responses in a row that it gets none for a while."""

    trunk: str
    seconds: int


class Unusable(NamedTuple):
    """A trunk was selected and cannot be used."""

    trunk: str
    reason: str


class Unreachable(NamedTuple):
    """The next hop could not be sent to."""

    trunk: str


class NextTried(NamedTuple):
    """A place did not take the request, and the next one is tried. reason: its words, or what became of it."""

    trunk: str
    reason: str


class ByUdp(NamedTuple):
    """A place does not take TCP, by which a large request was to go. carrier: the place. reason: as of NextTried."""

    trunk: str
    carrier: str
    reason: str


class AnsweredLate(NamedTuple):
    """A place answered after the request had gone on; that call was ended. trunk: the one that has the request now."""

    trunk: str


class TrunkFull(NamedTuple):
    """A trunk is passed over: its row allows no more calls now."""

    trunk: str
    reason: str


class Down(NamedTuple):
    """A trunk could not serve several attempts in a row, and is left out for a while."""

    trunk: str
    reason: str


class Up(NamedTuple):
    """A trunk that was down serves again. seconds: how long it was down."""

    trunk: str
    seconds: int


class Forbidden(NamedTuple):
    """The source may not use the trunks that it asked for."""

    trunk: str
    source: str


class NoRoute(NamedTuple):
    """A carrier's request was not brought in, and got 404. trunk: empty if it found none."""

    trunk: str
    source: str
    reason: str


class Unregistered(NamedTuple):
    """A registrar's challenge was kept from the uac module, and the registration fails. account: the URI registered."""

    account: str
    reason: str


class Limited(NamedTuple):
    """A source places more new calls than it may; its calls get 503 until the second is over."""

    source: str
    most: int


class Call(NamedTuple):
    """A call got its final response, whoever gave it.

    trunk: the last one tried, empty for none. carrier: its address; pbx: in its place, that of the PBX that a carrier's
    call goes to. caller, dialled: URIs. status, reason: as the caller got them. attempts: places tried. seconds: from
    the INVITE.
    """

    trunk: str
    carrier: str | None
    pbx: str | None
    caller: str
    dialled: str
    status: int
    reason: str
    attempts: int
    seconds: float


Outcome = (
    Answered
    | Refused
    | BackedOff
    | Unusable
    | Unreachable
    | NextTried
    | ByUdp
    | AnsweredLate
    | TrunkFull
    | Down
    | Up
    | Forbidden
    | NoRoute
    | Unregistered
    | Limited
    | Call
)


class Told(NamedTuple):
    """How the log tells an outcome. said: the value of `outcome` in the line."""

    said: str
    level: Level


_TOLD: Mapping[type, Told] = {
    Answered: Told("answered", Level.NOTICE),
    Refused: Told("refused", Level.WARNING),
    BackedOff: Told("backed-off", Level.NOTICE),
    Unusable: Told("unusable", Level.WARNING),
    Unreachable: Told("unreachable", Level.WARNING),
    NextTried: Told("next", Level.WARNING),
    ByUdp: Told("by-udp", Level.NOTICE),
    AnsweredLate: Told("late-answer-ended", Level.WARNING),
    TrunkFull: Told("full", Level.WARNING),
    Down: Told("down", Level.WARNING),
    Up: Told("up-again", Level.NOTICE),
    Forbidden: Told("forbidden", Level.WARNING),
    NoRoute: Told("no-route", Level.WARNING),
    Unregistered: Told("refused", Level.WARNING),
    Limited: Told("limited", Level.WARNING),
}

# How a call ends: its name in the metrics, and how the log tells it. A callee who is busy, or a caller who has
# cancelled, is no failure of the trunk.
_ANSWERED, _ENDED, _FAILED = (
    Told("call-answered", Level.INFO),
    Told("call-ended", Level.INFO),
    Told("call-failed", Level.WARNING),
)
ENDS: Mapping[str, Told] = {
    "answered": _ANSWERED,
    "cancelled": _ENDED,
    "busy": _ENDED,
    "declined": _ENDED,
    "rejected": _FAILED,
    "silent": _FAILED,
    "failed": _FAILED,
    "unauthenticated": _FAILED,
}
_END_OF = {487: "cancelled", 486: "busy", 600: "busy", 403: "rejected", 404: "rejected", TIMEOUT: "silent"}

_NAMES = {"account": "register", "caller": "from", "dialled": "to"}  # of fields, in the line


def end(status: int, reason: str) -> str:
    """Return the name of the end of a call that got this final response."""
    if status < 300:
        return "answered"
    if status == SERVICE_UNAVAILABLE and reason == NOT_AUTHENTICATED:
        return "unauthenticated"
    return _END_OF.get(status) or ("failed" if 500 <= status < 600 else "declined")


def line_of(outcome: Outcome, call_id: str) -> Line:
    """Return the line of an outcome: what it is about, `outcome`, and the rest."""
    told = ENDS[end(outcome.status, outcome.reason)] if isinstance(outcome, Call) else _TOLD[type(outcome)]
    fields: dict[str, Value] = {}
    for name, value in zip(outcome._fields, outcome, strict=True):
        if isinstance(value, Challenge):
            fields["realm"], fields["algorithm"] = value.realm, value.algorithm or "MD5"
        elif name == "challenge":
            fields["realm"] = fields["algorithm"] = ""
        elif value is not None:
            fields[_NAMES.get(name, name)] = value
        fields.setdefault("outcome", told.said)
    return Line(told.level, {**fields, "call-id": call_id})
