"""When new calls are refused for want of memory, and how often the log says so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from kemi.health import memory
from kemi.health.memory import Guard, Memory
from kemi.settings import PROJECT
from tests.lines import told

KIB = 1024
TOTAL = 512 * KIB
FULL = Memory(TOTAL, 64 * KIB - 1)  # an eighth is the reserve
ROOM = Memory(TOTAL, 64 * KIB)


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.judge(ROOM, now=0.0)


def test_new_calls_are_refused_as_soon_as_the_reserve_is_touched_and_no_longer(guard: Guard) -> None:
    seen = []
    for number, reading in enumerate((ROOM, FULL, FULL, ROOM, FULL, ROOM)):
        guard.judge(reading, now=float(number))
        seen.append(memory.is_full())
    assert seen == [False, True, True, False, True, False]


def test_the_log_says_it_once_a_minute(guard: Guard) -> None:
    readings = [(10.0, FULL), (10.5, FULL), (11.0, ROOM), (69.5, FULL), (70.0, FULL), (70.5, FULL), (200.0, ROOM)]
    lines = {now: told(found) for now, reading in readings if (found := guard.judge(reading, now))}
    line = "outcome=memory-full used-mib=448 total-mib=512"
    assert lines == {10.0: line, 70.0: line}


FORKS = """
import os
from kemi.health import memory
if child := os.fork():
    os.waitpid(child, 0)
    print(memory.is_full())
else:
    memory.Guard().judge(memory.Memory(8, 0), now=0.0)
"""


def test_processes_that_were_forked_tell_each_other() -> None:
    """The one that judges is no SIP worker."""
    assert subprocess.check_output([sys.executable, "-c", FORKS], cwd=PROJECT, text=True) == "True\n"
