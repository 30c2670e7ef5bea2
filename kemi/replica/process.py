"""The process that keeps the copy: an rtimer's, whose handler this is. It may wait; SIP workers never enter here."""

from __future__ import annotations

import ctypes
import os

from kemi.metrics import freshness
from kemi.replica.keeper import Keeper
from kemi.settings import Settings
from kemi.sip import api, rpc

NICENESS = 10  # a large sync must not take the processor from calls


class ReplicaProcess:
    """The handler REPLICA, which rtimer calls ten times a second in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeper: Keeper | None = None
        self._addresses_changed = False

    def REPLICA(self, _message: object, _event: object) -> int:
        """Keep the copy of the database, and tell Kamailio's modules of changes."""
        try:
            self._keep()
        except Exception as error:
            api.tell_fault_in("REPLICA", error)
        return 1

    def _keep(self) -> None:
        if self._keeper is None:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
            ask_name_servers()
            self._keeper = Keeper.of(self._settings)
        report = self._keeper.tick()
        freshness.note(self._keeper.synced_at)
        for line in report.lines:
            api.write(line)
        self._addresses_changed = self._addresses_changed or report.addresses
        if self._addresses_changed:
            self._addresses_changed = not rpc.reload_addresses()


def ask_name_servers() -> None:
    """Have this process ask the name servers of resolv.conf for the database's host: kamailio.cfg keeps all from it
    (dns_servers_no=0), and this one may wait.
    """
    ctypes.CDLL(None)["__res_init"]()
