"""The process that watches Kamailio's memory: an rtimer's of its own, because the replica's may wait for a server."""

from __future__ import annotations

import time

from kemi.memory import Guard
from kemi.sip import api, rpc


class MemoryProcess:
    """The handler MEMORY, which rtimer calls twice a second."""

    def __init__(self) -> None:
        self._guard = Guard()

    def MEMORY(self, _message: object, _event: object) -> int:
        """Refuse new calls while memory is short."""
        try:
            memory = rpc.shared_memory()
            if memory and (line := self._guard.judge(memory, time.monotonic())):
                api.warning(line)
        except Exception as error:
            api.error(f"fault={api.fault(error)} in=MEMORY")
        return 1
