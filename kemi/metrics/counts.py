"""Counters of trunks, in memory that all processes share since the fork: to count is to add to a number, and no more.

Each process writes to numbers of its own, so none waits for another, and none is lost; the sum over all processes is
what Prometheus gets. A process takes memory in pieces, for some trunks each, when it first counts for one.

The labels are the trunk, which is always the l_uuid of a row, and words of fixed lists: callers choose none. A process
counts what is beyond MOST trunks together, as OTHERS.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterator

from kemi.auth.digest import HASHES
from kemi.outcome import ENDS

ALGORITHMS = (*HASHES, *(f"{name}-sess" for name in HASHES))
OTHER = "other"  # algorithm
CHALLENGES = tuple((name, result) for name in (*ALGORITHMS, OTHER) for result in ("answered", "refused"))
CLASSES = ("2xx", "3xx", "4xx", "5xx", "6xx", "none")  # of the last word of a place; none: it said nothing
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0)  # seconds

# The numbers of a trunk, in order: calls by how they ended, attempts by class, challenges, preemptive responses, calls
# by the time until they were answered, these times' sum in milliseconds, and calls of its carrier by how they ended.
CALLS = 0
ATTEMPTS = CALLS + len(ENDS)
CHALLENGED = ATTEMPTS + len(CLASSES)
ACCEPTED = CHALLENGED + len(CHALLENGES)
TURNED_DOWN = ACCEPTED + 1
SETUPS = TURNED_DOWN + 1
SETUP_SUM = SETUPS + len(BOUNDS) + 1
INBOUND = SETUP_SUM + 1
NUMBERS = INBOUND + len(ENDS)

MOST = 10_000  # trunks that a process counts for
OTHERS = "(others)"

_LONGEST_NAME = 256  # octets: an l_uuid has 64 characters
_WORD = 8
_NAME_WORDS = 1 + _LONGEST_NAME // _WORD  # its length and one, and its octets
_WORDS = 96  # of an entry
_PIECE_SIZE = _WORDS // 16 * mmap.ALLOCATIONGRANULARITY  # of 32 entries, if a page has 4096 octets

_FILE = os.memfd_create("kemi-trunkauth-counts")
_ALL_BOUNDS = [int(1000 * bound) for bound in BOUNDS]
_ENDS = {name: place for place, name in enumerate(ENDS)}
ANSWERED, _REFUSED = (
    {name.upper(): CHALLENGED + CHALLENGES.index((name, result)) for name in (*ALGORITHMS, OTHER)}
    for result in ("answered", "refused")
)
OTHER_ANSWERED = ANSWERED[OTHER.upper()]


class Entries(dict[str, memoryview]):
    """This process's numbers, by trunk."""

    def __init__(self) -> None:
        super().__init__()
        self._piece = memoryview(b"").cast("Q")

    def __missing__(self, trunk: str) -> memoryview:
        if len(self) >= MOST and trunk != OTHERS:
            return self[OTHERS]
        if not self._piece:
            self._piece = _new_piece()
        entry, self._piece = self._piece[:_WORDS], self._piece[_WORDS:]
        name = trunk.encode(errors="replace")[:_LONGEST_NAME]
        entry.cast("B")[_WORD : _WORD + len(name)] = name
        entry[0] = len(name) + 1  # from now on it is read
        self[trunk] = entry[_NAME_WORDS : _NAME_WORDS + NUMBERS]
        return self[trunk]


ENTRIES = Entries()


def _new_piece() -> memoryview:
    """Return memory that no other process writes to: the file grows by it, under a lock."""
    fcntl.lockf(_FILE, fcntl.LOCK_EX)
    try:
        start = os.fstat(_FILE).st_size
        os.ftruncate(_FILE, start + _PIECE_SIZE)
    finally:
        fcntl.lockf(_FILE, fcntl.LOCK_UN)
    return memoryview(mmap.mmap(_FILE, _PIECE_SIZE, offset=start)).cast("Q")


def count_call(trunk: str, end: str) -> None:
    """Count a call that ended so (outcome.ENDS)."""
    ENTRIES[trunk][CALLS + _ENDS[end]] += 1


def count_inbound(trunk: str, end: str) -> None:
    """Count a call of the trunk's carrier."""
    ENTRIES[trunk][INBOUND + _ENDS[end]] += 1


def count_answered(trunk: str, milliseconds: int) -> None:
    """Count a call that was answered so long after its INVITE, and the attempt that brought it."""
    numbers = ENTRIES[trunk]
    numbers[CALLS] += 1
    numbers[ATTEMPTS] += 1
    numbers[SETUPS + bisect_left(_ALL_BOUNDS, milliseconds)] += 1
    numbers[SETUP_SUM] += max(milliseconds, 0)


def count_attempt(trunk: str, status: int) -> None:
    """Count an attempt of a call whose place has said its last word; status 0: it said nothing."""
    ENTRIES[trunk][ATTEMPTS + (status // 100 - 2 if status else len(CLASSES) - 1)] += 1


def count_refused(trunk: str, algorithm: str) -> None:
    """Count a challenge that was refused. algorithm: as the carrier wrote it."""
    ENTRIES[trunk][_REFUSED.get(algorithm.upper(), _REFUSED[OTHER.upper()])] += 1


def count_preemptive(trunk: str, place: int) -> None:
    """Count a preemptive response. place: ACCEPTED or TURNED_DOWN."""
    ENTRIES[trunk][place] += 1


def totals(first: int = 0, count: int = NUMBERS) -> dict[str, list[int]]:
    """Return the numbers of each trunk, over all processes: so many, from this one on."""
    found: dict[str, list[int]] = {}
    for entry in _entries():
        numbers = entry[_NAME_WORDS + first : _NAME_WORDS + first + count].tolist()
        trunk = bytes(entry.cast("B")[_WORD : _WORD + entry[0] - 1]).decode(errors="ignore")  # it may be cut
        before = found.get(trunk)
        found[trunk] = numbers if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
    return found


def _entries() -> Iterator[memoryview]:
    size = os.fstat(_FILE).st_size
    if not size:
        return
    with mmap.mmap(_FILE, size, prot=mmap.PROT_READ) as shared, memoryview(shared) as octets, octets.cast("Q") as words:
        for start in range(0, size // _WORD, _WORDS):
            with words[start : start + _WORDS] as entry:
                if entry[0]:
                    yield entry
