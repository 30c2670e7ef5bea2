"""Keeps trunks registered: tells the uac module of changed rows, and has failed registrations tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from kemi.line import warning
from kemi.names.registrations import REFUSALS, Registrations
from kemi.sip import api, registrar, rpc
from kemi.sip.registrar import State

LOOKED_AT = 500  # registrations at each tick


class Registering:
    """What the uac module makes of the rows that register."""

    def __init__(self) -> None:
        self._registrations = Registrations(random.random)
        self._to_look_at: list[str] = []
        self._offered: set[str] = set()
        self._refused: set[str] = set()

    def changed(self, uuids: Iterable[str]) -> None:
        """Have the module read these rows again."""
        for uuid in uuids:
            self._registrations.forget(uuid)
            registrar.forget(uuid)
            self._accepted(uuid)
            self._offered.add(uuid)
            if not rpc.refresh_registration(uuid):
                api.write(warning(trunk=uuid, outcome="unregistered", reason="uac.reg_refresh failed"))

    def look(self, uuids: Iterable[str]) -> None:
        """Look at the next registrations; try those again that have failed, when their time has come."""
        now = time.monotonic()
        if not self._to_look_at:
            self._to_look_at = list(uuids)
            self._offered.intersection_update(self._to_look_at)
        for uuid in self._to_look_at[:LOOKED_AT]:
            match registrar.state(uuid):
                case State.UP:
                    self._accepted(uuid)
                    line = self._registrations.up(uuid, now)
                case State.IDLE:
                    status = registrar.take_status(uuid)
                    if status in REFUSALS:
                        self._refused.add(uuid)
                        registrar.note_refusal(uuid)
                    line = self._registrations.idle(uuid, status, now)
                case State.UNKNOWN if uuid not in self._offered:  # it came after the module had read its table
                    self._offered.add(uuid)
                    rpc.refresh_registration(uuid)
                    continue
                case _:
                    continue
            if line:
                api.write(line)
        del self._to_look_at[:LOOKED_AT]
        for uuid in self._registrations.due(now):
            registrar.try_again(uuid)

    def _accepted(self, uuid: str) -> None:
        """The trunk is registered, or its row has changed."""
        if uuid in self._refused:
            self._refused.remove(uuid)
            registrar.forget_refusal(uuid)
