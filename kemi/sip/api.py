"""Log lines, and the guard around every handler."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TypeVar

import KSR

from kemi.dialog.cseq import TooHighError
from kemi.outcome import Answered, BackedOff, Outcome, Up, word

_Routes = TypeVar("_Routes")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    """Log an outcome: as a notice if all went as it should, as a warning otherwise. request: the Call-ID of the one it
    is about, empty for the message at hand.
    """
    log = notice if isinstance(outcome, Answered | BackedOff | Up) else warning
    log(outcome.line(request or call_id()))


def notice(line: str) -> None:
    KSR.notice(f"{line}\n")


def warning(line: str) -> None:
    KSR.warn(f"{line}\n")


def error(line: str) -> None:
    KSR.err(f"{line}\n")


def tell_fault(caught: Exception) -> None:
    """Log a fault in a handler of a message."""
    error(f"fault={fault(caught)} call-id={word(call_id())}")


def fault(error: Exception) -> str:
    """Return where and what an exception is, without its text, which may quote the message or the database."""
    frames = traceback.extract_tb(error.__traceback__)
    where = "<".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
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
