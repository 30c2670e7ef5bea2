"""The nonce cache's rules: which nonces of a carrier the next request may carry (RFC 3261 22.3, RFC 7616 3.3).

One record per trunk and destination:

    the carrier                                          the record afterwards
    ---------------------------------------------------  --------------------------------------------------------
    accepts the responses to its challenges              holds these challenges
    accepts preemptive responses, whatever their nonces  as it was, and rejected 0 times
    names its next nonce (RFC 7616 3.5)                  holds that nonce in place of the old one
    rejects preemptive responses                         holds nothing, and rejected once more
    has rejected 3 in a row                              the same, and is backed off for 10 minutes; then one more try

So a carrier is backed off if it takes no nonce again. One that wants each nc to be higher rejects requests that others
have overtaken, but accepts some in between.

Each nonce has a counter beside the record, from which nc is taken, so that no two requests carry the same (RFC 7616
3.4). Record and counters lie in Kamailio's shared memory (sip/shared.py) and expire there, the counter after every
record that may hold its nonce. Neither holds a secret.

Pure: the record and the time come in, a record goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from kemi.auth.attempt import Sent

MOST_REJECTED = 3  # in a row; then the carrier is backed off
BACK_OFF = 600  # seconds
COUNT_KEPT = 2100  # seconds since the last use, as in kamailio.cfg
COUNT_UNPROVEN = 300  # seconds, for a nonce that no record holds
LONGEST_NONCE = 1024  # characters of nonce and opaque that are kept


@dataclass(frozen=True, eq=False)  # compared by identity, so it can key a cache
class Record:
    """The nonce cache of one trunk and destination.

    held: the challenges whose responses the carrier accepts, in the order in which they first came. counters: the names
    of their nonces' counters, in the same order; empty for one without qop, which has no nc (RFC 2069). rejected: how
    often in a row. since: when it last changed, in seconds of the epoch. names_next: True if the carrier has named a
    nonce of these in advance.
    """

    held: tuple[Sent, ...] = ()
    counters: tuple[str, ...] = ()
    rejected: int = 0
    since: int = 0
    names_next: bool = False

    def is_backed_off(self, now: float) -> bool:
        """Return True while it is too early to try again."""
        return self.rejected >= MOST_REJECTED and not self.held and now - self.since < BACK_OFF

    def holds(self, sent: Sequence[Sent]) -> bool:
        """Return True if it holds all of these challenges, with these nonces."""
        held = {_identity(one) for one in self.held}
        return bool(sent) and all(_identity(one) in held for one in sent)


UNKNOWN = Record()


def counter(destination: str, one: Sent) -> str:
    """Return the name of a nonce's counter, short whatever the nonce's length; empty for one without qop.

    Trunks with one destination share it: that carrier may give them the same nonce.
    """
    if not one.challenge.qop:
        return ""
    challenge = one.challenge
    return blake2b(
        f"{destination}\n{one.status}\n{challenge.realm}\n{challenge.nonce}".encode(errors="surrogateescape"),
        digest_size=16,
    ).hexdigest()


def accepted(record: Record, sent: Sequence[Sent], destination: str, now: float) -> Record:
    """Return the record after the carrier accepted a request with these responses.

    The realm that challenged first is the carrier's, and so is one that asked in the same reply. A realm that asks once
    the first has let the request pass is a far end's, whose nonce is not kept: the next call may go to another one.
    """
    first = sent[0]
    own = [one for one in sent if one.challenge.realm == first.challenge.realm or not first.proven]
    if not any(one.challenged for one in own):
        return replace(record, rejected=0) if record.rejected else record
    if record.holds(own) or record.is_backed_off(now):
        return record
    if sum(len(one.challenge.nonce) + len(one.challenge.opaque or "") for one in own) > LONGEST_NONCE:
        return record
    held = tuple([Sent(one.status, one.challenge, challenged=False) for one in own])
    return Record(held, _counters(destination, held), record.rejected, int(now))


def replaced(record: Record, used: Sent, destination: str, nonce: str, now: float) -> Record:
    """Return the record after the carrier accepted this response and named the nonce for the next one."""
    old = next((one for one in record.held if _identity(one) == _identity(used)), None)
    if old is None or nonce == old.challenge.nonce or len(nonce) > LONGEST_NONCE:
        return record
    new = old._replace(challenge=old.challenge._replace(nonce=nonce))
    held = tuple([new if one is old else one for one in record.held])
    return Record(held, _counters(destination, held), record.rejected, int(now), names_next=True)


def rejected(record: Record, sent: Sequence[Sent], now: float) -> Record:
    """Return the record after the carrier rejected these preemptive responses; the same object if another request with
    the same nonces has told so already.
    """
    return Record(rejected=record.rejected + 1, since=int(now)) if record.holds(sent) else record


def _counters(destination: str, held: Sequence[Sent]) -> tuple[str, ...]:
    return tuple([counter(destination, one) for one in held])


def _identity(one: Sent) -> tuple[int, str, str]:
    return one.status, one.challenge.realm, one.challenge.nonce
