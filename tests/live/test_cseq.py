"""CSeq towards a carrier: never used twice, ACKs and PRACKs with that of their INVITE, whatever a PBX does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.harness import message
from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Carrier, Script
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene
from tests.harness.verifier import Challenge

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
