"""How often a call crosses from Python into Kamailio. Each crossing costs every call; the limits only go down."""

from __future__ import annotations

from kemi.handlers import Handlers
from tests.flow.scene import CHALLENGE, Send, challenge, reply, request
from tests.ksr.mock import MockKSR


def crossings(pbx: MockKSR, before: int) -> int:
    return len(pbx.calls) - before


def test_a_call_that_is_challenged(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    assert crossings(pbx, 0) <= 26
    before = len(pbx.calls)
    challenge(pbx, routes)
    assert crossings(pbx, before) <= 25


def test_a_call_that_carries_a_preemptive_response(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    before = len(pbx.calls)
    send(request())
    assert crossings(pbx, before) <= 29
    before = len(pbx.calls)
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    assert crossings(pbx, before) <= 27
