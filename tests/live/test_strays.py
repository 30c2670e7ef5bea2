"""Replies that match no transaction, because it has ended, a restart came between, or there never was one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Carrier, Script
from tests.harness.message import Message
from tests.harness.restarts import Stories
from tests.harness.scene import CHALLENGING, Scene
from tests.harness.verifier import Challenge
from tests.live.test_survival import CARRIERS, up

pytestmark = [pytest.mark.once, pytest.mark.long]

STORIES = Stories()


def seen(call: Exchange, status: int = 200) -> int:
    """How often this reply has come."""
    return sum(each.status == status for each in call.responses)


@STORIES.tell_each(CARRIERS)
def a_200_repeated_after_a_restart_has_the_callers_cseq(scene: Scene, challenge: Challenge) -> Iterator[None]:
    """And its ACK the number of the INVITE at the carrier."""
    trunk = scene.trunk(Script(challenge))
    call = up(scene, trunk)
    yield
    trunk.carrier.accept_again(call.request.call_id)
    assert {each.cseq for each in call.responses} == {(1, "INVITE")}
    call.inside("BYE").expect(200)


@STORIES.tell
def the_200_of_a_re_invite_repeated_after_a_restart_has_the_callers_cseq(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk(Script(CARRIERS["every request is challenged"]))
    call = up(scene, trunk)
    call.inside("INFO").expect(200)
    again = call.inside("INVITE", body=SDP)
    again.expect(200)
    trunk.carrier.expect_acks()
    yield
    trunk.carrier.accept_again(call.request.call_id, "re-INVITE")
    assert {each.cseq for each in again.responses} == {(3, "INVITE")}
    call.inside("BYE").expect(200)


@STORIES.tell
def the_200_of_the_carriers_re_invite_goes_back_after_a_restart(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk()
    call = up(scene, trunk)
    again = trunk.carrier.in_call(call.request.call_id, "INVITE", SDP)
    again.expect(200)
    before = seen(again)
    yield
    (served,) = (each for each in scene.pbx.served.values() if each.kind == "re-INVITE")
    assert served.response
    scene.pbx.send(served.response, served.peer)
    trunk.carrier.wait("the 200 once more", lambda: seen(again) > before)
    call.inside("BYE").expect(200)


@STORIES.tell
def a_call_that_rang_before_the_restart_can_be_answered_after_it(scene: Scene) -> Iterator[None]:
    trunk = scene.trunk(Script(CARRIERS["every request is challenged"], final=None))
    call = scene.call(trunk)
    call.expect(180)
    yield
    trunk.carrier.pick_up()
    call.expect(200)
    trunk.carrier.expect_acks()
    call.inside("INFO").expect(200)
    call.inside("BYE").expect(200)


@pytest.mark.every_kamailio
@pytest.mark.parametrize("story", STORIES.told)
def test_over_restarts(ended: dict[str, Exception | None], story: str) -> None:
    if fault := ended[story]:
        raise fault


# --- what does not go on


@pytest.fixture
def target() -> Iterator[socket.socket]:
    """Where the second Via of a stray reply leads."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        yield udp


def sent_again(scene: Scene, sender: socket.socket, reply: bytes) -> None:
    """Send a reply, and wait until the worker has dealt with it: it reads one message after the other."""
    sender.sendto(reply, scene.kamailio.sip)
    probe = scene.pbx.request("OPTIONS", f"sip:{scene.kamailio.sip[0]}:{scene.kamailio.sip[1]}")
    probe.expect(200)


def nothing_came(target: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        target.recv(65535)


def led_to(reply: Message, via: str) -> bytes:
    """The same reply, of another transaction of Kamailio's, with this Via behind Kamailio's."""
    text = reply.encode().decode()
    first, second = reply.vias
    return text.replace(first, f"{first}x").replace(second, via).encode()


CHANGED: dict[str, Callable[[str], str]] = {
    "as it was": lambda text: text,
    "a BYE's": lambda text: text.replace("2 INVITE", "2 BYE"),
    "180": lambda text: text.replace("SIP/2.0 200 OK", "SIP/2.0 180 Ringing"),
    "486": lambda text: text.replace("SIP/2.0 200 OK", "SIP/2.0 486 Busy Here"),
    "another Call-ID": lambda text: text.replace("Call-ID: ", "Call-ID: x"),
    "another number": lambda text: text.replace("2 INVITE", "3 INVITE"),
    "no mark": lambda text: text.replace(";ta=", ";tb="),
    "a forged mark": lambda text: text.replace(";ta=", ";ta=A"),
    "no Via of ours": lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("Via") or "x" in line
    ),
    "a port of 5,000 digits": lambda text: text.replace("branch=z9hG4bKs", f"branch=z9hG4bKs;rport={'9' * 5000}"),
    "a CSeq of 5,000 digits": lambda text: text.replace("2 INVITE", f"{'9' * 5000} INVITE"),
    "not UTF-8": lambda text: text.replace("Call-ID: ", "Call-ID: \udcff"),
}


@pytest.mark.every_kamailio
@pytest.mark.parametrize("change", CHANGED)
def test_only_the_200_of_an_invite_with_its_own_mark_goes_on(scene: Scene, target: socket.socket, change: str) -> None:
    trunk = scene.trunk(CHALLENGING)
    call = up(scene, trunk)
    host, port = target.getsockname()
    reply = led_to(answer_of(trunk.carrier), f"SIP/2.0/UDP {host}:{port};branch=z9hG4bKs")
    before = len(scene.kamailio.log())
    sent_again(scene, target, CHANGED[change](reply.decode()).encode(errors="surrogateescape"))
    assert "fault=" not in scene.kamailio.log()[before:]
    if change in ("as it was", "a port of 5,000 digits"):
        assert b"CSeq: 1 INVITE" in target.recv(65535)
    else:
        nothing_came(target)
    call.inside("BYE").expect(200)


@pytest.mark.parametrize(
    "via",
    [
        "SIP/2.0/UDP 127.0.0.2:{port}",
        "SIP/2.0/UDP 127.0.0.1:{port};received=127.0.0.2",
        "SIP/2.0/UDP 127.0.0.1:{port};maddr=127.0.0.2",
        "SIP/2.0/UDP localhost:{port}",
        "SIP/2.0/UDP nowhere.test:{port}",
    ],
)
@pytest.mark.parametrize("contact", ["", "tel:+49401234"])
def test_a_200_goes_to_nobody_who_may_not_call(scene: Scene, via: str, contact: str) -> None:
    """Nor if its caller has not said where he is."""
    trunk = scene.trunk(CHALLENGING)
    scene.pbx.contact = contact or scene.pbx.contact
    call = up(scene, trunk)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("0.0.0.0", 0))
        stranger.setblocking(False)
        with_via = via.format(port=stranger.getsockname()[1])
        sent_again(scene, stranger, led_to(answer_of(trunk.carrier), f"{with_via};branch=z9hG4bKs"))
        nothing_came(stranger)
    call.inside("BYE").expect(200)


def answer_of(carrier: Carrier) -> Message:
    """The 200 that the carrier gave its INVITE, as it left."""
    return next(
        each.message
        for each in carrier.trace
        if each.sent and each.message.is_response and each.message.status == 200 and each.message.method == "INVITE"
    )
