"""What a resend carries after a challenge, and when there is to be none: who asks, and the counts of RFC 3261 22.2 and
22.3.

The rules stand in session.py: rules 7 and 8, and the table.

Pure: no I/O, no clock, no state.
"""

from __future__ import annotations

from collections.abc import Sequence

from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import Challenge
from kemi.auth.credentials import Credentials

MOST_ANSWERED = 4  # challenges of one request, whatever the carrier does, and over all its trunks


Asked = frozenset[tuple[int, str]]  # kind and realm of the challenges whose answers a carrier has accepted

MOST_ASKED = 32  # that are kept of a carrier, whatever realms it makes up
LONGEST_REALM = 255  # characters


def of_first(sent: Sequence[Sent]) -> tuple[Sent, ...]:
    """Return those of the server that is asked first. They are of one kind."""
    return tuple([one for one in sent if one.status == sent[0].status])


def known(asked: Asked, sent: Sequence[Sent], credentials: Credentials) -> Asked:
    """Return how the carrier asks, as its row has it: a carrier that asks alone, as it has asked this very request."""
    if credentials.answers_far_end:
        return frozenset()
    if credentials.asks_alone and sent:
        return frozenset((one.status, one.challenge.realm) for one in of_first(sent))
    return asked


def of_carrier(kind: int, challenges: Sequence[Challenge], sent: Sequence[Sent], asked: Asked) -> list[Challenge]:
    """Return the challenges that are such as this carrier poses (rule 8).

    A realm that it has not named yet may be that of another of its nodes, not behind one that let this request pass.
    """
    if not asked:
        return list(challenges)
    is_behind = any(one.challenged or one.status != kind for one in sent)
    realms = {realm for _, realm in asked}

    def is_carriers(challenge: Challenge) -> bool:
        return (kind, challenge.realm) in asked or not (is_behind or challenge.realm in realms)

    return [challenge for challenge in challenges if is_carriers(challenge)]


def learned(before: Asked, sent: Sequence[Sent]) -> Asked:
    """Return how a carrier asks after it has accepted these responses; the same object if that is not new."""
    asked: set[tuple[int, str]] = set()
    for one in sent:
        if one.challenged and len(one.challenge.realm) <= LONGEST_REALM:
            asked.add((one.status, one.challenge.realm))
    return before if asked <= before or len(before | asked) > MOST_ASKED else before | asked


def refusal(kind: int, challenges: Sequence[Challenge], attempt: Attempt) -> tuple[str, Challenge] | None:
    """Return why not to answer these challenges after the answers so far, and the one that it is about; None for no
    reason.
    """
    if attempt.answered + len(challenges) > MOST_ANSWERED:
        return "too many challenges", challenges[0]
    for challenge in challenges if attempt.sent else ():
        before = next((one for one in attempt.sent if one.is_same(kind, challenge)), None)
        if before is None or not before.challenged:
            continue
        is_new = before.proven and challenge.nonce != before.challenge.nonce
        if not (challenge.stale or is_new):
            return "credentials refused", challenge
    return None


def carried(kind: int, challenges: Sequence[Challenge], sent: Sequence[Sent]) -> tuple[Sent, ...]:
    """Return the resend's responses: to these challenges, of one realm each, and again to all others that were
    answered. The servers in front of the first that asks are proven.
    """
    if not sent:
        return tuple([Sent(kind, challenge) for challenge in challenges])
    asked = {challenge.realm: challenge for challenge in challenges}
    kept = [one for one in sent if one.challenged or one.status != kind or one.challenge.realm in asked]
    found: list[Sent] = []
    is_in_front = True
    for one in kept:
        challenge = asked.pop(one.challenge.realm, None) if one.status == kind else None
        is_in_front = is_in_front and challenge is None
        if challenge is None:
            found.append(one._replace(nc=one.nc + 1, proven=one.proven or is_in_front))
        else:
            nc = one.nc + 1 if one.challenge.nonce == challenge.nonce else 1
            found.append(Sent(kind, challenge, nc))
    return (*found, *[Sent(kind, challenge) for challenge in asked.values()])
