"""Fields that anybody writes, as From and Record-Route, are read in one pass, however long.

A pattern that begins anew at each of their places would take minutes for these. No signal interrupts it, so a process
of its own reads them, and is ended.
"""

from __future__ import annotations

import multiprocessing

from kemi.dialog.late import farewell
from kemi.dialog.sender import own
from tests.unit.test_late import ANSWER

LENGTH = 500_000
NO_END = 30.0  # seconds, for what takes milliseconds
PARTS = (" ", "\n ", '"', "<", "<a>", '"a" ')


def read() -> None:
    for part in PARTS:
        field = part * (LENGTH // len(part))
        for one in (field, f'"{field}'):
            own(one, "sip:alice@pbx.test")
            farewell(ANSWER._replace(contact=one, routes=one))


def test_fields_come_to_their_end() -> None:
    reader = multiprocessing.get_context("spawn").Process(target=read)
    reader.start()
    reader.join(NO_END)
    ended = reader.exitcode
    reader.kill()
    reader.join()
    assert ended == 0
