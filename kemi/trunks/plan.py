"""Where a request may still go, and what its caller is told if nobody takes it: RFC 3261 16.7, RFC 3263 4.3.

The next hops of a trunk come before the next trunk. Of all that was said, the caller gets the best last word: a
carrier's own, then that credentials were refused, then that nothing was said in time. 503 comes after these: if nobody
said anything else, the next request would meet the same, and the longest Retry-After says for how long.

Pure.
"""

from __future__ import annotations

from typing import NamedTuple

SERVICE_UNAVAILABLE = 503
TIMEOUT = 408
MOST_BRANCHES = 12  # of one request (max_branches in Kamailio): each attempt takes one, sent or not
NOT_AUTHENTICATED = "Trunk Authentication Failed"


class Word(NamedTuple):
    """What the caller may be told. status 0: nothing yet. retry_after: seconds, 0 for none."""

    status: int = 0
    reason: str = ""
    retry_after: int = 0


NOTHING = Word()
REFUSED = Word(SERVICE_UNAVAILABLE, NOT_AUTHENTICATED)
SILENT = Word(TIMEOUT, "Request Timeout")
UNREACHABLE = Word(SERVICE_UNAVAILABLE, "Next Hop Unreachable")
UNUSABLE = Word(404, "No Trunk")
FULL = Word(SERVICE_UNAVAILABLE, "Trunk Full", 1)


class Plan(NamedTuple):
    """The places that are left. hop: where the attempt at hand goes, a URI; empty: where its R-URI leads; of a
    carrier's request the R-URI for the PBX, and behind a space where it goes. hops: of the same trunk, not tried yet.
    trunks: l_uuids not tried yet. word: the best so far.
    is_large: True if hops are tried by TCP first (large.py): a hop is one place, however it is written. branches: that
    the request has had.
    """

    trunks: tuple[str, ...] = ()
    hops: tuple[str, ...] = ()
    hop: str = ""
    word: Word = NOTHING
    is_large: bool = False
    branches: int = 0

    @property
    def goes_on(self) -> bool:
        """True if there is another place, and room for an attempt."""
        return bool(self.hops or self.trunks) and self.has_room

    @property
    def has_room(self) -> bool:
        """True if Kamailio would send the request once more."""
        return self.branches < MOST_BRANCHES

    @property
    def leaves_trunk(self) -> bool:
        """True if no other place of the same trunk is tried."""
        return not (self.hops and self.has_room)

    def unsent(self) -> Plan:
        """Return the plan after an attempt that could not be sent."""
        return self._replace(branches=self.branches + 1)

    def heard(self, word: Word) -> Plan:
        """Return the plan after another word was said."""
        return self._replace(word=best(self.word, word))


def best(one: Word, other: Word) -> Word:
    """Return the better last word; of equals the first, but with the longest Retry-After."""
    if _rank(other) < _rank(one):
        return other
    if _rank(other) == _rank(one) and other.retry_after > one.retry_after:
        return one._replace(retry_after=other.retry_after)
    return one


def _rank(word: Word) -> int:
    if not word.status:
        return 5
    if word == UNUSABLE:
        return 4
    if word.status == SERVICE_UNAVAILABLE:
        return 1 if word.reason == NOT_AUTHENTICATED else 3
    return 2 if word == SILENT else 0
