"""Every method that a carrier may challenge, and what the answers do to CSeq, ACK, CANCEL and RAck.

MD5 is answered by uac_auth(), SHA-256 by the Python digest. In a dialog each answered challenge raises CSeq by one, so
that the numbers which the carrier sees have no gap; rules.py holds each message against the one that it belongs to.
"""

from __future__ import annotations

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.message import Header
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import refused_because, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, STALE, Challenge, Offer

ALGORITHMS = pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
STALE_TIMES = pytest.mark.parametrize("stale", [0, 1, 3])
IN_DIALOG: dict[str, list[Header]] = {
    "INVITE": [],
    "BYE": [],
    "UPDATE": [],
    "INFO": [("Info-Package", "none")],
    "REFER": [("Refer-To", "<sip:5550000@pbx.test>")],
    "NOTIFY": [("Event", "refer"), ("Subscription-State", "active")],
    "MESSAGE": [],
}
OUTSIDE: dict[str, list[Header]] = {
    "MESSAGE": [],
    "OPTIONS": [("Accept", "application/sdp")],
    "SUBSCRIBE": [("Event", "presence"), ("Expires", "60")],
    "PUBLISH": [("Event", "presence"), ("Expires", "60")],
    "REFER": [("Refer-To", "<sip:5550000@pbx.test>")],
}
BODIES = {"INVITE": SDP, "UPDATE": SDP, "INFO": b"Signal=5\r\n"}


def kind(method: str) -> str:
    return "re-INVITE" if method == "INVITE" else method


def trunk_asking(scene: Scene, algorithm: str, *kinds: str, stale: int = 0, final: int | None = 200) -> Trunk:
    """A trunk whose carrier challenges these."""
    challenge = Challenge(offers=(Offer(algorithm),), requests=frozenset(kinds), stale=stale)
    return scene.trunk(Script(challenge=challenge, final=final, reliable="PRACK" in kinds))


def set_up(trunk: Trunk, call: Exchange) -> None:
    call.expect(200)
    trunk.carrier.expect("ACK", count=len(trunk.carrier.received("INVITE")))


def numbers(trunk: Trunk) -> list[int]:
    """CSeq numbers of all requests but ACK and CANCEL, in the order in which the carrier got them."""
    requests = [seen.message for seen in trunk.carrier.trace if not seen.sent and not seen.message.is_response]
    return [each.cseq[0] for each in dict.fromkeys(requests) if each.method not in ("ACK", "CANCEL")]


def gapless(trunk: Trunk) -> None:
    assert numbers(trunk) == list(range(1, len(numbers(trunk)) + 1)), trunk.carrier.ladder()


@ALGORITHMS
@STALE_TIMES
@pytest.mark.parametrize("method", IN_DIALOG)
def test_a_request_in_the_dialog(scene: Scene, method: str, stale: int, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, kind(method), stale=stale)
    call = scene.call(trunk)
    set_up(trunk, call)
    again = call.inside(method, headers=IN_DIALOG[method], body=BODIES.get(method, b""))
    again.expect(200)
    trunk.carrier.expect_acks()
    if method != "BYE":
        call.inside("BYE").expect(200)
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, *[STALE] * stale, ACCEPTED]
    gapless(trunk)


@pytest.mark.every_manner
@pytest.mark.every_kamailio
@ALGORITHMS
@STALE_TIMES
def test_every_request_of_a_call(scene: Scene, stale: int, algorithm: str) -> None:
    """The INVITE, then one of each in its dialog, and a re-INVITE at the end: all challenged."""
    trunk = trunk_asking(scene, algorithm, "INVITE", *map(kind, IN_DIALOG), stale=stale)
    call = scene.call(trunk)
    set_up(trunk, call)
    for method in ("UPDATE", "INVITE", "INFO", "REFER", "NOTIFY", "MESSAGE", "INVITE", "BYE"):
        call.inside(method, headers=IN_DIALOG[method], body=BODIES.get(method, b"")).expect(200)
        trunk.carrier.expect_acks()
    gapless(trunk)
    assert len(numbers(trunk)) == 9 * (1 + scene.asked) + stale


@ALGORITHMS
@pytest.mark.parametrize("method", [name for name in IN_DIALOG if name != "BYE"])
def test_a_request_that_is_refused_leaves_the_call_up(scene: Scene, method: str, algorithm: str) -> None:
    challenge = Challenge(offers=(Offer(algorithm),), requests=frozenset({kind(method)}), refuse_all=True)
    trunk = scene.trunk(Script(challenge=challenge))
    call = scene.call(trunk)
    set_up(trunk, call)
    refused_because(scene, trunk, "credentials refused", call.inside(method, headers=IN_DIALOG[method]))
    call.inside("BYE").expect(200)
    gapless(trunk)


@ALGORITHMS
@pytest.mark.parametrize("stale", [0, 2])
@pytest.mark.parametrize("method", OUTSIDE)
def test_a_request_outside_a_dialog(scene: Scene, method: str, stale: int, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, method, stale=stale)
    headers = [("X-Trunk", trunk.uuid), *OUTSIDE[method]]
    request = scene.pbx.request(method, "sip:5551234@pbx.test", headers=headers, body=b"hello" * (method == "MESSAGE"))
    request.expect(200)
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, *[STALE] * stale, ACCEPTED]
    assert trunk.carrier.expect(method).uri == f"sip:5551234@{trunk.domain}"


@ALGORITHMS
@pytest.mark.parametrize("method", OUTSIDE)
def test_a_request_outside_a_dialog_that_is_refused(scene: Scene, method: str, algorithm: str) -> None:
    challenge = Challenge(401, offers=(Offer(algorithm),), requests=frozenset({method}), refuse_all=True)
    trunk = scene.trunk(Script(challenge=challenge))
    headers = [("X-Trunk", trunk.uuid), *OUTSIDE[method]]
    request = scene.pbx.request(method, "sip:5551234@pbx.test", headers=headers)
    refused_because(scene, trunk, "credentials refused", request)
    assert trunk.carrier.answers(method) == [401, 401]


def acknowledge_early(call: Exchange) -> Exchange:
    """PRACK of the reliable 180, with RAck naming the INVITE by the CSeq that the caller gave it."""
    call.expect(180)
    return call.inside("PRACK", headers=[("RAck", f"1 {call.request.cseq[0]} INVITE")])


@pytest.mark.every_manner
@pytest.mark.every_kamailio
@ALGORITHMS
@pytest.mark.parametrize("stale", [0, 3])
@pytest.mark.parametrize(
    "kinds", [("INVITE",), ("PRACK",), ("INVITE", "PRACK"), ("INVITE", "PRACK", "BYE")], ids="-".join
)
def test_prack_names_the_invite_as_the_carrier_knows_it(
    scene: Scene, kinds: tuple[str, ...], stale: int, algorithm: str
) -> None:
    challenge = Challenge(offers=(Offer(algorithm),), requests=frozenset(kinds), stale=stale)
    trunk = scene.trunk(Script(challenge=challenge, final=None, reliable=True))
    call = scene.call(trunk, headers=[("Supported", "100rel")])
    acknowledge_early(call).expect(200)
    trunk.carrier.pick_up()
    talk_and_hang_up(trunk, call)
    invite = trunk.carrier.received("INVITE")[-1].cseq[0]
    assert {each.first("RAck") for each in trunk.carrier.received("PRACK")} == {f"1 {invite} INVITE"}
    gapless(trunk)


@ALGORITHMS
def test_prack_of_a_reinvite(scene: Scene, algorithm: str) -> None:
    kinds = frozenset({"INVITE", "re-INVITE", "PRACK", "BYE"})
    challenge = Challenge(offers=(Offer(algorithm),), requests=kinds)
    trunk = scene.trunk(Script(challenge=challenge, final=None, reliable=True))
    call = scene.call(trunk, headers=[("Supported", "100rel")])
    acknowledge_early(call).expect(200)
    trunk.carrier.pick_up()
    set_up(trunk, call)
    again = call.inside("INVITE", headers=[("Supported", "100rel")], body=SDP)
    acknowledge_early(again).expect(200)
    trunk.carrier.pick_up()
    again.expect(200)
    trunk.carrier.expect_acks()
    call.inside("BYE").expect(200)
    gapless(trunk)


@ALGORITHMS
def test_a_request_before_the_call_is_accepted_does_not_change_its_ack(scene: Scene, algorithm: str) -> None:
    """An UPDATE in the early dialog is challenged; the ACK that follows belongs to the INVITE all the same."""
    trunk = trunk_asking(scene, algorithm, "INVITE", "UPDATE", final=None)
    call = scene.call(trunk)
    call.expect(180)
    call.inside("UPDATE", body=SDP).expect(200)
    trunk.carrier.pick_up()
    talk_and_hang_up(trunk, call)
    gapless(trunk)


@ALGORITHMS
@pytest.mark.parametrize("method", ["INFO", "INVITE"])
def test_a_2xx_that_comes_again_late_gets_the_ack_of_its_own_invite(scene: Scene, method: str, algorithm: str) -> None:
    """The caller repeats its ACK for every 2xx that it sees (RFC 3261 13.2.2.4), whatever was sent in the meantime."""
    trunk = trunk_asking(scene, algorithm, "INVITE", "INFO", "re-INVITE")
    call = scene.call(trunk)
    set_up(trunk, call)
    call.inside(method, body=BODIES[method]).expect(200)
    trunk.carrier.expect_acks()
    trunk.carrier.accept_again(call.request.call_id)
    call.inside("BYE").expect(200)
    gapless(trunk)


@ALGORITHMS
@pytest.mark.parametrize("stale", [0, 3])
def test_a_cancelled_call(scene: Scene, stale: int, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, "INVITE", stale=stale, final=None)
    call = scene.call(trunk)
    call.expect(180)
    call.cancel().expect(200)
    call.expect(487)
    assert trunk.carrier.expect("CANCEL").cseq == (stale + 1 + scene.asked, "CANCEL")
    gapless(trunk)


@ALGORITHMS
def test_a_call_cancelled_after_its_prack(scene: Scene, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, "INVITE", "PRACK", final=None)
    call = scene.call(trunk, headers=[("Supported", "100rel")])
    acknowledge_early(call).expect(200)
    call.cancel().expect(200)
    call.expect(487)
    assert trunk.carrier.expect("CANCEL").cseq == (1 + scene.asked, "CANCEL")


@ALGORITHMS
@pytest.mark.parametrize("stale", [0, 3])
def test_a_cancelled_reinvite(scene: Scene, stale: int, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, "INVITE", "re-INVITE", "BYE", stale=stale, final=None)
    call = scene.call(trunk)
    call.expect(180)
    trunk.carrier.pick_up()
    set_up(trunk, call)
    again = call.inside("INVITE", body=SDP)
    again.expect(180)
    again.cancel().expect(200)
    again.expect(487)
    assert trunk.carrier.expect("CANCEL").cseq == (stale + 2 + 2 * scene.asked, "CANCEL")
    call.inside("BYE").expect(200)
    gapless(trunk)


@ALGORITHMS
@pytest.mark.parametrize("stale", [0, 3])
@pytest.mark.parametrize("final", [486, 603])
def test_a_call_that_fails_after_its_challenge(scene: Scene, final: int, stale: int, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, "INVITE", stale=stale, final=final)
    scene.call(trunk).expect(final)
    assert trunk.carrier.answers("INVITE") == [407] * (stale + scene.asked) + [final]
    trunk.carrier.expect_acks()
    assert trunk.carrier.received("ACK")[-1].cseq[0] == stale + 1 + scene.asked


@ALGORITHMS
def test_a_reinvite_that_fails_after_its_challenge(scene: Scene, algorithm: str) -> None:
    trunk = trunk_asking(scene, algorithm, "INVITE", "re-INVITE", final=None)
    call = scene.call(trunk)
    call.expect(180)
    trunk.carrier.pick_up()
    set_up(trunk, call)
    trunk.carrier.turn_down(488)
    call.inside("INVITE", body=SDP).expect(488)
    trunk.carrier.expect_acks()
    call.inside("BYE").expect(200)
    gapless(trunk)


@ALGORITHMS
def test_requests_of_the_carrier_keep_their_own_numbers(scene: Scene, algorithm: str) -> None:
    """Both sides count for themselves; what was answered on one side does not move the other."""
    trunk = trunk_asking(scene, algorithm, "INVITE", "re-INVITE", "BYE")
    call = scene.call(trunk)
    set_up(trunk, call)
    trunk.carrier.in_call(call.request.call_id, "INVITE", SDP).expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    trunk.carrier.in_call(call.request.call_id, "INFO").expect(200)
    call.inside("BYE").expect(200)
    gapless(trunk)
