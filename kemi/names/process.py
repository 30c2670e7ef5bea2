"""The process that resolves names, and asks who has them: an rtimer's of its own, so that a silent name server keeps
nothing else waiting.
"""

from __future__ import annotations

import secrets

from sqlalchemy.exc import SQLAlchemyError

from kemi.health import ready
from kemi.health.certificates import Certificates
from kemi.health.holding import Holding
from kemi.health.knocking import Knocking
from kemi.health.pinging import Pinging
from kemi.health.probing import Probing
from kemi.health.securing import Securing
from kemi.health.standby import Standby
from kemi.line import notice, warning
from kemi.names.file import NamesFile
from kemi.names.learned import Learned
from kemi.names.names import Names
from kemi.names.nameserver import NameServer
from kemi.names.registering import Registering
from kemi.names.resolver import Resolver
from kemi.names.rows import Rows, resolved
from kemi.names.telling import Telling
from kemi.settings import Settings
from kemi.sip import api, rpc, wanted
from kemi.start.sockets import reach
from kemi.trunks.tables import cause

WORK_LIMIT = 0.3  # seconds of one tick for open questions


class NamesProcess:
    """The handler NAMES, which rtimer calls in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holding = Holding(settings)
        self._work: _Work | None = None

    def NAMES(self, _message: object, _event: object) -> int:
        """Keep names resolved for SIP workers, and the rows that register for the uac module; probe trunks."""
        try:
            if self._work is None:
                self._work = _Work(self._settings, self._holding)
                self._work.tick(0)  # hops of an earlier run are of use before anybody answers
            self._work.tick(WORK_LIMIT)
        except Exception as error:
            api.tell_fault_in("NAMES", error)
            ready.note_names_are_tried()  # calls to addresses are served all the same
        return 1


class _Work:
    """The names that rows and workers want, and the file that holds what became of them."""

    def __init__(self, settings: Settings, holding: Holding) -> None:
        self._listen = settings.listen
        self._standby = Standby([each.host for each in settings.listen], lambda: secrets.randbits(32))
        self._rows = Rows(settings.local_file, settings.rules)
        self._file = NamesFile(settings.names_file)
        self._file_fault = ""
        try:
            self._file.open()
        except (SQLAlchemyError, OSError) as error:
            self._say_file_fault(cause(error))
        self._registering = Registering()
        self._pinging = Pinging()
        self._knocking = Knocking()
        self._probing = Probing(settings.try_seconds)
        self._securing = Securing(settings) if settings.has_tls else None
        self._certificates = Certificates(settings) if settings.has_tls else None
        self._holding = holding
        self._asked = 0
        self._learned = Learned()
        self._telling = Telling()
        self._learned.add(self._file.hops)
        resolver = Resolver(NameServer(), reach(settings.listen))
        self._names = Names(resolver.resolve, self._file.hops)

    def tick(self, seconds: float) -> None:
        """Do so many seconds of work at most."""
        self._look_at_addresses()
        found = self._rows.found()
        if found is None:
            return
        keys, self._asked = wanted.wanted_since(self._asked)
        self._learned.add(keys)
        learned = self._learned.targets()
        wanted_targets = found.targets | learned | self._holding.targets()
        lines = self._names.tick(wanted_targets, seconds)
        hops = self._names.hops()
        self._telling.tick(learned, hops)
        registering = resolved(found.registering, hops, self._file.registering)
        try:
            by_key = {target.key: each for target, each in hops.items()}
            changed = self._file.keep(by_key, registering, found.all_places(hops))
        except (SQLAlchemyError, OSError) as error:
            self._say_file_fault(cause(error))
        else:
            self._say_file_fault("")
            self._registering.changed(sorted(changed))
        if not ready.names_are_tried() and found.is_synced and found.targets <= hops.keys():
            ready.note_names_are_tried()
        if self._certificates:
            self._certificates.tick()
        self._holding.tick()
        if self._standby.is_active:
            self._registering.look(registering)
            self._pinging.tick(registering)
            self._knocking.tick()
            self._probing.tick(found.probed, hops)
            if self._securing:
                self._securing.tick(found.secured, hops)
            self._holding.ask(hops)
        for line in lines:
            api.write(line)

    def _look_at_addresses(self) -> None:
        """Notice that keepalived has brought an address, or taken it."""
        if line := self._standby.look(frozenset(each.host for each in self._listen if each.is_here)):
            rpc.register(self._standby.is_active)
            api.write(line)

    def close(self) -> None:
        self._knocking.close()
        self._names.close()
        self._rows.close()
        self._file.close()

    def _say_file_fault(self, fault: str) -> None:
        """Say once that the file cannot be kept, and once that it can again."""
        if fault and not self._file_fault:
            api.write(warning(outcome="names-not-kept", reason=fault))
        elif self._file_fault and not fault:
            api.write(notice(outcome="names-kept"))
        self._file_fault = fault
