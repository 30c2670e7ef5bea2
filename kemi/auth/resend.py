"""What a resend carries after a challenge, and when there is to be none: who asks, and the counts of RFC 3261 22.2 and
22.3.

The rules stand in session.py: rules 6 to 8, and the table.

Pure: no I/O, no clock, no state.
"""

from __future__ import annotations

from collections.abc import Sequence

from kemi.auth import digest
from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import Challenge
from kemi.auth.credentials import Credentials
from kemi.trunks.plan import MOST_BRANCHES

MOST_ANSWERED = 4  # challenges of one request, whatever the carrier does, and over all its trunks

# Reasons that no trunk is to blame for: the bound is the request's.
SPENT = f"the {MOST_ANSWERED} answers of this request are spent"
NO_ROOM = f"the {MOST_BRANCHES} attempts of this request are made"

Posed = tuple[int, Challenge]  # a challenge and its kind
Asked = frozenset[tuple[int, str]]  # kind and realm of the challenges whose answers a carrier has accepted

MOST_ASKED = 32  # that are kept of a carrier, whatever realms it makes up
LONGEST_REALM = 255  # characters

_STRENGTH = {name: place for place, name in enumerate(digest.HASHES)}  # lower is stronger


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


def of_carrier(posed: Sequence[Posed], sent: Sequence[Sent], asked: Asked, asks_alone: bool) -> list[Posed]:
    """Return the challenges that are such as this carrier poses (rule 8).

    A realm that it has not named yet may be that of another of its nodes, not behind one that let this request pass,
    nor by another kind if it asks alone.
    """
    if not asked:
        return list(posed)
    kinds, realms = {kind for kind, _ in asked}, {realm for _, realm in asked}

    def is_carriers(kind: int, realm: str) -> bool:
        if (kind, realm) in asked:
            return True
        is_behind = any(one.challenged or one.status != kind for one in sent)
        return not (is_behind or realm in realms or (asks_alone and kind not in kinds))

    return [(kind, challenge) for kind, challenge in posed if is_carriers(kind, challenge.realm)]


def of_its_kinds(posed: Sequence[Posed], asked: Asked, asks_alone: bool) -> list[Posed]:
    """Return those that are the carrier's, of challenges of both kinds that can all be answered (rule 8)."""
    kinds = {kind for kind, _ in asked}
    own = [one for one in posed if one[0] in kinds] or list(posed)
    return [one for one in own if one[0] == own[0][0]] if asks_alone else own


def strongest(posed: Sequence[Posed]) -> list[Posed]:
    """Return the strongest challenge of each kind and realm, in the carrier's order (rule 6)."""
    by_server: dict[tuple[int, str], list[Posed]] = {}
    for kind, challenge in posed:
        by_server.setdefault((kind, challenge.realm), []).append((kind, challenge))
    return [min(alike, key=_weakness) for alike in by_server.values()]


def _weakness(posed: Posed) -> tuple[int, bool]:
    _, challenge = posed
    return _STRENGTH[challenge.hash_name], challenge.is_session


def learned(before: Asked, sent: Sequence[Sent]) -> Asked:
    """Return how a carrier asks after it has accepted these responses; the same object if that is not new."""
    asked: set[tuple[int, str]] = set()
    for one in sent:
        if one.challenged and len(one.challenge.realm) <= LONGEST_REALM:
            asked.add((one.status, one.challenge.realm))
    return before if asked <= before or len(before | asked) > MOST_ASKED else before | asked


def refusal(posed: Sequence[Posed], attempt: Attempt) -> tuple[str, Challenge] | None:
    """Return why not to answer these challenges after the answers so far, and the one that it is about; None for no
    reason.
    """
    if attempt.answered + len(posed) > MOST_ANSWERED:
        asks_again = any(one.challenged and one.is_same(*challenge) for one in attempt.sent for challenge in posed)
        return SPENT if attempt.is_moved and not asks_again else "too many challenges", posed[0][1]
    for kind, challenge in posed if attempt.sent else ():
        before = next((one for one in attempt.sent if one.is_same(kind, challenge)), None)
        if before is None or not before.challenged:
            continue
        is_new = before.proven and challenge.nonce != before.challenge.nonce
        if not (challenge.stale or is_new):
            return "credentials refused", challenge
    return None


def carried(posed: Sequence[Posed], sent: Sequence[Sent]) -> tuple[Sent, ...]:
    """Return the resend's responses: to these challenges, one of each kind and realm, and again to all others that were
    answered. The servers in front of the first that asks are proven.
    """
    if not sent:
        return tuple([Sent(kind, challenge) for kind, challenge in posed])
    kinds = {kind for kind, _ in posed}
    asked = {(kind, challenge.realm): challenge for kind, challenge in posed}
    kept = [
        one for one in sent if one.challenged or one.status not in kinds or (one.status, one.challenge.realm) in asked
    ]
    found: list[Sent] = []
    is_in_front = True
    for one in kept:
        challenge = asked.pop((one.status, one.challenge.realm), None)
        is_in_front = is_in_front and challenge is None
        if challenge is None:
            found.append(one._replace(nc=one.nc + 1, proven=one.proven or is_in_front))
        else:
            nc = one.nc + 1 if one.challenge.nonce == challenge.nonce else 1
            found.append(Sent(one.status, challenge, nc))
    return (*found, *[Sent(kind, challenge) for (kind, _), challenge in asked.items()])
