"""Challenged again: a stale nonce, a proxy and then the far end, nonces that serve once, carriers that never end.

What is answered must reach the call; what is not must end, after a number of INVITEs that is known beforehand.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.harness.agent import SDP
from tests.harness.carrier import Script
from tests.harness.nonces import ONCE, Nonces
from tests.harness.scene import Manner, Scene, Trunk
from tests.harness.steps import credentials, refused_because, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, STALE, Challenge, Offer, ha1

pytestmark = pytest.mark.every_manner

FOR_EVER = 1000
ALGORITHMS = ["MD5", "SHA-256"]  # uac_auth(), and the Python digest
PROXY, FAR_END = "Proxy-Authorization", "Authorization"


def invites(trunk: Trunk) -> list[dict[str, dict[str, str]]]:
    """The credentials of each INVITE, by header."""
    return [credentials(each) for each in trunk.carrier.received("INVITE")]


def counts(trunk: Trunk) -> list[dict[str, str]]:
    """The nonce count in each header of each INVITE."""
    return [{header: params["nc"] for header, params in each.items()} for each in invites(trunk)]


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_stale_nonce_is_answered_again(scene: Scene, times: int, algorithm: str, status: int) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(status, offers=(Offer(algorithm),), stale=times)))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, *[STALE] * times, ACCEPTED]
    numbers = [each.cseq[0] for name in ("INVITE", "BYE") for each in trunk.carrier.received(name)]
    assert numbers == list(range(1, times + 3 + scene.asked))


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stale_for_ever_is_503_after_four_answers(scene: Scene, algorithm: str, status: int) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(status, offers=(Offer(algorithm),), stale=FOR_EVER)))
    refused_because(scene, trunk, "too many challenges", scene.call(trunk))
    assert [verdict for _, _, verdict in trunk.carrier.verdicts] == [*scene.first, *[STALE] * (5 - scene.asked)]
    assert trunk.carrier.answers("INVITE") == [status] * 5


def test_a_row_of_ha1_is_answered_again_too(scene: Scene) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(stale=2)))
    row = scene.another_row(trunk, auth_password="", auth_ha1=ha1("MD5", trunk.user, "carrier.test", trunk.password))
    talk_and_hang_up(row, scene.call(row))
    assert trunk.carrier.answers("INVITE") == [*scene.asks(407), 407, 407, 200]


@pytest.mark.parametrize("algorithms", [("MD5", "MD5"), ("SHA-256", "MD5"), ("MD5", "SHA-256")], ids="-".join)
@pytest.mark.parametrize("realm", ["far.test", "carrier.test"], ids=["another realm", "the same realm"])
@pytest.mark.parametrize("statuses", [(407, 401), (401, 407)], ids=str)
def test_a_proxy_and_then_the_far_end(
    scene: Scene, statuses: tuple[int, int], realm: str, algorithms: tuple[str, str]
) -> None:
    """The resend carries both answers; the first has the nonce that was accepted, counted on (RFC 3261 22.3)."""
    first, second = algorithms
    near = Challenge(statuses[0], offers=(Offer(first),))
    far = Challenge(statuses[1], realm=realm, offers=(Offer(second),))
    trunk = scene.trunk(Script(challenge=near, behind=far))
    talk_and_hang_up(trunk, scene.call(trunk))
    asked = {407: PROXY, 401: FAR_END}
    one, other = asked[statuses[0]], asked[statuses[1]]
    last = {one: "00000002", other: "00000001"}
    if realm == near.realm:  # the request before was sent three times as well
        known = {one: "00000003", other: "00000002"}
        kept, turned_down = [known], [known, {one: "00000001", other: "00000003"}, last]
    else:  # the next call may go to another far end
        kept = [{one: "00000003"}, {one: "00000004", other: "00000001"}]
        turned_down = [{one: "00000003"}, {one: "00000001"}, last]
    expected = {
        Manner.OFF: [{}, {one: "00000001"}, last],
        Manner.KEPT: kept,
        Manner.TURNED_DOWN: turned_down,
    }[scene.manner]
    assert counts(trunk) == expected
    assert trunk.carrier.answers("INVITE") == [*statuses[3 - len(expected) :], 200]
    for before, after in pairwise(invites(trunk)[1:]):
        assert before[one]["nonce"] == after[one]["nonce"]
        assert before[one]["cnonce"] != after[one]["cnonce"]


@pytest.mark.parametrize("body", [SDP, b""], ids=["SDP", "no body"])
def test_a_proxy_and_the_far_end_that_both_want_the_body_hashed(scene: Scene, body: bytes) -> None:
    offers = (Offer("SHA-256", "auth-int"),)
    trunk = scene.trunk(Script(challenge=Challenge(offers=offers), behind=Challenge(401, offers=offers)))
    talk_and_hang_up(trunk, scene.call(trunk, body=body))
    assert trunk.carrier.answers("INVITE") == [*scene.asks(407, 401), 200]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_far_end_that_finds_its_nonce_stale(scene: Scene, algorithm: str) -> None:
    offers = (Offer(algorithm),)
    far = Challenge(401, offers=offers, stale=2)
    trunk = scene.trunk(Script(challenge=Challenge(offers=offers), behind=far))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [*scene.asks(407, 401), 401, 401, 200]
    assert [each.get(PROXY, "none") for each in counts(trunk)] == {
        Manner.OFF: ["none", "00000001", "00000002", "00000003", "00000004"],
        Manner.KEPT: ["00000003", "00000004", "00000005"],
        Manner.TURNED_DOWN: ["00000003", "00000001", "00000002", "00000003", "00000004"],
    }[scene.manner]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_proxy_whose_nonces_serve_once(scene: Scene, algorithm: str) -> None:
    """407, 401, and a second 407 that is not stale: it is new after one that was accepted."""
    offers = (Offer(algorithm),)
    near = Challenge(offers=offers, nonces=Nonces(ONCE))
    trunk = scene.trunk(Script(challenge=near, behind=Challenge(401, offers=offers)))
    talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [*scene.asks(407, 401), 407, 200]
    far_end = "00000002" if scene.asked else "00000004"  # after 2 of the request before
    assert counts(trunk)[-1] == {PROXY: "00000001", FAR_END: far_end}


@pytest.mark.parametrize("realm", ["far.test", "carrier.test"], ids=["another realm", "the same realm"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_far_end_that_refuses_behind_a_proxy_that_asks_each_time(scene: Scene, algorithm: str, realm: str) -> None:
    """A proxy whose nonces serve once before a far end that is never content: that the proxy asks again says nothing
    for the far end, whose second refusal ends the call."""
    offers = (Offer(algorithm),)
    near = Challenge(offers=offers, nonces=Nonces(ONCE))
    far = Challenge(401, realm=realm, offers=offers, refuse_all=True)
    trunk = scene.trunk(Script(challenge=near, behind=far))
    refused_because(scene, trunk, "credentials refused", scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 401] * 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_far_end_that_refuses_the_password_ends_the_call(scene: Scene, algorithm: str) -> None:
    offers = (Offer(algorithm),)
    far = Challenge(401, realm="far.test", offers=offers, refuse_all=True)
    trunk = scene.trunk(Script(challenge=Challenge(offers=offers), behind=far))
    refused_because(scene, trunk, "credentials refused", scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [*scene.asks(407), 401, 401]


def test_a_row_with_a_realm_answers_the_proxy_and_not_the_far_end(scene: Scene) -> None:
    script = Script(challenge=Challenge(), behind=Challenge(401, realm="far.test"))
    trunk = scene.trunk(script)
    scene.change_row(trunk, realm="carrier.test")
    refused_because(scene, trunk, "realm not the trunk's", scene.call(trunk))
    assert [list(each) for each in invites(trunk)] == {
        Manner.OFF: [[], [PROXY]],
        Manner.KEPT: [[PROXY]],
        Manner.TURNED_DOWN: [[PROXY], [PROXY]],
    }[scene.manner]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_requests_inside_the_call_pass_a_proxy_and_the_far_end(scene: Scene, algorithm: str) -> None:
    requests = frozenset({"INVITE", "re-INVITE", "INFO", "BYE"})
    offers = (Offer(algorithm),)
    near = Challenge(offers=offers, requests=requests)
    trunk = scene.trunk(Script(challenge=near, behind=Challenge(401, offers=offers, requests=requests)))
    call = scene.call(trunk)
    call.expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    trunk.carrier.expect_acks()
    for method in ("INFO", "BYE"):
        call.inside(method).expect(200)
    numbers = [each.cseq[0] for method in ("INVITE", "INFO", "BYE") for each in trunk.carrier.received(method)]
    assert numbers == list(range(1, 4 * (1 + 2 * scene.asked) + 1))
