"""The process that watches Kamailio's memory, its TCP connections, its gate and its counters: an rtimer's of its own,
because the replica's may wait for a server.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kemi.health import connections, memory
from kemi.health.connections import Connection
from kemi.line import warning
from kemi.metrics import counts
from kemi.metrics.lately import Calls, Lately
from kemi.outcome import ENDS
from kemi.sip import api, floods, rpc, shared, tcp
from kemi.trunks.names import ResolvedNames

if TYPE_CHECKING:
    from kemi.settings import Settings

LOOKS_EVERY = 5.0  # seconds between two looks at all connections, if there are few, and at all counters

_FAILURES = [place for place, told in enumerate(ENDS.values()) if told is ENDS["failed"]]


class MemoryProcess:
    """The handler MEMORY, which rtimer calls twice a second."""

    def __init__(self, settings: Settings) -> None:
        self._memory = memory.Guard()
        ports = frozenset(each.port for each in settings.listen if each.proto != "udp")
        self._connections = connections.Guard(ports, connections.most_of_a_source(settings.memory))
        self._few = connections.most_of_a_source(settings.memory)
        self._names = ResolvedNames(settings.names_file)
        self._next_look = 0.0
        self._lately = Lately()
        self._next_count = 0.0
        self._flood_told = 0  # the minute of the last line about one

    def MEMORY(self, _message: object, _event: object) -> int:
        """Refuse new calls while memory is short; close connections that nobody may have."""
        try:
            now = time.monotonic()
            found = rpc.shared_memory()
            if found and (line := self._memory.judge(found, now)):
                api.write(line)
            self._watch_connections(now)
            self._watch_gate(int(time.time()))
            self._publish(now)
        except Exception as error:
            api.tell_fault_in("MEMORY", error)
        return 1

    def _watch_connections(self, now: float) -> None:
        count = rpc.count_of_connections()
        if not count or (count < self._few and now < self._next_look):
            return
        self._next_look = now + LOOKS_EVERY
        closed = self._connections.to_close(rpc.connections(), self.may_stay, now)
        for one in closed:
            tcp.close(one)
        if line := self._connections.line(closed, now):
            api.write(line)

    def may_stay(self, one: Connection) -> bool:
        """Return True if a connection's source is a PBX's or a carrier's. A script with phones says more."""
        return tcp.is_listed(one) or self._names.is_next_hop_host(f"{one.source} {one.source_port} tcp")

    def _watch_gate(self, now: int) -> None:
        minute = (now - 1) // 60  # all of a minute is seen
        if minute != self._flood_told and (source := floods.source_dropped(minute)):
            self._flood_told = minute
            api.write(warning(source=source, outcome="dropped", reason="not listed, and more than 20 requests in 10 s"))

    def _publish(self, now: float) -> None:
        """Say in a table, for the command `trunks`, how many calls each trunk has had lately."""
        if now < self._next_count:
            return
        self._next_count = now + LOOKS_EVERY
        totals = counts.totals(counts.CALLS, len(ENDS))
        calls = {
            trunk: Calls(sum(numbers), sum([numbers[place] for place in _FAILURES]))
            for trunk, numbers in totals.items()
        }
        for trunk, found in self._lately.look(calls, now).items():
            if trunk:
                shared.set_lately(trunk, *found)
