"""The script that app_python3 loads: it makes the routes and hands them to Kamailio, or says why it cannot.

It lies outside the package because app_python3 puts this folder first on sys.path: inside `kemi/`, every module of the
package would also be importable by its bare name.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from kemi.flow import TrunkAuth
from kemi.settings import Settings

_MAIN = os.getpid()  # of the process that forks all others
_FORKED_WITHIN = 1.0  # seconds


class Script(TrunkAuth):
    """The routes, and a start that fails with one line on stderr and an exit status that is not 0."""

    def child_init(self, rank: int) -> int:
        """Called by app_python3 in every process."""
        try:
            return super().child_init(rank)
        except Exception as error:
            _say(error)
            if os.getpid() != _MAIN:
                time.sleep(_FORKED_WITHIN)  # if a child ends while others are forked, Kamailio may hang for a minute
                os.kill(os.getpid(), signal.SIGKILL)  # if a child exits, Kamailio exits with 0; after a signal, with 1
            raise


def mod_init() -> TrunkAuth:
    """Called by app_python3 once, before the workers fork."""
    try:
        return Script(Settings.from_environment(os.environ))
    except Exception as error:
        _say(error)
        os._exit(1)


def _say(error: Exception) -> None:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"kemi-trunkauth cannot start: {reason}", file=sys.stderr, flush=True)
