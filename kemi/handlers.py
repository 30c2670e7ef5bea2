"""All handlers in one object: the SIP flow, registrations, and the processes that keep the copy, resolve names, watch
memory and serve metrics. The entry script hands it to Kamailio; a script of one's own derives from it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Self

from kemi.flow.contract import Contract
from kemi.flow.registration import Registration
from kemi.health.process import MemoryProcess
from kemi.metrics.process import HttpProcess
from kemi.names.process import NamesProcess
from kemi.replica.process import ReplicaProcess
from kemi.settings import Settings

_MAIN = os.getpid()  # of the process that forks all others
_FORKED_WITHIN = 1.0  # seconds


class Handlers(Contract, Registration, ReplicaProcess, NamesProcess, MemoryProcess, HttpProcess):
    """The object that mod_init() returns."""

    def __init__(self, settings: Settings) -> None:
        Contract.__init__(self, settings)
        ReplicaProcess.__init__(self, settings)
        NamesProcess.__init__(self, settings)
        MemoryProcess.__init__(self, settings)
        HttpProcess.__init__(self, settings)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Make them from the TRUNKAUTH_* variables.

        A setting that cannot be used ends Kamailio with one line on stderr, and status 1.
        """
        try:
            return cls(Settings.from_environment(environment))
        except Exception as error:
            _say(error)
            os._exit(1)

    def child_init(self, rank: int) -> int:
        """Called by app_python3 in every process.

        A process that cannot start ends Kamailio with one line on stderr, and a status that is not 0.
        """
        try:
            return super().child_init(rank)
        except Exception as error:
            _say(error)
            if os.getpid() != _MAIN:
                time.sleep(_FORKED_WITHIN)  # if a child ends while others are forked, Kamailio may hang for a minute
                os.kill(os.getpid(), signal.SIGKILL)  # if a child exits, Kamailio exits with 0; after a signal, with 1
            raise

    # Unless its configuration switches them off, Kamailio 5.6 needs these two: without them the next calls into KSR
    # raise SystemError.

    def ksr_reply_route(self, _message: object) -> int:
        """Every reply passes."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Every message that is sent passes."""
        return 1


def _say(error: Exception) -> None:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"kemi-trunkauth cannot start: {reason}", file=sys.stderr, flush=True)
