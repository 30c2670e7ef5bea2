"""The process that watches memory, over the mocked KSR: what it asks of Kamailio, and what it makes of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kemi import memory
from kemi.handlers import Handlers
from kemi.memory import Guard, Memory
from tests.flow.scene import raising, request
from tests.ksr.mock import MockKSR

MIB = 1024  # in KiB


@pytest.fixture
def watched(pbx: MockKSR) -> Iterator[MockKSR]:
    pbx.receive(request())  # rtimer gives its routes a message of its own
    pbx.world.rpc_code = 200
    yield pbx
    Guard().judge(Memory(1, 1), now=0.0)


def answer(pbx: MockKSR, free: int) -> None:
    """What core.shmmem says of 4096 MiB, whose bytes do not fit its numbers."""
    result = {"total": 4096 * MIB, "free": free, "used": 0, "real_used": 0, "max_used": 0, "fragments": 7}
    pbx.world.rpc_body = json.dumps({"jsonrpc": "2.0", "result": result, "id": 1})


def test_new_calls_are_refused_while_memory_is_full(watched: MockKSR, routes: Handlers) -> None:
    seen = []
    for free in (512 * MIB, 512 * MIB - 1, 512 * MIB):
        answer(watched, free)
        assert routes.MEMORY(None, None) == 1
        seen.append(memory.is_full())
    assert seen == [False, True, False]
    assert json.loads(watched.called("jsonrpcs.exec")[0][0])["params"] == ["k"]
    line = "memory is full: 3584 of 4096 MiB are used; new calls get 503 until calls have ended\n"
    assert watched.log == [("warn", line)]


@pytest.mark.parametrize("code", [0, 500])
def test_without_an_answer_nothing_changes(watched: MockKSR, routes: Handlers, code: int) -> None:
    answer(watched, 1)
    routes.MEMORY(None, None)
    watched.world.rpc_code, watched.world.rpc_body = code, ""
    routes.MEMORY(None, None)
    assert memory.is_full()


def test_a_fault_is_logged_and_it_goes_on(watched: MockKSR, routes: Handlers) -> None:
    watched.answer("jsonrpcs.exec", raising(ValueError()))
    assert routes.MEMORY(None, None) == 1
    level, line = watched.log[-1]
    assert (level, line.startswith("fault=ValueError@"), line.endswith(" in=MEMORY\n")) == ("err", True, True)
