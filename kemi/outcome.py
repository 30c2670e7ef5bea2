"""What happened to a request, as events; each is one log line in `key=value` form and holds no secret."""

from __future__ import annotations

from typing import NamedTuple

from kemi.auth.challenge import Challenge


class Answered(NamedTuple):
    """A challenge was answered."""

    trunk: str
    challenge: Challenge

    def line(self, call_id: str) -> str:
        return f"trunk={self.trunk} {_about(self.challenge)} outcome=answered call-id={call_id}"


class Refused(NamedTuple):
    """A challenge was not answered, and the caller got 503. challenge: None if none could be read."""

    trunk: str
    challenge: Challenge | None
    reason: str

    def line(self, call_id: str) -> str:
        about = _about(self.challenge) if self.challenge else "realm='' algorithm=''"
        return f"trunk={self.trunk} {about} outcome=refused reason={self.reason!r} call-id={call_id}"


class BackedOff(NamedTuple):
    """A carrier rejected so many preemptive responses in a row that it gets none for a while."""

    trunk: str
    seconds: int

    def line(self, call_id: str) -> str:
        return f"trunk={self.trunk} outcome='preemptive backed off for {self.seconds} s' call-id={call_id}"


class Unusable(NamedTuple):
    """A trunk was selected and cannot be used."""

    trunk: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"trunk={self.trunk} outcome=unusable reason={self.reason!r} call-id={call_id}"


class Unreachable(NamedTuple):
    """The next hop could not be sent to."""

    trunk: str

    def line(self, call_id: str) -> str:
        return f"trunk={self.trunk} outcome=unreachable call-id={call_id}"


class Unregistered(NamedTuple):
    """A registrar's challenge was kept from the uac module, and the registration fails. account: the URI registered."""

    account: str
    reason: str

    def line(self, call_id: str) -> str:
        return f"register={self.account!r} outcome=refused reason={self.reason!r} call-id={call_id}"


Outcome = Answered | Refused | BackedOff | Unusable | Unreachable | Unregistered


def _about(challenge: Challenge) -> str:
    return f"realm={challenge.realm!r} algorithm={challenge.algorithm or 'MD5'!r}"
