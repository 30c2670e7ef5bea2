"""All handlers in one object: the SIP flow, and the process that keeps the copy. The entry script hands it to Kamailio;
a script of one's own derives from it.
"""

from __future__ import annotations

from kemi.flow import TrunkAuth
from kemi.replica.process import ReplicaProcess
from kemi.settings import Settings


class Handlers(TrunkAuth, ReplicaProcess):
    """The object that mod_init() returns."""

    def __init__(self, settings: Settings) -> None:
        TrunkAuth.__init__(self, settings)
        ReplicaProcess.__init__(self, settings)

    # Unless its configuration switches them off, Kamailio 5.6 needs these two: without them the next calls into KSR
    # raise SystemError.

    def ksr_reply_route(self, _message: object) -> int:
        """Every reply passes."""
        return 1

    def ksr_onsend_route(self, _message: object) -> int:
        """Every message that is sent passes."""
        return 1
