"""How often a call crosses from Python into Kamailio. Each crossing costs every call; the limits only go down,
unless a call gets something for it: one buys the keepalive of every dialog, seven that no two requests share a CSeq;
one, at the INVITE, that the carrier's requests reach the caller alone; one of an ACK, that no stranger sends it,
five that it has the credentials of its INVITE.
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
    assert crossings(pbx, 0) <= 27
    before = len(pbx.calls)
    challenge(pbx, routes)  # the reply route, and the failure route
    assert crossings(pbx, before) <= 2 + 31
    for status, most in ((180, 13), (200, 14)):  # the 200 may name the next nonce by either of two headers
        before = len(pbx.calls)
        reply(pbx, routes, status)
        assert crossings(pbx, before) <= most


def test_a_call_that_carries_a_preemptive_response(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request(call_id="call-0"))
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    before = len(pbx.calls)
    send(request())
    assert crossings(pbx, before) <= 31
    before = len(pbx.calls)
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    assert crossings(pbx, before) <= 2 + 33
    send(request(call_id="call-2"))
    for status, most in ((180, 4), (200, 10)):
        before = len(pbx.calls)
        reply(pbx, routes, status)
        assert crossings(pbx, before) <= most


@pytest.mark.parametrize(("method", "raised", "most"), [
    ("ACK", 0, 12), ("INFO", 0, 22), ("BYE", 0, 18), ("ACK", 1, 14), ("INFO", 1, 25), ("BYE", 1, 21),
])  # fmt: skip
def test_a_request_inside_a_dialog(pbx: MockKSR, send: Send, marks: Marks, method: str, raised: int, most: int) -> None:
    in_dialog(pbx)
    send(marks.request(method, marks.sealed(raised=raised)))
    assert crossings(pbx, 0) <= most
