"""Calls over the wire, challenged and not: what the carrier gets, and what the PBX sees of it."""

from __future__ import annotations

import pytest

from tests.harness.agent import SDP
from tests.harness.carrier import Script
from tests.harness.scene import Scene
from tests.harness.steps import refused, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, STALE, WRONG, Challenge, Offer

pytestmark = [pytest.mark.every_manner, pytest.mark.every_kamailio]

STATUSES = [401, 407]


@pytest.mark.once
def test_a_carrier_that_does_not_challenge_gets_one_invite_without_credentials(scene: Scene) -> None:
    trunk = scene.trunk(Script(final=None))
    call = scene.call(trunk)
    early = call.expect(180)
    trunk.carrier.pick_up()
    assert call.expect(200).to_tag == early.to_tag
    talk_and_hang_up(trunk, call)
    (invite,) = trunk.carrier.received("INVITE")
    assert not invite.has("Authorization")
    assert not invite.has("Proxy-Authorization")
    assert invite.body == SDP


@pytest.mark.parametrize("status", STATUSES)
def test_a_challenge_is_answered(scene: Scene, status: int) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(status)))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.verdicts == scene.verdicts("INVITE")
    assert trunk.carrier.expect("BYE").cseq[0] == 2 + scene.asked


@pytest.mark.parametrize("qop", ["", "auth,auth-int"])
def test_a_challenge_is_answered_with_and_without_qop(scene: Scene, qop: str) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(offers=(Offer(qop=qop),))))
    talk_and_hang_up(trunk, scene.call(trunk))


@pytest.mark.parametrize(("pbx", "carrier"), [("tcp", "tcp"), ("tcp", "udp"), ("udp", "tcp")])
def test_a_challenge_is_answered_over_tcp(scene: Scene, pbx: str, carrier: str) -> None:
    trunk = scene.trunk(transport=carrier)
    caller = scene.caller(transport=pbx)
    call = caller.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    talk_and_hang_up(trunk, call)
    assert trunk.carrier.verdicts == scene.verdicts("INVITE")


def test_a_stale_nonce_is_answered_once_more(scene: Scene) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(stale=1)))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, STALE, ACCEPTED]


def test_the_realm_of_the_row_is_answered(scene: Scene) -> None:
    trunk = scene.trunk(realm="carrier.test")
    talk_and_hang_up(trunk, scene.call(trunk))


@pytest.mark.parametrize("status", STATUSES)
def test_a_carrier_that_is_never_content_is_asked_twice_at_most(scene: Scene, status: int) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(status, refuse_all=True)))
    refused(scene.call(trunk))
    assert len(trunk.carrier.received("INVITE")) == 2


def test_a_wrong_password_is_503(scene: Scene) -> None:
    trunk = scene.trunk()
    scene.change_row(trunk, auth_password="not-the-password")
    refused(scene.call(trunk))
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [scene.at_first(WRONG), WRONG]


@pytest.mark.once
@pytest.mark.parametrize(
    ("challenge", "columns"),
    [
        pytest.param(Challenge(), {"realm": "elsewhere.test"}, id="another realm"),
        pytest.param(Challenge(offers=(Offer("SHA-1"),)), {}, id="an algorithm that nobody knows"),
        pytest.param(Challenge(offers=(Offer(qop="auth-conf"),)), {}, id="a qop that nobody knows"),
        pytest.param(Challenge(), {"auth_password": "", "auth_ha1": "0" * 64}, id="a secret for another algorithm"),
    ],
)
def test_what_cannot_be_answered_is_503_and_no_credentials_leave(
    scene: Scene, challenge: Challenge, columns: dict[str, str]
) -> None:
    trunk = scene.trunk(Script(challenge=challenge), **columns)
    refused(scene.call(trunk))
    assert len(trunk.carrier.received("INVITE")) == 1


@pytest.mark.parametrize("challenge", [None, Challenge()], ids=["plain", "challenged"])
def test_busy_is_passed_on(scene: Scene, challenge: Challenge | None) -> None:
    trunk = scene.trunk(Script(challenge=challenge, final=486))
    scene.call(trunk).expect(486)


def test_a_cancelled_call_ends_after_its_challenge_was_answered(scene: Scene) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(), final=None))
    call = scene.call(trunk)
    call.expect(180)
    call.cancel().expect(200)
    call.expect(487)
    assert trunk.carrier.expect("CANCEL").cseq == (1 + scene.asked, "CANCEL")
    assert len(trunk.carrier.received("INVITE")) == 1 + scene.asked


def test_a_cancelled_reinvite_ends_after_its_challenge_was_answered(scene: Scene) -> None:
    challenge = Challenge(requests=frozenset({"INVITE", "re-INVITE"}))
    trunk = scene.trunk(Script(challenge=challenge, final=None))
    call = scene.call(trunk)
    call.expect(180)
    trunk.carrier.pick_up()
    call.expect(200)
    again = call.inside("INVITE", body=SDP)
    again.expect(180)
    again.cancel().expect(200)
    again.expect(487)
    assert trunk.carrier.expect("CANCEL").cseq == (2 + 2 * scene.asked, "CANCEL")
    call.inside("BYE").expect(200)


def test_a_challenge_that_crosses_the_cancel_is_left_alone(scene: Scene) -> None:
    trunk = scene.trunk()
    trunk.carrier.forget_nonces()
    trunk.carrier.hold()
    call = scene.call(trunk)
    trunk.carrier.expect("INVITE")
    cancel = call.cancel()
    cancel.expect(200)
    trunk.carrier.expect("CANCEL")
    trunk.carrier.release()
    call.expect(487)
    trunk.carrier.expect_acks()
    assert len(trunk.carrier.received("INVITE")) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_requests_inside_the_dialog_are_answered_too(scene: Scene, status: int) -> None:
    requests = frozenset({"INVITE", "re-INVITE", "UPDATE", "INFO", "BYE"})
    trunk = scene.trunk(Script(challenge=Challenge(status, requests=requests)))
    call = scene.call(trunk)
    call.expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    for method in ("UPDATE", "INFO", "BYE"):
        call.inside(method).expect(200)
    assert trunk.carrier.verdicts == scene.verdicts("INVITE", "re-INVITE", "UPDATE", "INFO", "BYE")


def test_a_reinvite_that_is_refused_for_ever_is_503_and_leaves_the_call_up(scene: Scene) -> None:
    challenge = Challenge(requests=frozenset({"re-INVITE"}), refuse_all=True)
    trunk = scene.trunk(Script(challenge=challenge))
    call = scene.call(trunk)
    call.expect(200)
    refused(call.inside("INVITE", body=SDP))
    call.inside("BYE").expect(200)


def test_the_carrier_may_hang_up(scene: Scene) -> None:
    trunk = scene.trunk()
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    trunk.carrier.in_call(call.request.call_id, "INVITE", SDP).expect(200)
    trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)


def test_two_calls_over_two_trunks_at_once_keep_apart(scene: Scene) -> None:
    one, other = scene.trunk(), scene.trunk(Script(challenge=Challenge(401)))
    one.carrier.hold()
    other.carrier.hold()
    calls = [scene.call(one), scene.call(other)]
    for trunk in (one, other):
        trunk.carrier.expect("INVITE")
        trunk.carrier.release()
    for trunk, call in zip((one, other), calls, strict=True):
        talk_and_hang_up(trunk, call)


def test_what_the_caller_may_not_say_to_a_carrier_does_not_reach_it(scene: Scene) -> None:
    """The rules name every header that leaks; here is a call that carries them all, and one inside its dialog."""
    trunk = scene.trunk()
    credentials = 'Digest username="pbx", realm="pbx.test", nonce="n", uri="sip:pbx.test", response="r"'
    private = [
        ("Authorization", credentials),
        ("Proxy-Authorization", credentials),
        ("X-Trunk", "another"),
    ]
    call = scene.call(trunk, headers=private)
    call.expect(200)
    trunk.carrier.expect("ACK")
    call.inside("INFO", headers=private).expect(200)
    call.inside("BYE").expect(200)
    assert trunk.carrier.verdicts == scene.verdicts("INVITE")


def test_a_retransmitted_invite_goes_no_further(scene: Scene) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(), final=None))
    call = scene.call(trunk)
    call.expect(180)
    scene.pbx.send(call.request, scene.pbx.proxy)
    scene.pbx.wait("180 once more", lambda: [each.status for each in call.responses].count(180) == 2)
    trunk.carrier.pick_up()
    talk_and_hang_up(trunk, call)
    assert len(trunk.carrier.received("INVITE")) == 1 + scene.asked


@pytest.mark.parametrize(
    "route", ["<sip:127.0.0.3:9;lr>", "<sip:{proxy};lr>", "<sip:{proxy};lr>, <sip:127.0.0.3:9;lr>"]
)
def test_a_route_of_the_callers_choice_does_not_steer_the_call(scene: Scene, route: str) -> None:
    """With credentials in it, a request goes to the trunk's carrier or nowhere."""
    trunk = scene.trunk()
    host, port = scene.kamailio.sip
    talk_and_hang_up(trunk, scene.call(trunk, headers=[("Route", route.format(proxy=f"{host}:{port}"))]))


def test_a_stranger_inside_the_dialog_is_481(scene: Scene) -> None:
    """Who knows the dialog's tags and mark sends no request in it: the caller's side is for listed sources."""
    trunk = scene.trunk(Script(challenge=Challenge(requests=frozenset({"INFO"}))))
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    assert call.dialog
    scene.caller(host="127.0.0.2").inside(call.dialog, "INFO").expect(481)
    assert trunk.carrier.verdicts == []


@pytest.mark.once
def test_a_request_that_starts_no_dialog_is_relayed_and_answered(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    message = scene.pbx.request("MESSAGE", "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    message.expect(200)
    assert trunk.carrier.expect("MESSAGE").uri == f"sip:5551234@{trunk.domain}"
