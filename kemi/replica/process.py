"""The process that keeps the copy: the rtimer's, whose handler this is. It may wait; SIP workers never enter here."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable

from kemi.replica.keeper import Keeper
from kemi.replica.registrations import Registrations
from kemi.settings import Settings
from kemi.sip import api, registrar, rpc
from kemi.sip.registrar import State

NICENESS = 10  # a large sync must not take the processor from calls
LOOKED_AT = 500  # registrations at each tick


class ReplicaProcess:
    """The handler REPLICA, which rtimer calls twice a second in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeper: Keeper | None = None
        self._addresses_changed = False
        self._registrations = Registrations(random.random)
        self._to_look_at: list[str] = []
        self._offered: set[str] = set()

    def REPLICA(self, _message: object, _event: object) -> int:
        """Keep the copy of the database, and tell Kamailio's modules of changes."""
        try:
            self._keep()
        except Exception as error:
            api.error(f"fault={api.fault(error)} in=REPLICA")
        return 1

    def _keep(self) -> None:
        if self._keeper is None:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
            settings = self._settings
            self._keeper = Keeper(settings.local_file, settings.source, settings.compare_interval)
        report = self._keeper.tick()
        for is_warning, line in report.lines:
            (api.warning if is_warning else api.notice)(line)
        for uuid in report.registrations:
            self._registrations.forget(uuid)
            registrar.forget(uuid)
            self._offered.add(uuid)
            if not rpc.refresh_registration(uuid):
                api.warning(f"trunk={uuid!r} outcome=unregistered reason='uac.reg_refresh failed'")
        self._addresses_changed = self._addresses_changed or report.addresses
        if self._addresses_changed:
            self._addresses_changed = not rpc.reload_addresses()
        self._register_again(self._keeper.registrations)

    def _register_again(self, uuids: Iterable[str]) -> None:
        """Look at the next registrations; try those again that have failed, when their time has come."""
        now = time.monotonic()
        if not self._to_look_at:
            self._to_look_at = list(uuids)
            self._offered.intersection_update(self._to_look_at)
        for uuid in self._to_look_at[:LOOKED_AT]:
            match registrar.state(uuid):
                case State.UP:
                    line, say = self._registrations.up(uuid, now), api.notice
                case State.IDLE:
                    line, say = self._registrations.idle(uuid, registrar.take_status(uuid), now), api.warning
                case State.UNKNOWN if uuid not in self._offered:  # it came after the module had read its table
                    self._offered.add(uuid)
                    rpc.refresh_registration(uuid)
                    continue
                case _:
                    continue
            if line:
                say(line)
        del self._to_look_at[:LOOKED_AT]
        for uuid in self._registrations.due(now):
            registrar.try_again(uuid)
