"""What to do about a carrier's 401 or 407: one pure decision.

Read the table from the top; the first line that holds decides.

    what the carrier said, and what was tried before         decision
    -------------------------------------------------------  ----------------------------------------------
    nothing that parses as a Digest challenge                give up: no digest challenge
    5 challenges of this request were answered already       give up: too many challenges
    answered before, and the new challenge is not stale      give up: credentials refused
    no challenge for the trunk's realm                       give up: realm not the trunk's
    the row has no auth_username                             give up: no auth_username
    the row has no auth_password                             give up: no auth_password
    the challenge that uac_auth() would answer is not ours,
      or its algorithm or qop is not one it gets right       give up: algorithm or qop not answered
    otherwise                                                answer that challenge

Pure: no I/O, no clock, no state; what was tried before comes in as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kemi.challenge import Challenge

MOST_ANSWERS = 5  # for one request, whatever the carrier does


@dataclass(frozen=True)
class Credentials:
    """What a trunk's row gives to answer with. realm: the only realm answered, empty for any."""

    realm: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """Answer this challenge."""

    challenge: Challenge


@dataclass(frozen=True)
class GiveUp:
    """Answer nothing. reason: for the operator's log line. challenge: the one that it is about, if there is one."""

    reason: str
    challenge: Challenge | None = None


def decide(challenges: Sequence[Challenge], credentials: Credentials, answered: int) -> Answer | GiveUp:
    """Decide about one 401 or 407.

    challenges: the reply's Digest challenges in the order of the wire. answered: how many challenges of this request
    were answered before this one.
    """
    if not challenges:
        return GiveUp("no digest challenge")
    mine = [challenge for challenge in challenges if credentials.realm in ("", challenge.realm)]
    about = (mine or challenges)[0]
    if answered >= MOST_ANSWERS:
        return GiveUp("too many challenges", about)
    if answered and not any(challenge.stale for challenge in mine):
        return GiveUp("credentials refused", about)
    if not mine:
        return GiveUp("realm not the trunk's", about)
    if not credentials.username:
        return GiveUp("no auth_username", about)
    if not credentials.password:
        return GiveUp("no auth_password", about)
    picked = _picked_by_uac_auth(challenges)
    if picked is None or picked not in mine or not _is_answered_rightly(picked):
        return GiveUp("algorithm or qop not answered", about)
    return Answer(picked)


def _picked_by_uac_auth(challenges: Sequence[Challenge]) -> Challenge | None:
    """The first challenge that it can parse (src/core/parser/digest); before 6.1 it does not look beyond the first
    one.
    """
    return next((challenge for challenge in challenges if challenge.hash_name in ("MD5", "MD5-SESS")), None)


def _is_answered_rightly(challenge: Challenge) -> bool:
    """Whether uac_auth() gets the digest right on every Kamailio from 5.6 to 6.1: MD5, with qop auth or without qop."""
    return challenge.hash_name == "MD5" and (not challenge.qop or "auth" in challenge.qop)
