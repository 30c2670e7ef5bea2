"""The process that watches Kamailio's memory and its TCP connections: an rtimer's of its own, because the replica's may
wait for a server.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kemi.health import connections, memory
from kemi.sip import api, rpc, tcp

if TYPE_CHECKING:
    from kemi.settings import Settings

LOOKS_EVERY = 5.0  # seconds between two looks at all connections, if there are few


class MemoryProcess:
    """The handler MEMORY, which rtimer calls twice a second."""

    def __init__(self, settings: Settings) -> None:
        self._memory = memory.Guard()
        ports = frozenset(each.port for each in settings.listen if each.proto != "udp")
        self._connections = connections.Guard(ports, connections.most_of_a_source(settings.memory))
        self._few = connections.most_of_a_source(settings.memory)
        self._next_look = 0.0

    def MEMORY(self, _message: object, _event: object) -> int:
        """Refuse new calls while memory is short; close connections that nobody may have."""
        try:
            now = time.monotonic()
            found = rpc.shared_memory()
            if found and (line := self._memory.judge(found, now)):
                api.warning(line)
            self._watch_connections(now)
        except Exception as error:
            api.error(f"fault={api.fault(error)} in=MEMORY")
        return 1

    def _watch_connections(self, now: float) -> None:
        count = rpc.count_of_connections()
        if not count or (count < self._few and now < self._next_look):
            return
        self._next_look = now + LOOKS_EVERY
        closed = self._connections.to_close(rpc.connections(), tcp.is_listed, now)
        for one in closed:
            tcp.close(one)
        if line := self._connections.line(closed, now):
            api.warning(line)
