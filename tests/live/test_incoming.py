"""Requests that are a little off: passed on as RFC 3261 has them, or refused with the reason."""

from __future__ import annotations

import pytest

from tests.harness.agent import SDP
from tests.harness.carrier import Script
from tests.harness.message import Header
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

SURPLUS = {"line end": b"\r\n", "zeros": b"\0\0", "no text": b"\xff\xfe", "text": b"more", "long": b"x" * 9000}

BODIES = {"body": SDP, "no body": b"", "no text": bytes(range(256)), "long and no text": b"\0\xff" * 7000}


def length(octets: int) -> list[Header]:
    return [("Content-Length", str(octets))]


@pytest.mark.parametrize("surplus", SURPLUS.values(), ids=SURPLUS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_octets_after_the_body_are_discarded(scene: Scene, body: bytes, surplus: bytes) -> None:
    """RFC 3261 18.3, from either side, inside a dialog and outside."""
    trunk = scene.trunk()
    call = scene.call(trunk, headers=length(len(body)), body=body + surplus)
    call.expect(200)
    call.inside("INFO", headers=length(len(body)), body=body + surplus).expect(200)
    dialog = trunk.carrier.dialogs[call.request.call_id]
    trunk.carrier.inside(dialog, "INFO", headers=length(len(body)), body=body + surplus).expect(200)
    call.inside("BYE", headers=length(len(body)), body=body + surplus).expect(200)
    assert {each.body for method in ("INVITE", "INFO", "BYE") for each in trunk.carrier.received(method)} == {body}


def test_a_content_length_beyond_the_datagram_is_400(scene: Scene) -> None:
    trunk = scene.trunk()
    assert scene.call(trunk, headers=length(len(SDP) + 1)).expect(400).reason == "Content-Length mis-match"
    call = scene.call(trunk)
    call.expect(200)
    call.inside("BYE", headers=length(1)).expect(400)
    talk_and_hang_up(trunk, call)
    assert len(trunk.carrier.received("INVITE")) == 2


def test_a_request_without_max_forwards_leaves_with_70(scene: Scene) -> None:
    """RFC 3261 16.6, step 3."""
    trunk = scene.trunk(Script())
    headers = [("X-Trunk", trunk.uuid)]
    scene.pbx.request("MESSAGE", "sip:5551234@pbx.test", headers=headers, max_forwards=None).expect(200)
    assert trunk.carrier.expect("MESSAGE").first("Max-Forwards") == "70"
    scene.agents.remove(trunk.carrier)  # which expects what it is after 70


@pytest.mark.parametrize(
    ("rows", "unsupported"),
    [
        (["privacy"], "privacy"),
        (["sec-agree, privacy", "nothing"], "sec-agree, privacy, nothing"),
        ([" , a,,b ,"], "a, b"),
    ],
)
def test_a_proxy_require_is_420_with_all_that_is_unsupported(scene: Scene, rows: list[str], unsupported: str) -> None:
    """RFC 3261 16.3, step 5."""
    trunk = scene.trunk(Script())
    required = [("Proxy-Require", row) for row in rows]
    refusal = scene.call(trunk, headers=required).expect(420)
    assert (refusal.reason, refusal.first("Unsupported")) == ("Bad Extension", unsupported)
    call = scene.call(trunk)
    call.expect(200)
    call.inside("BYE", headers=required).expect(420)
    talk_and_hang_up(trunk, call)
    assert len(trunk.carrier.received("INVITE")) == 1


@pytest.mark.parametrize("pbx", ["udp", "tcp"])
@pytest.mark.parametrize("surplus", SURPLUS.values(), ids=SURPLUS)
def test_octets_after_the_body_of_a_reply_are_discarded(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, surplus: bytes, pbx: str
) -> None:
    """By TCP they would be taken for the start of the next message."""
    trunk, caller = scene.trunk(), scene.caller(transport=pbx)
    sends = trunk.carrier.send_bytes
    monkeypatch.setattr(trunk.carrier, "send_bytes", lambda octets, to: sends(octets + surplus, to))
    call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    call.expect(200)
    trunk.carrier.expect_acks()
    for method in ("INFO", "BYE"):
        call.inside(method).expect(200)


def test_a_reply_whose_body_did_not_come_whole_is_discarded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = scene.trunk(Script(ring=False))
    sends = trunk.carrier.send_bytes
    cut = [3]

    def send_bytes(octets: bytes, to: tuple[str, int]) -> None:
        cut[0] -= octets.startswith(b"SIP/2.0 200")
        sends(octets[:-9] if cut[0] > 0 else octets, to)

    monkeypatch.setattr(trunk.carrier, "send_bytes", send_bytes)
    call = scene.call(trunk)
    call.expect(200)
    assert [each.status for each in call.responses if each.status >= 200] == [200]
    trunk.carrier.expect_acks()
