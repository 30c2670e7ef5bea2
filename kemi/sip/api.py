"""Log lines, and the guard around every handler.

Lines go to stderr, where journald and Docker look for them, and where Kamailio's own go too (-E). Kamailio would put
its own words in front of what it is given, which no parser of logfmt or JSON reads. It is given the lines only if
stderr leads nowhere, because it runs in the background: then it sends them to syslog.
"""

from __future__ import annotations

import contextlib
import os
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import KSR

from kemi.dialog.cseq import TooHighError
from kemi.line import FORMS, Level, Line, error
from kemi.metrics import counts
from kemi.outcome import Answered, Outcome, Refused, line_of

_Routes = TypeVar("_Routes")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STDERR = 2
MOST_FRAMES = 8  # of a fault, the innermost: a longer value would be cut


@dataclass
class _Log:
    """form: of TRUNKAUTH_LOG. most: the highest level that is shown."""

    form: str = "logfmt"
    most: int = Level.NOTICE
    goes_to_syslog: bool = False


LOG = _Log()


def use(form: str, most: int) -> None:
    """Write lines in this form, up to this level. Called before Kamailio forks."""
    LOG.form, LOG.most = form, most
    LOG.goes_to_syslog = os.fstat(_STDERR).st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116


def shows(level: Level) -> bool:
    """Return True if lines of this level are shown."""
    return level <= LOG.most


def write(line: Line) -> None:
    """Write a line, if its level is shown. A log that cannot be written to stops nothing."""
    if line.level > LOG.most:
        return
    text = f"{FORMS[LOG.form](line)}\n"
    if LOG.goes_to_syslog:
        log = {Level.ERROR: KSR.err, Level.WARNING: KSR.warn, Level.NOTICE: KSR.notice, Level.INFO: KSR.info}
        log[line.level](text)
    else:
        with contextlib.suppress(OSError):
            os.write(_STDERR, text.encode())


def call_id() -> str:
    """Return the Call-ID of the message at hand; never raises."""
    try:
        return str(KSR.pv.gete("$ci"))
    except UnicodeDecodeError:
        return "(not UTF-8)"


def line(variable: str) -> str:
    """Return a value from the wire in one line: as Latin-1 if it is not UTF-8, and without control characters."""
    try:
        text = str(KSR.pv.gete(f"${variable}"))
    except UnicodeDecodeError:
        inner = variable.removeprefix("(").removesuffix(")") if variable.startswith("(") else variable
        text = bytes.fromhex(str(KSR.pv.gete(f"$({inner}{{s.encode.hexa}})"))).decode("latin-1")
    return _CONTROL.sub(" ", text)


def source() -> str:
    """Return the address that the message at hand came from."""
    return str(KSR.pv.gete("$si"))


def tell(outcome: Outcome, request: str = "") -> None:
    """Log an outcome; count a challenge. request: the Call-ID of the one it is about, empty for the message at hand."""
    if isinstance(outcome, Answered):
        place = counts.ANSWERED.get((outcome.challenge.algorithm or "MD5").upper(), counts.OTHER_ANSWERED)
        counts.ENTRIES[outcome.trunk][place] += 1  # not a function's: every challenge would pay for it
    elif isinstance(outcome, Refused):
        algorithm = outcome.challenge.algorithm or "MD5" if outcome.challenge else counts.OTHER
        counts.count_refused(outcome.trunk, algorithm)
    write(line_of(outcome, request or call_id()))


def tell_fault(caught: Exception) -> None:
    """Log a fault in a handler of a message."""
    write(error(fault=fault(caught), outcome="fault", call_id=call_id()))


def tell_fault_in(process: str, caught: Exception) -> None:
    """Log a fault in a process that handles no message."""
    write(error(fault=fault(caught), outcome="fault", **{"in": process}))


def fault(error: Exception) -> str:
    """Return where and what an exception is, without its text, which may quote the message or the database."""
    frames = traceback.extract_tb(error.__traceback__)
    where = "<".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[: -MOST_FRAMES - 1 : -1])
    return f"{type(error).__name__}@{where}"


def guarded(
    fail: Callable[[int, str], None],
) -> Callable[[Callable[[_Routes, object], int]], Callable[[_Routes, object], int]]:
    """Make a handler safe to call: an exception is logged with the Call-ID and answered through `fail`. It is answered
    if it cannot be logged, and the worker goes on if it cannot be answered.

    KSR raises UnicodeDecodeError for a value from the wire that is not UTF-8. SystemExit passes: it is KEMI's way of
    saying exit.
    """

    def wrap(handler: Callable[[_Routes, object], int]) -> Callable[[_Routes, object], int]:
        @wraps(handler)
        def run(self: _Routes, message: object) -> int:
            try:
                return handler(self, message)
            except UnicodeDecodeError:
                answer = 400, "Not UTF-8"
            except TooHighError:
                answer = 500, "CSeq Too High"
            except Exception as caught:
                answer = 500, "Internal Server Error"
                with contextlib.suppress(Exception):
                    tell_fault(caught)
            with contextlib.suppress(Exception):
                fail(*answer)
            return 1

        return run

    return wrap
