"""The process that serves metrics and health: an rtimer's of its own, whose handler does not return.

No SIP worker enters here, nor waits for it: what workers count lies in memory that is read from here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kemi.sip import api

if TYPE_CHECKING:
    from kemi.settings import Settings

NICENESS = 10  # a scrape must not take the processor from calls


class HttpProcess:
    """The handler HTTP, which rtimer calls once; again if it could not serve."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def HTTP(self, _message: object, _event: object) -> int:
        """Serve."""
        try:
            from kemi.metrics.node import serve  # noqa: PLC0415  # no other process needs HTTP

            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
            if self._settings.http:
                serve(self._settings, *self._settings.http)
        except Exception as error:
            api.tell_fault_in("HTTP", error)
        return 1
