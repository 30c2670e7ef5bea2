"""Nonces that carriers have accepted, shared by all workers: a request that carries one of them from the start needs no
challenge (RFC 3261 22.3, RFC 7616 3.3).

What is known of a trunk's carrier is one record:

    the carrier                                             the record afterwards
    ------------------------------------------------------  -----------------------------------------------------
    accepts the answers to its challenges                   holds these challenges
    accepts a request that carried answers from the start   as it was, and turned down 0 times
    names its next nonce (RFC 7616 3.5)                     holds that nonce in the place of the one before
    turns down what a request carried from the start        holds nothing, and was turned down once more
    has turned down 3 in a row                              the same, and stays so for 10 minutes; then one more try

Beside the record stands a counter for each nonce, and nc is taken from it, so that no two requests carry the same (RFC
7616 3.4). Both lie in Kamailio's shared memory and expire there (kamailio.cfg), the count after every record that may
hold its nonce. No secret is part of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from time import monotonic

from kemi import ksr
from kemi.auth.session import Answered, recalled, remembered

MOST_TURNED_DOWN = 3  # in a row; then the trunk is left alone
LEFT_ALONE = 600  # seconds
COUNT_KEPT = 2100  # seconds since the last use, as in kamailio.cfg
NOT_ACCEPTED = 300  # seconds, for the count of a nonce that nobody may ever carry again
LONGEST_NONCE = 1024  # characters of nonce and opaque that are kept


@dataclass(frozen=True, eq=False)  # a record is itself alone: _read() gives the same one for the same text
class Record:
    """What is known of a trunk's carrier.

    held: the challenges whose answers it accepts, in the order in which they first came. turned_down: how often in a
    row. since: when that was learned, in seconds of the monotonic clock, which all processes share. is_named: whether
    the carrier has named a nonce of these in advance. counters: what counts the requests with each of them; empty where
    nothing does (no qop, RFC 2069).
    """

    held: tuple[Answered, ...] = ()
    turned_down: int = 0
    since: int = 0
    is_named: bool = False
    counters: tuple[str, ...] = ()

    def is_left_alone(self, now: float) -> bool:
        """Whether it is too early to try again."""
        return self.turned_down >= MOST_TURNED_DOWN and not self.held and now - self.since < LEFT_ALONE

    def holds(self, answered: Sequence[Answered]) -> bool:
        """Whether it holds all of these challenges, with these nonces."""
        held = {_identity(one) for one in self.held}
        return bool(answered) and all(_identity(one) in held for one in answered)


NOTHING: tuple[Record, tuple[int, ...]] = (Record(), ())  # what take() finds of a carrier that is not known


def trunk_key(uuid: str, carrier: str) -> str:
    """The name of a trunk's record: a row that leads to another carrier by now has another one."""
    return f"{uuid}\n{carrier}"


def take(key: str) -> tuple[Record, tuple[int, ...]]:
    """What is known of a trunk's carrier, and for each challenge held a nonce count that no other request has; no
    counts where nothing is held, or cannot be counted.
    """
    record = _read(key, ksr.nonces_record(key))
    counts = tuple([ksr.next_nonce_count(counter) if counter else 1 for counter in record.counters])
    return record, counts if counts and min(counts) > 0 else ()


def count_again(key: str, answered: Sequence[Answered]) -> tuple[Answered, ...]:
    """The same, with nonce counts that no other request has: a carrier may give several calls one nonce."""
    return tuple(_counted(key, one) for one in answered)


def accepted(key: str, answered: Sequence[Answered]) -> None:
    """The carrier has let a request pass that carried these. The realm of the one that asked first is the carrier's:
    another realm, behind it, is a far end's, and the next call may go to another far end.
    """
    answered = [one for one in answered if one.challenge.realm == answered[0].challenge.realm]
    before = _read(key, ksr.nonces_record(key))
    if not any(one.asked for one in answered):
        if before.turned_down and before.holds(answered):
            _write(key, replace(before, turned_down=0))
    elif before.holds(answered) or before.is_left_alone(monotonic()):
        return
    elif sum(len(one.challenge.nonce) + len(one.challenge.opaque or "") for one in answered) <= LONGEST_NONCE:
        held = tuple(Answered(one.status, one.challenge, asked=False) for one in answered)
        _write(key, Record(held, before.turned_down, int(monotonic())))
        for one in held:
            if counter := _counter(key, one):
                ksr.keep_nonce_count(counter, COUNT_KEPT)


def replaced(key: str, answered: Sequence[Answered], status: int, nonce: str) -> None:
    """The carrier has let a request pass that carried these, and names the nonce that it wants in the next answer to a
    challenge of this status.
    """
    before = _read(key, ksr.nonces_record(key))
    used = next(one for one in answered if one.status == status)
    old = next((one for one in before.held if _identity(one) == _identity(used)), None)
    if old and nonce != old.challenge.nonce and len(nonce) <= LONGEST_NONCE:
        new = old._replace(challenge=old.challenge._replace(nonce=nonce))
        held = tuple(new if one is old else one for one in before.held)
        _write(key, Record(held, before.turned_down, int(monotonic()), is_named=True))


def turned_down(key: str, answered: Sequence[Answered]) -> bool:
    """The carrier has turned down a request that carried these from the start. True: it is left alone now."""
    before = _read(key, ksr.nonces_record(key))
    if not before.holds([one for one in answered if not one.asked]):  # others had the same nonce, and said so already
        return False
    after = Record((), before.turned_down + 1, int(monotonic()))
    _write(key, after)
    return after.turned_down >= MOST_TURNED_DOWN


def _counted(key: str, one: Answered) -> Answered:
    """The same with the next count of its nonce, where it is counted."""
    counter = _counter(key, one)
    if not counter:
        return one
    count = ksr.next_nonce_count(counter)
    if count == 1:
        ksr.keep_nonce_count(counter, NOT_ACCEPTED)
    return one._replace(nc=max(one.nc, count))


def _identity(one: Answered) -> tuple[int, str, str]:
    return one.status, one.challenge.realm, one.challenge.nonce


def _counter(key: str, one: Answered) -> str:
    """The name of a nonce's counter, short whatever the carrier calls its nonce; empty for one without qop. Trunks to
    one carrier share it: that carrier may give them the same nonce.
    """
    if not one.challenge.qop:
        return ""
    _, _, carrier = key.partition("\n")
    status, realm, nonce = _identity(one)
    return blake2b(f"{carrier}\n{status}\n{realm}\n{nonce}".encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=256)
def _read(key: str, text: str) -> Record:
    """The record in this text. One that was written while it was read says nothing: htable gives out what it may be
    changing (ht_cell_pkg_copy() in htable/ht_api.c).
    """
    checksum, _, rest = text.partition(" ")
    if checksum != _checksum(rest):
        return Record()
    turned_down, since, is_named, held = rest.split(" ", 3)
    challenges = recalled(held)
    counters = tuple(_counter(key, one) for one in challenges)
    return Record(challenges, int(turned_down), int(since), is_named == "1", counters)


def _write(key: str, record: Record) -> None:
    text = f"{record.turned_down} {record.since} {record.is_named:d} {remembered(record.held)}"
    ksr.set_nonces_record(key, f"{_checksum(text)} {text}")


def _checksum(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=8).hexdigest()
