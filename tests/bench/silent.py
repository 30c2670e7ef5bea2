"""The package's routes with another gate in front of them, in Python: whoever is not listed gets no answer. Started in
the place of kamailio/trunkauth.py, to show what a message costs that gets no further.
"""

from __future__ import annotations

import os

import KSR

from kemi.handlers import Handlers


class Silent(Handlers):
    """The handlers of kamailio.cfg."""

    def ksr_request_route(self, message: object) -> int:
        """Every request comes in here."""
        if KSR.permissions.allow_source_address(1) < 0:
            return 1
        return super().ksr_request_route(message)


def mod_init() -> Silent:
    """Called by app_python3 once, before the workers fork."""
    return Silent.from_environment(os.environ)
