"""auth-int over the wire: the digest covers the body's bytes exactly as sent (RFC 7616 3.4.3), whatever they are.

sippy hashes the bytes that the carrier received. Where the product cannot have them it takes auth, or gives up.
"""

from __future__ import annotations

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.message import Header
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import credentials, refused_because, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, STALE, Challenge, Offer

MULTIPART = b"".join(
    part + b"\r\n"
    for part in (
        b"--cut",
        b"Content-Type: application/sdp",
        b"",
        SDP,
        b"--cut",
        b"Content-Type: application/pidf+xml",
        b"Content-ID: <here@pbx.test>",
        b"",
        b"<presence>\xc3\x9cberall</presence>",
        b"--cut--",
    )
)
BODIES = {
    "SDP": ("application/sdp", SDP),
    "multipart": ("multipart/mixed;boundary=cut", MULTIPART),
    "every byte there is": ("application/octet-stream", bytes(range(256))),
    "not UTF-8": ("text/plain;charset=iso-8859-1", "Grüße".encode("latin-1")),
    "zeros": ("application/octet-stream", b"\0" * 9),
    "only line ends": ("text/plain", b"\r\n\r\n"),
    "one byte": ("text/plain", b"x"),
    "empty": ("", b""),
}
AUTH_INT = [Offer("MD5", "auth-int"), Offer("SHA-256", "auth-int"), Offer("SHA-512-256-sess", "auth-int")]
TOO_LONG = 32768  # Kamailio's pv buffer takes 65535 hex digits at most: half as many bytes, rounded down


def typed(kind: str) -> list[Header]:
    return [("Content-Type", kind)] if kind else []


def over_tcp(scene: Scene, *offers: Offer, requests: frozenset[str] = Challenge.requests) -> Trunk:
    return scene.trunk(Script(challenge=Challenge(offers=offers, requests=requests)), transport="tcp")


def call_with(scene: Scene, trunk: Trunk, body: bytes, kind: str) -> Exchange:
    headers = [("X-Trunk", trunk.uuid), *typed(kind)]
    return scene.caller(transport="tcp").invite("sip:5551234@pbx.test", headers=headers, body=body)


@pytest.mark.parametrize("offer", AUTH_INT, ids=str)
@pytest.mark.parametrize("which", BODIES)
def test_each_body_in_an_invite(scene: Scene, which: str, offer: Offer) -> None:
    kind, body = BODIES[which]
    trunk = over_tcp(scene, offer)
    talk_and_hang_up(trunk, call_with(scene, trunk, body, kind))
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, ACCEPTED]
    last = trunk.carrier.received("INVITE")[-1]
    assert last.body == body
    assert credentials(last)["Proxy-Authorization"]["qop"] == "auth-int"


@pytest.mark.parametrize("which", BODIES)
def test_each_body_over_udp_and_again_after_a_stale_nonce(scene: Scene, which: str) -> None:
    kind, body = BODIES[which]
    trunk = scene.trunk(Script(challenge=Challenge(offers=tuple(AUTH_INT[:2]), stale=1)))
    talk_and_hang_up(trunk, scene.call(trunk, headers=typed(kind), body=body))
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, STALE, ACCEPTED]


@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "BYE"])
@pytest.mark.parametrize("which", ["multipart", "every byte there is", "empty"])
def test_each_body_inside_a_dialog(scene: Scene, which: str, method: str) -> None:
    kind, body = BODIES[which]
    trunk = scene.trunk(Script(challenge=Challenge(offers=(AUTH_INT[1],), requests=frozenset({"re-INVITE", method}))))
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    call.inside(method, headers=typed(kind), body=body).expect(200)
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, ACCEPTED]
    assert [each.body for each in trunk.carrier.received(method)] == [body] * (1 + scene.asked)


@pytest.mark.parametrize("which", ["SDP", "multipart", "every byte there is", "empty"])
def test_each_body_outside_a_dialog(scene: Scene, which: str) -> None:
    kind, body = BODIES[which]
    trunk = scene.trunk(Script(challenge=Challenge(offers=(AUTH_INT[1],), requests=frozenset({"MESSAGE"}))))
    headers = [("X-Trunk", trunk.uuid), *typed(kind)]
    scene.pbx.request("MESSAGE", "sip:5551234@pbx.test", headers=headers, body=body).expect(200)
    assert [each.body for each in trunk.carrier.received("MESSAGE")] == [body] * (1 + scene.asked)


@pytest.mark.parametrize("pbx", ["udp", "tcp"])
@pytest.mark.parametrize("offer", AUTH_INT, ids=str)
def test_as_long_a_body_as_there_is_in_a_call(scene: Scene, offer: Offer, pbx: str) -> None:
    """A message of 32767 bytes is the longest that Kamailio 6 takes, and that tm of 5.6 can make the ACK of."""
    trunk = over_tcp(scene, offer)
    headers = [("X-Trunk", trunk.uuid), *typed("application/octet-stream")]
    call = scene.caller(transport=pbx).invite("sip:5551234@pbx.test", headers=headers, body=b"\xf5" * 31500)
    talk_and_hang_up(trunk, call)
    assert trunk.carrier.answers("INVITE") == [*scene.asks(407), 200]


@pytest.mark.once
@pytest.mark.parametrize("carrier", ["udp", "tcp"])
@pytest.mark.parametrize("pbx", ["udp", "tcp"])
def test_an_sdp_of_6_kb_passes_both_ways(scene: Scene, pbx: str, carrier: str) -> None:
    """In fragments over UDP: a challenged INVITE, and one of each end inside the dialog."""
    large = SDP + b"a=candidate:1 1 UDP 2130706431 192.0.2.1 40000 typ host\r\n" * 105
    assert len(large) > 6000
    trunk = scene.trunk(Script(challenge=Challenge()), transport=carrier)
    caller = scene.caller(transport=pbx)
    call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)], body=large)
    call.expect(200)
    trunk.carrier.expect_acks()
    call.inside("INVITE", body=large).expect(200)
    trunk.carrier.in_call(call.request.call_id, "INVITE", large).expect(200)
    call.inside("BYE").expect(200)
    invites = [seen.message for end in (caller, trunk.carrier) for seen in end.trace if seen.message.method == "INVITE"]
    assert {each.body for each in invites if not each.is_response} == {large}


def send_text(scene: Scene, trunk: Trunk, size: int) -> Exchange:
    """A MESSAGE over TCP with a body of this size."""
    headers = [("X-Trunk", trunk.uuid), *typed("application/octet-stream")]
    caller = scene.caller(transport="tcp")
    return caller.request("MESSAGE", "sip:5551234@pbx.test", headers=headers, body=b"\xf5" * size)


def passes(scene: Scene, trunk: Trunk, text: Exchange) -> bool:
    """Whether Kamailio takes it at all: version 6 drops what is longer than 32767 bytes, with a line in its log."""
    if scene.kamailio.version.startswith("5."):
        return True
    scene.kamailio.wait_for_log(f"read message too large: {len(text.request.encode())}")
    assert not trunk.carrier.trace
    return False


TEXTS = frozenset({"MESSAGE"})


@pytest.mark.parametrize("size", [TOO_LONG, 60000])
@pytest.mark.parametrize("qop", ["auth", "auth,auth-int", "auth-int,auth"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_body_too_long_to_read_takes_auth(scene: Scene, algorithm: str, qop: str, size: int) -> None:
    trunk = over_tcp(scene, Offer(algorithm, qop), requests=TEXTS)
    text = send_text(scene, trunk, size)
    if passes(scene, trunk, text):
        text.expect(200)
        assert credentials(trunk.carrier.received("MESSAGE")[-1])["Proxy-Authorization"]["qop"] == "auth"


def test_a_body_too_long_to_read_takes_the_weaker_challenge_that_can_be_computed(scene: Scene) -> None:
    trunk = over_tcp(scene, Offer("SHA-256", "auth-int"), Offer("MD5", "auth"), requests=TEXTS)
    text = send_text(scene, trunk, TOO_LONG)
    if passes(scene, trunk, text):
        text.expect(200)
        assert credentials(trunk.carrier.received("MESSAGE")[-1])["Proxy-Authorization"]["algorithm"] == "MD5"


@pytest.mark.parametrize("size", [TOO_LONG, 60000])
@pytest.mark.parametrize("offer", AUTH_INT[:2], ids=str)
def test_a_body_too_long_to_read_is_503_where_nothing_else_is_offered(scene: Scene, offer: Offer, size: int) -> None:
    trunk = over_tcp(scene, offer, requests=TEXTS)
    text = send_text(scene, trunk, size)
    if passes(scene, trunk, text):
        refused_because(scene, trunk, "no secret, algorithm or qop for it", text)
        assert trunk.carrier.answers("MESSAGE") == [407]
