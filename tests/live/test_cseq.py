"""CSeq towards a carrier: never used twice, ACKs and PRACKs with that of their INVITE, whatever a PBX does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import message
from tests.harness.agent import SDP, Exchange, Served
from tests.harness.carrier import RELIABLE, Carrier, Script
from tests.harness.dialog import Dialog
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene
from tests.harness.steps import EVERY_KIND
from tests.harness.verifier import Challenge, Offer

pytestmark = pytest.mark.once


def again(call: Exchange, cseq: str) -> Exchange:
    """The same caller's next INVITE: Call-ID and From of the one before."""
    request = call.request
    changed = {"Via": call.agent.via(), "CSeq": f"{cseq} INVITE"}
    headers = [(name, changed.get(name, value)) for name, value in request.headers if name != "Content-Length"]
    return call.agent.start(message.request("INVITE", request.uri, headers, request.body), call.to)


def numbers(carrier: Carrier, *methods: str) -> list[int]:
    """The CSeqs of all requests of these methods, retransmissions left out."""
    return [each.cseq[0] for method in methods for each in carrier.received(method)]


@pytest.mark.parametrize("status", [486, 488, 503])
def test_a_caller_who_tries_again_counts_on(scene: Scene, status: int) -> None:
    """He knows 1 and says 2, which the carrier has seen."""
    trunk = scene.trunk(Script(Challenge(), ring=False, final=status))
    call = scene.call(trunk)
    scene.pbx.wait("a final response", lambda: call.final)
    second = again(call, "2")
    scene.pbx.wait("a final response", lambda: second.final)
    assert numbers(trunk.carrier, "INVITE") == [1, 2, 3, 4]
    assert second.final
    assert second.final.cseq == (2, "INVITE")


def test_requests_that_overlap_in_a_dialog_share_no_number(scene: Scene) -> None:
    """The answer to the challenge of a re-INVITE comes after an INFO that the caller sent meanwhile."""
    challenge = Challenge(requests=frozenset({"INVITE", "re-INVITE"}), nonces=Nonces(ONE_REQUEST))
    trunk = scene.trunk(Script(challenge, ring=False))
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect_acks()
    trunk.carrier.hold()
    again_in = call.inside("INVITE", body=SDP)
    scene.pbx.wait("100", lambda: again_in.responses)
    infos = [call.inside("INFO"), call.inside("INFO")]
    trunk.carrier.expect("INFO", count=2)
    trunk.carrier.release()
    for exchange in (again_in, *infos):
        exchange.expect(200)
    call.inside("BYE").expect(200)
    seen = numbers(trunk.carrier, "INVITE", "INFO", "BYE")
    assert len(seen) == len(set(seen)) == 7
    assert max(seen) == numbers(trunk.carrier, "BYE")[0]


@pytest.mark.parametrize("cseq", ["1", "2"])
def test_two_invites_before_either_is_challenged_share_no_number(scene: Scene, cseq: str) -> None:
    """A PBX that forks: one Call-ID and From tag, at once."""
    trunk = scene.trunk(Script(Challenge(), ring=False, final=486))
    trunk.carrier.hold()
    call = scene.call(trunk)
    fork = again(call, cseq)
    trunk.carrier.expect("INVITE", count=2)
    trunk.carrier.release()
    for exchange in (call, fork):
        exchange.expect(486)
    assert sorted(numbers(trunk.carrier, "INVITE")) == [1, 2, 3, 4]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_both_calls_of_a_fork_are_acknowledged_and_hung_up_with_their_own(scene: Scene, algorithm: str) -> None:
    """Two INVITEs with one CSeq: each ACK has number and credentials of its own, whatever BYE came before."""
    challenge = Challenge(offers=(Offer(algorithm),), requests=EVERY_KIND, nonces=Nonces(ONE_REQUEST))
    trunk = scene.trunk(Script(challenge, ring=False))
    trunk.carrier.hold()
    call = scene.call(trunk)
    fork = again(call, "1")
    trunk.carrier.expect("INVITE", count=2)
    trunk.carrier.release()
    for exchange in (call, fork):
        exchange.expect(200)
    trunk.carrier.expect_acks()
    invites = {each.cseq[0]: each.first("Proxy-Authorization") for each in trunk.carrier.received("INVITE")[2:]}
    acks = [each for each in trunk.carrier.received("ACK") if len(each.vias) > 1]
    assert {each.cseq[0]: each.first("Proxy-Authorization") for each in acks} == invites
    for exchange in (call, fork):
        exchange.inside("BYE").expect(200)
    assert numbers(trunk.carrier, "BYE") == [5, 6, 7, 8]


@pytest.mark.every_kamailio
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_both_legs_of_a_fork_behind_the_carrier_have_right_numbers(scene: Scene, algorithm: str) -> None:
    """One INVITE rings twice and is answered twice; each dialog is spoken to, and the second is hung up first."""
    kinds = EVERY_KIND | {"PRACK"}
    challenge = Challenge(offers=(Offer(algorithm),), requests=kinds, nonces=Nonces(ONE_REQUEST))
    trunk = scene.trunk(Script(challenge, ring=False, final=None))
    carrier, pbx = trunk.carrier, scene.pbx
    call = scene.call(trunk, headers=[("Supported", "100rel")])
    carrier.expect("INVITE", count=2)
    (first,) = (each for each in carrier.served.values() if each.request.cseq == (2, "INVITE"))
    second = Served(first.request, first.peer, message.new_tag())
    for leg in (first, second):
        carrier.respond(leg, 180, RELIABLE)
    pbx.wait("both ring", lambda: {each.to_tag for each in call.responses} >= {first.tag, second.tag})
    legs = {each.to_tag: Dialog.of_caller(call.request, each) for each in call.responses if each.status == 180}
    kept, losing = legs[first.tag], legs[second.tag]
    for leg in (first, second):
        carrier.respond(leg, 200, body=SDP)
    pbx.wait("both answer", lambda: {each.to_tag for each in call.responses if each.status == 200} == set(legs))
    for dialog in (kept, losing):  # after the 200, too
        pbx.inside(dialog, "PRACK", headers=[("RAck", "1 1 INVITE")]).expect(200)
        pbx.send(dialog.request("ACK", pbx.via(), pbx.uri, cseq=1), dialog.next_hop)
    for dialog in (losing, kept):
        pbx.inside(dialog, "BYE").expect(200)
    scene.agents.clear()  # the rules of both ends know one dialog of a call
    assert {each.first("RAck") for each in carrier.received("PRACK")} == {"1 2 INVITE"}
    acks = [each for each in carrier.received("ACK") if len(each.vias) > 1]
    assert {each.to_tag for each in acks} == set(legs)
    given = first.request.first("Proxy-Authorization")
    assert {(each.cseq[0], each.first("Proxy-Authorization")) for each in acks} == {(2, given)}
    assert numbers(carrier, "INVITE", "PRACK", "BYE") == list(range(1, 11))


def test_another_carrier_starts_from_the_callers_own_numbers(scene: Scene) -> None:
    first, second = (scene.trunk(Script(Challenge(), ring=False, final=486)) for _ in range(2))
    call = scene.call(first)
    call.expect(486)
    headers = [(name, second.uuid if name == "X-Trunk" else value) for name, value in call.request.headers]
    call.request = replace(call.request, headers=tuple(headers))
    again(call, "2").expect(486)
    assert numbers(first.carrier, "INVITE") == [1, 2]
    assert numbers(second.carrier, "INVITE") == [2, 3]


@pytest.mark.parametrize("cseq", ["0009", "2147483646"])
def test_the_caller_gets_his_own_cseq_back(scene: Scene, cseq: str) -> None:
    trunk = scene.trunk(Script(Challenge(), ring=False, final=486))
    call = scene.call(trunk)
    call.expect(486)
    second = again(call, cseq)
    second.expect(486)
    assert {each.first("CSeq") for each in second.responses} == {f"{cseq} INVITE"}


def test_a_cseq_that_cannot_be_raised_gets_500(scene: Scene) -> None:
    trunk = scene.trunk(Script(Challenge(), ring=False, final=486))
    call = scene.call(trunk)
    call.expect(486)
    answer = again(call, "2147483647").expect(500)
    assert answer.reason == "CSeq Too High"
