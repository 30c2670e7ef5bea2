"""The ACK of a 2xx carries the credentials of its INVITE, to the letter (RFC 3261 22.1)."""

from __future__ import annotations

import pytest

from tests.harness.agent import SDP
from tests.harness.carrier import Script
from tests.harness.message import Message
from tests.harness.scene import Scene
from tests.harness.steps import EVERY_KIND
from tests.harness.verifier import ANSWER_HEADERS, Challenge, Offer

OFFERS = {
    "by uac_auth()": Offer(),
    "without qop": Offer(qop=""),
    "SHA-256": Offer("SHA-256"),
    "in Latin-1": Offer(opaque=b"\xe9".decode(errors="surrogateescape")),
}


def given(request: Message) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.headers if name in ANSWER_HEADERS.values()]


@pytest.mark.every_manner
@pytest.mark.every_kamailio
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_the_ack_of_a_2xx_has_the_credentials_of_its_invite(scene: Scene, offer: Offer) -> None:
    trunk = scene.trunk(Script(Challenge(offers=(offer,), requests=EVERY_KIND)))
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect_acks()
    call.inside("INFO").expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    trunk.carrier.accept_again(call.request.call_id)
    call.inside("BYE").expect(200)
    invites = {each.cseq[0]: given(each) for each in trunk.carrier.received("INVITE")}
    acks = [each for each in trunk.carrier.received("ACK") if len(each.vias) > 1]  # those that the PBX sent
    assert len({each.cseq[0] for each in acks}) == 2
    for ack in acks:
        assert given(ack) == invites[ack.cseq[0]] != []


def test_the_ack_of_an_invite_without_credentials_has_none(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    call = scene.pbx.invite(
        "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid), ("Proxy-Authorization", 'Digest username="u"')]
    )
    call.expect(200)
    trunk.carrier.expect_acks()
    assert given(trunk.carrier.expect("ACK")) == []
    call.inside("BYE").expect(200)
