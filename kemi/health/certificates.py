"""Has Kamailio read the files of certificates again when they have changed, if they can be used."""

from __future__ import annotations

import time

from kemi.line import notice, warning
from kemi.settings import Settings
from kemi.sip import api, secure
from kemi.start import tls

LOOKS_EVERY = 2.0  # seconds; files that go together have to be the same in two looks

Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """The files that TRUNKAUTH_TLS_CA, _CERT and _KEY name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded = self._seen = self._stamp()
        self._next_look = 0.0
        self._fault = ""

    def tick(self) -> None:
        """Look at the files, now and then."""
        if (now := time.monotonic()) < self._next_look:
            return
        self._next_look = now + LOOKS_EVERY
        before, self._seen = self._seen, self._stamp()
        if self._seen == self._loaded or self._seen != before:
            return
        if fault := self._load():
            if fault != self._fault:
                api.write(warning(outcome="certificates-not-reloaded", reason=fault))
        else:
            self._loaded = self._seen
            api.write(notice(outcome="certificates-reloaded"))
        self._fault = fault

    def _load(self) -> str:
        """Return why they cannot be loaded; empty if they were."""
        try:
            tls.check(self._settings)
        except tls.CertificateError as error:
            return str(error)
        return "" if secure.reload() else "tls.reload failed"

    def _stamp(self) -> Stamp:
        """Return what changes with the files; a file that is away is none."""
        found = []
        for path in tls.files(self._settings):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return tuple(found)
