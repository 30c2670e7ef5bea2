"""How often a call crosses from Python into Kamailio. Each crossing costs every call; the limits only go down,
unless a call gets something for it.
"""

from __future__ import annotations

import pytest

from kemi.handlers import Handlers
from tests.flow.scene import CHALLENGE, Marks, Send, challenge, in_dialog, reply, request
from tests.ksr.mock import MockKSR


def crossings(pbx: MockKSR, before: int) -> int:
    return len(pbx.calls) - before


def test_a_call_that_is_challenged(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    assert crossings(pbx, 0) <= 17
    before = len(pbx.calls)
    challenge(pbx, routes)  # the reply route, and the failure route
    assert crossings(pbx, before) <= 25
    for status, most in ((180, 12), (200, 11)):  # the 200 may name the next nonce by either of two headers
        before = len(pbx.calls)
        reply(pbx, routes, status)
        assert crossings(pbx, before) <= most


def test_a_call_that_carries_a_preemptive_response(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request(call_id="call-0"))
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    before = len(pbx.calls)
    send(request())
    assert crossings(pbx, before) <= 21
    before = len(pbx.calls)
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    assert crossings(pbx, before) <= 27
    send(request(call_id="call-2"))
    for status, most in ((180, 3), (200, 6)):
        before = len(pbx.calls)
        reply(pbx, routes, status)
        assert crossings(pbx, before) <= most


@pytest.mark.parametrize(("method", "raised", "most"), [
    ("ACK", 0, 7), ("INFO", 0, 16), ("BYE", 0, 13), ("ACK", 1, 9), ("INFO", 1, 19), ("BYE", 1, 16),
])  # fmt: skip
def test_a_request_inside_a_dialog(pbx: MockKSR, send: Send, marks: Marks, method: str, raised: int, most: int) -> None:
    in_dialog(pbx)
    send(marks.request(method, marks.sealed(raised=raised)))
    assert crossings(pbx, 0) <= most
