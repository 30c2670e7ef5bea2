"""Which TCP connections are closed, so that strangers cannot take the room of those who may call.

Each connection has a buffer in shared memory from the moment that it is accepted. Kamailio limits how many there are in
all, and from 6.0 on of one source (kamailio.cfg); but an idle connection lives for two minutes whoever opened it, and a
byte now and then makes it live on. So a process of its own looks at all of them:

1. A source has at most so many; its newest ones are closed.
2. One of a source that is not listed is closed after LIFE seconds, silent or not, and at once if half of all that there
   may be are taken: PBXs that connect, and our own to carriers, need the rest. Its next one is as good.

Connections to a carrier are left alone: those end at no port that we listen on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kemi.line import Line, warning

BUFFER = 64  # KiB of shared memory for each, tcp_rd_buf_size in kamailio.cfg
SHARE = 8  # an eighth of the memory is for buffers
MOST = 4096
SOURCE_SHARE = 4  # a quarter of them may be of one source

LIFE = 10.0  # seconds, if the source is not listed
LINE_EVERY = 60.0  # seconds


class Connection(NamedTuple):
    """A connection. number: Kamailio's, which rises. source: the address of the other end. port: of this end."""

    number: int
    source: str
    source_port: int
    port: int


def most(memory: int) -> int:
    """Return how many connections there may be with so many MiB of shared memory."""
    return min(memory * 1024 // SHARE // BUFFER, MOST)


def most_of_a_source(memory: int) -> int:
    """Return how many of them may be of one source."""
    return most(memory) // SOURCE_SHARE


class Guard:
    """Judges all connections, again and again. listened: ports of TCP sockets. limit: connections of one source."""

    def __init__(self, listened: frozenset[int], limit: int) -> None:
        self._listened = listened
        self._limit = limit
        self._crowd = limit * SOURCE_SHARE // 2
        self._seen: dict[int, float] = {}
        self._closed = 0
        self._next_line = 0.0

    def to_close(
        self, connections: Iterable[Connection], is_listed: Callable[[Connection], bool], now: float
    ) -> list[Connection]:
        """Return the connections to close, of all there are. now: monotonic."""
        of_source: defaultdict[str, list[Connection]] = defaultdict(list)
        for one in sorted(connections):
            if one.port in self._listened:
                of_source[one.source].append(one)
        self._seen = {one.number: self._seen.get(one.number, now) for all_ in of_source.values() for one in all_}
        life = LIFE if len(self._seen) <= self._crowd else 0.0
        found = []
        for all_ in of_source.values():
            found += all_[self._limit :]
            old = [one for one in all_[: self._limit] if now - self._seen[one.number] >= life]
            found += [one for one in old if not is_listed(one)]
        return found

    def line(self, closed: list[Connection], now: float) -> Line | None:
        """Return a line for the log about what was closed, at most one a minute."""
        self._closed += len(closed)
        if not closed or now < self._next_line:
            return None
        count, self._closed, self._next_line = self._closed, 0, now + LINE_EVERY
        return warning(outcome="connections-closed", count=count, source=closed[-1].source)
