"""Answers from the start: a request carries the nonce that the carrier accepted before, and is not challenged.

What the carriers do with their nonces is said in nonces.py. Whatever it is, no call may be lost, and no two requests
may carry the same nonce with the same count.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.agent import SDP
from tests.harness.carrier import Script
from tests.harness.message import Message
from tests.harness.node import Installation, Kamailio
from tests.harness.nonces import A_WHILE, LIFE, ONCE, Nonces
from tests.harness.scene import MOST_TURNED_DOWN, Scene
from tests.harness.steps import EVERY_KIND, asking, credentials, talk_and_hang_up, verdicts
from tests.harness.verifier import ACCEPTED, ALGORITHMS, MISSING, STALE, USED_UP, Challenge, Offer, ha1

PROXY, FAR_END = "Proxy-Authorization", "Authorization"
STATUSES = pytest.mark.parametrize("status", [401, 407])
SAYS_STALE = pytest.mark.parametrize("says_stale", [False, True], ids=["not stale", "stale"])


@pytest.fixture(scope="module")
def own(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio for these calls alone: what it has kept of them is little enough to be dumped in one answer."""
    with installation.running() as running:
        yield running


@pytest.fixture
def scene(own: Kamailio) -> Iterator[Scene]:
    """A stage for the calls of trunks of which nothing is known yet."""
    with Scene(own) as stage:
        yield stage


def counts(*requests: Message) -> list[dict[str, str]]:
    """The nonce count in each header of each request; empty where credentials have none."""
    return [{name: params.get("nc", "") for name, params in credentials(each).items()} for each in requests]


@STATUSES
@pytest.mark.parametrize("qop", ["auth", "auth-int", ""])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_second_call_is_one_invite(scene: Scene, algorithm: str, qop: str, status: int) -> None:
    trunk = asking(scene, status=status, offers=(Offer(algorithm, qop),))
    for _ in range(2):
        talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.verdicts == [
        ("INVITE", 1, MISSING),
        ("INVITE", 2, ACCEPTED),
        ("BYE", 3, ACCEPTED),
        ("INVITE", 1, ACCEPTED),
        ("BYE", 2, ACCEPTED),
    ]
    trunk.carrier.expect_acks()
    assert [each.cseq[0] for each in trunk.carrier.received("ACK")] == [1, 2, 1]
    assert trunk.carrier.nonce_counts() == ([[1, 2, 3, 4]] if qop else [])


def test_two_calls_that_are_up_at_the_same_time_count_on(scene: Scene) -> None:
    trunk = asking(scene)
    calls = []
    for _ in range(3):
        calls.append(scene.call(trunk))
        calls[-1].expect(200)
    for call in reversed(calls):
        call.inside("INVITE", body=SDP).expect(200)
        call.inside("BYE").expect(200)
    raised = [each.cseq[0] for each in trunk.carrier.received("BYE")]
    assert raised == [3, 3, 4]  # the call that was challenged is hung up last
    assert trunk.carrier.nonce_counts() == [[*range(1, 3 * 3 + 1)]]


def test_what_goes_out_is_the_callers_own_request_and_the_credentials(scene: Scene) -> None:
    trunk = asking(scene)
    talk_and_hang_up(trunk, scene.call(trunk))
    call = scene.call(trunk)
    talk_and_hang_up(trunk, call)
    *_, invite = trunk.carrier.received("INVITE")
    assert counts(invite) == [{PROXY: "00000003"}]
    for name in ("From", "To", "Call-ID", "CSeq", "Contact"):
        assert invite.all(name) == call.request.all(name)
    assert invite.body == call.request.body
    assert trunk.carrier.expect("BYE", count=2).cseq == (2, "BYE")


@STATUSES
def test_a_nonce_that_the_carrier_names_is_used_next(scene: Scene, status: int) -> None:
    """RFC 7616 3.5; each serves once, so that nothing else would do."""
    trunk = asking(scene, Nonces(ONCE, named=True), status=status)
    for _ in range(3):
        call = scene.call(trunk)
        call.expect(200)
        call.inside("INFO").expect(200)
        talk_and_hang_up(trunk, call)
    assert verdicts(trunk) == [MISSING, *[ACCEPTED] * 3]
    assert [verdict for *_, verdict in trunk.carrier.verdicts] == [MISSING, *[ACCEPTED] * 9]
    assert trunk.carrier.nonce_counts() == [[1]] * 9


def test_nonces_that_a_proxy_and_the_far_end_name(scene: Scene) -> None:
    near, far = (Challenge(status, requests=EVERY_KIND, nonces=Nonces(named=True)) for status in (407, 401))
    trunk = scene.trunk(Script(near, behind=far, ring=False))
    for _ in range(3):
        talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.answers("INVITE") == [407, 401, *[200] * 3]
    assert counts(*trunk.carrier.received("INVITE")[3:]) == [{PROXY: "00000001", FAR_END: "00000001"}] * 2


@SAYS_STALE
@pytest.mark.parametrize("kinds", [frozenset({"INVITE"}), EVERY_KIND], ids=["INVITE alone", "every request"])
def test_a_carrier_whose_nonces_serve_once_is_left_alone(scene: Scene, kinds: frozenset[str], says_stale: bool) -> None:
    """No call costs more than without; and after three that it turned down in a row, none carries anything unasked."""
    trunk = scene.trunk(Script(Challenge(requests=kinds, nonces=Nonces(ONCE, says_stale))))
    for _ in range(6):
        call = scene.call(trunk)
        talk_and_hang_up(trunk, call)
    assert trunk.carrier.answers("INVITE") == [407, 200] * 6
    unasked = [verdict for _, _, verdict in trunk.carrier.verdicts if verdict != ACCEPTED]
    assert unasked == [MISSING, *[USED_UP] * MOST_TURNED_DOWN, *[MISSING] * (len(unasked) - 1 - MOST_TURNED_DOWN)]
    scene.kamailio.wait_for_log(f"trunk={trunk.uuid} outcome=backed-off")


def test_three_that_are_not_in_a_row_do_not_count(scene: Scene) -> None:
    trunk = asking(scene)
    for _ in range(MOST_TURNED_DOWN + 2):
        trunk.carrier.forget_nonces()
        talk_and_hang_up(trunk, scene.call(trunk))
        talk_and_hang_up(trunk, scene.call(trunk))
    turned_down = [[USED_UP, ACCEPTED, ACCEPTED]] * (MOST_TURNED_DOWN + 1)
    assert verdicts(trunk) == [MISSING, ACCEPTED, ACCEPTED, *(verdict for call in turned_down for verdict in call)]


@SAYS_STALE
def test_nonces_that_live_for_a_while(scene: Scene, says_stale: bool) -> None:
    trunk = asking(scene, Nonces(A_WHILE, says_stale))
    for seconds in (0.0, LIFE - 0.5, 0.5, 1.0, 10 * LIFE):
        trunk.carrier.pass_time(seconds)
        for _ in range(2):
            talk_and_hang_up(trunk, scene.call(trunk))
    assert verdicts(trunk) == [
        *(MISSING, ACCEPTED, ACCEPTED),
        *(ACCEPTED, ACCEPTED),  # just before it ends
        *(USED_UP, ACCEPTED, ACCEPTED),  # just as it ends
        *(ACCEPTED, ACCEPTED),
        *(USED_UP, ACCEPTED, ACCEPTED),  # long after
    ]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_challenge_without_qop_holds_until_it_is_turned_down(scene: Scene, algorithm: str) -> None:
    trunk = asking(scene, offers=(Offer(algorithm, ""),))
    for _ in range(2):
        talk_and_hang_up(trunk, scene.call(trunk))
    trunk.carrier.forget_nonces()
    for _ in range(2):
        talk_and_hang_up(trunk, scene.call(trunk))
    assert verdicts(trunk) == [MISSING, ACCEPTED, ACCEPTED, USED_UP, ACCEPTED, ACCEPTED]
    assert counts(*trunk.carrier.received("INVITE")) == [{}, *[{PROXY: ""}] * 5]


def test_the_strongest_is_kept_of_several_challenges(scene: Scene) -> None:
    trunk = asking(scene, offers=(Offer("MD5"), Offer("SHA-256")))
    for _ in range(2):
        talk_and_hang_up(trunk, scene.call(trunk))
    given = [credentials(each)[PROXY]["algorithm"] for each in trunk.carrier.received("INVITE")[1:]]
    assert given == ["SHA-256", "SHA-256"]


@pytest.mark.parametrize("body", [SDP, b"", bytes(range(256))], ids=["SDP", "no body", "every byte there is"])
def test_another_body_is_hashed_anew(scene: Scene, body: bytes) -> None:
    trunk = asking(scene, offers=(Offer("SHA-256", "auth-int"),))
    talk_and_hang_up(trunk, scene.call(trunk))
    headers = [("Content-Type", "application/octet-stream")] if body else []
    talk_and_hang_up(trunk, scene.call(trunk, headers=headers, body=body))
    assert verdicts(trunk) == [MISSING, ACCEPTED, ACCEPTED]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_proxy_and_the_far_end_from_the_start(scene: Scene, algorithm: str) -> None:
    """And then the far end's nonce has ended: the resend has the proxy's, counted on, and a new one for the far end."""
    offers = (Offer(algorithm),)
    near = Challenge(407, offers=offers, requests=EVERY_KIND)
    far = Challenge(401, offers=offers, requests=EVERY_KIND, nonces=Nonces(A_WHILE))
    trunk = scene.trunk(Script(near, behind=far))
    for seconds in (0.0, 0.0, LIFE, 0.0):
        trunk.carrier.pass_time(seconds)
        scene.call(trunk).expect(200)
    assert trunk.carrier.answers("INVITE") == [407, 401, 200, 200, 401, 200, 200]
    assert counts(*trunk.carrier.received("INVITE")[3:]) == [
        {PROXY: "00000003", FAR_END: "00000002"},
        {PROXY: "00000004", FAR_END: "00000003"},
        {PROXY: "00000005", FAR_END: "00000001"},
        {PROXY: "00000006", FAR_END: "00000002"},
    ]


def test_a_far_end_of_another_realm_has_to_ask(scene: Scene) -> None:
    """The next call may go to another one."""
    near, far = Challenge(407, requests=EVERY_KIND), Challenge(401, realm="far.test", requests=EVERY_KIND)
    trunk = scene.trunk(Script(near, behind=far))
    for _ in range(3):
        scene.call(trunk).expect(200)
    assert trunk.carrier.answers("INVITE") == [407, *[401, 200] * 3]
    first = [set(credentials(each)) for each in trunk.carrier.received("INVITE") if each.cseq[0] == 1]
    assert first == [set(), {PROXY}, {PROXY}]


@pytest.mark.parametrize("kinds", [frozenset({"INVITE"}), EVERY_KIND], ids=["INVITE alone", "every request"])
def test_a_carrier_that_refuses_what_it_did_not_ask_for(scene: Scene, kinds: frozenset[str]) -> None:
    """The request goes once more without credentials, is challenged, and answered; after three it is left alone."""
    trunk = scene.trunk(Script(Challenge(requests=kinds, nonces=Nonces(unasked=403))))
    for _ in range(MOST_TURNED_DOWN + 2):
        call = scene.call(trunk)
        call.expect(200)
        trunk.carrier.expect_acks()
        call.inside("BYE").expect(200)
    refused = trunk.carrier.answers("INVITE").count(403) + trunk.carrier.answers("BYE").count(403)
    assert refused == MOST_TURNED_DOWN
    assert trunk.carrier.answers("INVITE")[:5] == [407, 200, 403, 407, 200]
    assert trunk.carrier.answers("INVITE")[-2:] == [407, 200]
    assert [each.cseq[0] for each in trunk.carrier.received("INVITE")[:5]] == [1, 2, 1, 2, 3]


@pytest.mark.parametrize("known", [False, True])
def test_a_call_that_may_not_be_made_is_403(scene: Scene, known: bool) -> None:
    """Refused for itself, after its challenge was answered: with what it carried unasked, it is asked first."""
    trunk = scene.trunk(Script(Challenge(), ring=False, final=403))
    if known:
        scene.accept_one(trunk)
    call = scene.call(trunk)
    call.expect(403)
    assert trunk.carrier.answers("INVITE") == [*[403] * known, 407, 403]
    assert [each.status for each in call.responses if each.status >= 200] == [403]


def test_a_403_that_comes_after_ringing_is_passed_on(scene: Scene) -> None:
    """What rang had credentials that were good: it is not placed a second time."""
    trunk = scene.trunk(Script(Challenge(), final=None))
    scene.accept_one(trunk)
    call = scene.call(trunk)
    call.expect(180)  # before the 403 is sent: two workers may deal with replies that come together in any order
    trunk.carrier.reject(403)
    call.expect(403)
    assert trunk.carrier.answers("INVITE") == [403]


def test_a_403_to_a_call_without_credentials_is_passed_on(scene: Scene) -> None:
    trunk = scene.trunk(Script(final=403))
    scene.call(trunk).expect(403)
    assert trunk.carrier.answers("INVITE") == [403]


def test_busy_and_cancelled_calls_leave_the_nonce_as_it_is(scene: Scene) -> None:
    trunk = scene.trunk(Script(Challenge(), final=None))
    scene.accept_one(trunk)
    call = scene.call(trunk)
    call.expect(180)
    call.cancel().expect(200)
    call.expect(487)
    assert trunk.carrier.expect("CANCEL").cseq == (1, "CANCEL")
    trunk.carrier.turn_down(486)
    scene.call(trunk).expect(486)
    assert verdicts(trunk) == [ACCEPTED, ACCEPTED]
    assert counts(*trunk.carrier.received("INVITE")) == [{PROXY: "00000002"}, {PROXY: "00000003"}]


def test_a_call_that_is_cancelled_while_it_is_turned_down(scene: Scene) -> None:
    trunk = asking(scene)
    scene.accept_one(trunk)
    trunk.carrier.forget_nonces()
    trunk.carrier.hold()
    call = scene.call(trunk)
    trunk.carrier.expect("INVITE")
    call.cancel().expect(200)
    trunk.carrier.expect("CANCEL")
    trunk.carrier.release()
    call.expect(487)
    trunk.carrier.expect_acks()
    assert trunk.carrier.answers("INVITE") == [407]
    talk_and_hang_up(trunk, scene.call(trunk))


@pytest.mark.parametrize("stale", [1, 3])
def test_what_was_turned_down_may_be_stale_again(scene: Scene, stale: int) -> None:
    """A challenge to unasked credentials is none that was answered: as many may follow it as without."""
    trunk = asking(scene, stale=stale)
    scene.accept_one(trunk)
    trunk.carrier.forget_nonces()
    talk_and_hang_up(trunk, scene.call(trunk))
    assert verdicts(trunk) == [USED_UP, *[STALE] * stale, ACCEPTED]


def test_no_secret_is_kept_with_the_nonces(scene: Scene) -> None:
    trunk = asking(scene)
    hashed = scene.another_row(
        trunk, auth_password="", auth_ha1=ha1("MD5", trunk.user, Challenge.realm, trunk.password)
    )
    for row in (trunk, hashed):
        for _ in range(2):
            talk_and_hang_up(row, scene.call(row))
    answers = [credentials(each)[PROXY] for each in trunk.carrier.received("INVITE") if credentials(each)]
    nonces = scene.kamailio.rpc("htable.dump", "nonces")
    for row in (trunk, hashed):
        assert row.uuid in nonces
    assert answers[-1]["nonce"] in nonces
    secrets = {trunk.password, *(ha1(name, trunk.user, Challenge.realm, trunk.password) for name in ("MD5", "SHA-256"))}
    secrets |= {given[name] for given in answers for name in ("response", "cnonce")}
    for dumped in (nonces, scene.kamailio.rpc("htable.dump", "nonce_counts")):
        assert "value" in dumped
        assert not [secret for secret in secrets if secret in dumped]
