"""Calls that carriers bring in go on after Kamailio has ended and was started again; and a call that its carrier sends
back to us with the same Call-ID.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.harness import message
from tests.harness.agent import SDP
from tests.harness.carrier import Carrier, Script
from tests.harness.endpoint import Address, Endpoint
from tests.harness.message import Message
from tests.harness.restarts import Stories
from tests.harness.scene import Scene
from tests.harness.steps import wait_until_next_hop
from tests.harness.verifier import ACCEPTED, Challenge
from tests.live.test_inbound import UNLISTED, called, contact, open_to, pbx, up

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio, pytest.mark.long]

ASKING = Script(Challenge(requests=frozenset({"re-INVITE", "INFO", "BYE"})))
STORIES = Stories()
HOSTS = {"a PBX that may not call": UNLISTED, "a listed PBX": "127.0.0.1"}


@STORIES.tell_each(HOSTS)
def an_inbound_call_goes_on_after_a_restart(scene: Scene, host: str) -> Iterator[None]:
    """The carrier saw more requests of the PBX before than the PBX has sent."""
    there = pbx(scene, host=host)
    trunk = open_to(scene, ASKING, there)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    call_id = call.request.call_id
    there.in_call(call_id, "INFO").expect(200)
    there.in_call(call_id, "INVITE", SDP).expect(200)
    trunk.carrier.expect_acks()
    yield
    call.inside("INFO").expect(200)
    for method in ("INFO", "INVITE"):
        there.in_call(call_id, method, SDP if method == "INVITE" else b"").expect(200)
        assert trunk.carrier.verdicts[-1][2] == ACCEPTED
    trunk.carrier.expect_acks()
    yield
    there.in_call(call_id, "BYE").expect(200)
    assert trunk.carrier.verdicts[-1][::2] == ("BYE", ACCEPTED)


@STORIES.tell
def the_carrier_hangs_up_after_a_restart(scene: Scene) -> Iterator[None]:
    there = pbx(scene, host=UNLISTED)
    trunk = open_to(scene, ASKING, there)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    yield
    call.inside("BYE").expect(200)


@STORIES.tell
def the_200s_of_inbound_calls_go_their_way_after_a_restart(scene: Scene) -> Iterator[None]:
    """That of the INVITE to the carrier, and that of the PBX's re-INVITE, with its own CSeq, to the PBX."""
    there = pbx(scene)
    trunk = open_to(scene, ASKING, there)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    again = there.in_call(call.request.call_id, "INVITE", SDP)
    again.expect(200)
    trunk.carrier.expect_acks()
    yield
    there.accept_again(call.request.call_id)
    trunk.carrier.accept_again(call.request.call_id, "re-INVITE")
    assert {each.cseq for each in again.responses} == {(1, "INVITE")}
    there.in_call(call.request.call_id, "BYE").expect(200)


@STORIES.tell
def a_call_that_rang_before_the_restart_is_answered_after_it(scene: Scene) -> Iterator[None]:
    there = pbx(scene, Script(final=None))
    trunk = open_to(scene, ASKING, there)
    call = called(scene, trunk.carrier, contact(scene, trunk))
    call.expect(180)
    yield
    there.pick_up()
    call.expect(200)
    there.expect_acks()
    call.inside("BYE").expect(200)


@pytest.mark.parametrize("story", STORIES.told)
def test_over_restarts(ended: dict[str, Exception | None], story: str) -> None:
    if fault := ended[story]:
        raise fault


class Mirror(Endpoint):
    """A carrier that is a proxy: it stays in the path, and sends each new call on to a URI of ours."""

    def __init__(self, uri: str, proxy: Address) -> None:
        self._uri, self._proxy = uri, proxy
        super().__init__("mirror")

    def receive(self, received: Message, peer: Address) -> None:
        host, port = self.address
        if received.is_response:
            rest = list(received.headers)
            rest.remove(("Via", received.vias[0]))
            self.send(replace(received, headers=tuple(rest)), message.uri_host_port(f"sip:x@{_sent_by(rest)}"))
            return
        headers = [*received.headers]
        uri, to = self._uri, self._proxy
        if received.to_tag:
            uri = received.uri
            own = received.all("Route")[0]
            headers.remove(("Route", own))
            to = message.uri_host_port(message.address(received.all("Route")[1]))
        elif received.method == "CANCEL":
            return
        branch = f"z9hG4bK-m-{received.branch.removeprefix('z9hG4bK')}"
        headers = [("Via", f"SIP/2.0/UDP {host}:{port};branch={branch}"), *headers]
        if received.method == "INVITE" and not received.to_tag:
            headers.insert(1, ("Record-Route", f"<sip:{host}:{port};lr>"))
        headers = [(n, str(int(v) - 1) if n == "Max-Forwards" else v) for n, v in headers]
        self.send(replace(message.request(received.method, uri, headers), body=received.body), to)


def _sent_by(headers: list[tuple[str, str]]) -> str:
    via = next(value for name, value in headers if name == "Via")
    return via.split()[1].partition(";")[0]


def test_a_call_that_a_proxy_sends_back_has_its_dialogs_apart(scene: Scene) -> None:
    """One Call-ID and one caller's tag on both sides: the caller's requests go through both, and the callee's too."""
    there = pbx(scene)
    trunk = open_to(scene, Script(), there)
    with Mirror(contact(scene, trunk), scene.kamailio.sip) as mirror:
        host, port = mirror.address
        scene.change_row(trunk, auth_proxy=f"sip:{host}:{port}")
        wait_until_next_hop(scene.kamailio, mirror.address)
        call = scene.call(trunk)
        call.expect(200)
        there.expect_acks()
        call.inside("INFO").expect(200)
        there.in_call(call.request.call_id, "INFO").expect(200)
        there.in_call(call.request.call_id, "BYE").expect(200)
        assert mirror.local_faults == []
    assert [agent.responses.faults for agent in scene.agents] == [[], [], []]
    scene.agents.clear()  # whose requests have more Vias than they expect


def test_the_ends_of_a_call_that_is_forged_get_nothing(scene: Scene) -> None:
    """Whoever has seen the mark cannot speak for the PBX, nor cancel, nor have a request sent anywhere."""
    there = pbx(scene)
    trunk = open_to(scene, ASKING, there)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    dialog = there.dialogs[call.request.call_id]
    with Carrier(Script(), {}, host="127.0.0.9") as forger:
        forged = replace(dialog, cseq=100)
        forger.inside(forged, "BYE").expect(481)
        assert call.dialog
        elsewhere = replace(call.dialog, target=forger.uri, cseq=100)
        forger.inside(elsewhere, "INFO").expect(481)
        assert not forger.received("INFO")
    there.in_call(call.request.call_id, "BYE").expect(200)
