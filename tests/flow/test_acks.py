"""The ACK of a 2xx has the credentials of its INVITE (RFC 3261 22.1), and that of our own 481 goes nowhere, over the
mocked KSR.
"""

from __future__ import annotations

import pytest

from kemi.dialog import mark
from kemi.handlers import Handlers
from tests.flow.scene import CHALLENGE, PBX, Marks, Send, another_worker, challenge, in_dialog, reply, request
from tests.ksr.fixtures import installed
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

CARRIER = "203.0.113.5"
STRANGER = "203.0.113.9"
ANSWERED = 32  # seconds for which a 2xx may come again


def answered(pbx: MockKSR, routes: Handlers, send: Send, field: str = CHALLENGE) -> list[bytes]:
    """A call of the trunk berlin is challenged and answered. Return its credentials."""
    send(request())
    challenge(pbx, routes, field)
    found = pbx.relayed[-1].message.values("Proxy-Authorization")
    reply(pbx, routes, 200)
    in_dialog(pbx)
    return found


def ack(pbx: MockKSR, send: Send, marks: Marks, host: str = CARRIER, cseq: int = 1) -> list[bytes]:
    """The credentials of an ACK that goes to this host."""
    send(marks.request("ACK", marks.sealed(raised=1), uri=f"sip:callee@{host}", cseq=cseq))
    return pbx.relayed[-1].message.values("Proxy-Authorization")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_they_are_the_same_to_the_letter(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, algorithm: str
) -> None:
    given = answered(pbx, routes, send, CHALLENGE.replace("MD5", algorithm))
    assert ack(pbx, send, marks) == given != []
    assert ack(pbx, send, marks, cseq=2) == []


def test_they_go_to_nobody_but_the_peer(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    assert answered(pbx, routes, send)
    assert ack(pbx, send, marks, "198.51.100.9") == []


@pytest.mark.parametrize(("seconds", "are_kept"), [(ANSWERED, True), (ANSWERED + 1, False)])
def test_they_are_kept_while_the_2xx_may_come_again(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, seconds: int, are_kept: bool
) -> None:
    answered(pbx, routes, send)
    pbx.tables.pass_time(seconds)
    assert bool(ack(pbx, send, marks)) is are_kept


def test_each_of_two_invites_with_one_cseq_has_its_own(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    """A PBX that forks: Call-ID, From tag and CSeq are the same."""
    send(request())
    with another_worker(pbx) as other:
        other.receive(request(), source=(PBX, 5060))
        routes.ksr_request_route(None)
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    first = pbx.relayed[-1].message.values("Proxy-Authorization")
    with installed(other):
        challenge(other, routes, CHALLENGE.replace("n1", "n2"))
        reply(other, routes, 200)
    second = other.relayed[-1].message.values("Proxy-Authorization")
    in_dialog(pbx)
    for raised, given in ((2, first), (3, second)):
        send(marks.request("ACK", marks.sealed(raised=raised), uri=f"sip:callee@{CARRIER}"))
        assert pbx.relayed[-1].message.values("Proxy-Authorization") == given != []


@pytest.mark.parametrize(("port", "made"), [(5060, 1), (5061, 0)])
def test_the_ack_of_a_re_invite_that_may_not_pass_stays_here(
    pbx: MockKSR, routes: Handlers, marks: Marks, port: int, made: int
) -> None:
    """tm takes it, if it would pass; whoever else knows a call makes no transaction."""
    in_dialog(pbx)
    pbx.answer("tm.t_newtran", 1)
    pbx.handlers = routes
    back = mark.fingerprint(marks.key, f"{STRANGER} 5060 udp")
    pbx.receive(marks.request("INVITE", marks.sealed(pbx=back)), source=(STRANGER, port))
    routes.ksr_request_route(None)
    assert (pbx.relayed, pbx.replies) == ([], [Reply(481, "Call/Transaction Does Not Exist")])
    assert len(pbx.called("tm.t_newtran")) == made
