"""What happened to a request, as events; each is one log line in `key=value` form and holds no secret.

A value from the wire or from a row goes into a line through quoted() or word(), so that none can end its place in the
line, or the line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kemi.auth.challenge import Challenge

MOST_SHOWN = 200  # characters of one value

_WORD = re.compile(r"[A-Za-z0-9._~@%+*:/!?#$&(){}\[\]<>^|,;-]+")


def quoted(text: str) -> str:
    """Return a value in quotes, as Python writes a string: ASCII without control characters. A long one is cut."""
    return ascii(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}...")


def word(text: str) -> str:
    """Return a value as it is if it is one short word without quotes, spaces and equals signs; quoted otherwise."""
    return text if len(text) <= MOST_SHOWN and _WORD.fullmatch(text) else quoted(text)


class Answered(NamedTuple):
    """A challenge was answered."""

    trunk: str
    challenge: Challenge

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} {_about(self.challenge)} outcome=answered call-id={word(call_id)}"


class Refused(NamedTuple):
    """A challenge was not answered, and the caller got 503. challenge: None if none could be read."""

    trunk: str
    challenge: Challenge | None
    reason: str

    def line(self, call_id: str) -> str:
        about = _about(self.challenge) if self.challenge else "realm='' algorithm=''"
        return f"trunk={word(self.trunk)} {about} outcome=refused reason={quoted(self.reason)} call-id={word(call_id)}"


class BackedOff(NamedTuple):
    """A carrier rejected so many preemptive responses in a row that it gets none for a while."""

    trunk: str
    seconds: int

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome='preemptive backed off for {self.seconds} s' call-id={word(call_id)}"


class Unusable(NamedTuple):
    """A trunk was selected and cannot be used."""

    trunk: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome=unusable reason={quoted(self.reason)} call-id={word(call_id)}"


class Unreachable(NamedTuple):
    """The next hop could not be sent to."""

    trunk: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome=unreachable call-id={word(call_id)}"


class NextTried(NamedTuple):
    """A place did not take the request, and the next one is tried. reason: its words, or what became of it."""

    trunk: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome=next reason={quoted(self.reason)} call-id={word(call_id)}"


class AnsweredLate(NamedTuple):
    """A place answered after the request had gone on; that call was ended. trunk: the one that has the request now."""

    trunk: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome='late answer of another place ended' call-id={word(call_id)}"


class TrunkFull(NamedTuple):
    """A trunk is passed over: its row allows no more calls now."""

    trunk: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome=full reason={quoted(self.reason)} call-id={word(call_id)}"


class Down(NamedTuple):
    """A trunk could not serve several attempts in a row, and is left out for a while."""

    trunk: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome=down reason={quoted(self.reason)} call-id={word(call_id)}"


class Up(NamedTuple):
    """A trunk that was down serves again. seconds: how long it was down."""

    trunk: str
    seconds: int

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome='up again after {self.seconds} s' call-id={word(call_id)}"


class Forbidden(NamedTuple):
    """The source may not use the trunks that it asked for."""

    trunk: str
    source: str

    def line(self, call_id: str) -> str:
        return f"trunk={word(self.trunk)} outcome=forbidden source={word(self.source)} call-id={word(call_id)}"


class NoRoute(NamedTuple):
    """A carrier's request was not brought in, and got 404. trunk: empty if it found none."""

    trunk: str
    source: str
    reason: str

    def line(self, call_id: str) -> str:
        about = f"trunk={word(self.trunk)} source={word(self.source)}"
        return f"{about} outcome='no route' reason={quoted(self.reason)} call-id={word(call_id)}"


class Unregistered(NamedTuple):
    """A registrar's challenge was kept from the uac module, and the registration fails. account: the URI registered."""

    account: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"register={quoted(self.account)} outcome=refused reason={quoted(self.reason)} call-id={word(call_id)}"


class Limited(NamedTuple):
    """A source places more new calls than it may; its calls get 503 until the second is over."""

    source: str
    most: int

    def line(self, call_id: str) -> str:
        reason = quoted(f"more than {self.most} new calls a second")
        return f"source={word(self.source)} outcome=limited reason={reason} call-id={word(call_id)}"


Outcome = (
    Answered
    | Refused
    | BackedOff
    | Unusable
    | Unreachable
    | NextTried
    | AnsweredLate
    | TrunkFull
    | Down
    | Up
    | Forbidden
    | NoRoute
    | Unregistered
    | Limited
)


def _about(challenge: Challenge) -> str:
    return f"realm={quoted(challenge.realm)} algorithm={quoted(challenge.algorithm or 'MD5')}"
