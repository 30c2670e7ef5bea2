"""Calls go on when a carrier does not: which failures move one on, and that the second carrier sees a call as if
there had been no first.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kemi.trunks.standing import MOST_FAILURES
from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import CHALLENGING, Scene, Trunk
from tests.harness.steps import policy
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

TRY_SECONDS = 1
MD5 = Challenge(realm="first")
SHA256 = Challenge(status=401, realm="second", offers=(Offer("SHA-256"),))


@pytest.fixture(scope="module")
def quick(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio that waits a second for a silent trunk."""
    with installation.running(Options(also={"TRUNKAUTH_TRY_SECONDS": str(TRY_SECONDS)})) as running:
        yield running


@pytest.fixture
def scene(quick: Kamailio) -> Iterator[Scene]:
    with Scene(quick) as stage:
        yield stage


def call(scene: Scene, *trunks: Trunk) -> Exchange:
    return scene.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", ", ".join(trunk.uuid for trunk in trunks))])


def cseqs(trunk: Trunk, method: str) -> list[int]:
    return [message.cseq[0] for message in trunk.carrier.received(method)]


def test_a_503_before_the_challenge_and_the_second_carrier_challenges(scene: Scene) -> None:
    first, second = scene.trunk(Script(ring=False, final=503)), scene.trunk(Script(SHA256))
    made = call(scene, first, second)
    made.expect(200)
    assert second.carrier.verdicts == [("INVITE", 2, MISSING), ("INVITE", 3, ACCEPTED)]
    made.inside("INVITE").expect(200)
    made.inside("BYE").expect(200)
    assert cseqs(second, "ACK") == [2, 3, 4]
    assert cseqs(second, "BYE") == [5]
    assert len(first.carrier.received("INVITE")) == 1
    assert [m.uri for m in second.carrier.received("INVITE")][:2] == [f"sip:5551234@{second.domain}"] * 2


def test_the_second_carrier_wants_the_body_covered(scene: Scene) -> None:
    covered = Challenge(realm="second", offers=(Offer("SHA-256", qop="auth-int"),))
    first, second = scene.trunk(Script(MD5, ring=False, final=503)), scene.trunk(Script(covered))
    made = call(scene, first, second)
    made.expect(200)
    assert second.carrier.verdicts[-1][2] == ACCEPTED
    made.inside("BYE").expect(200)


def test_what_the_second_carrier_has_accepted_goes_to_it_at_once(scene: Scene) -> None:
    first, second = scene.trunk(Script(MD5, ring=False, final=503)), scene.trunk(Script(SHA256))
    for _ in range(2):
        made = call(scene, first, second)
        made.expect(200)
        made.inside("BYE").expect(200)
    assert [verdict for method, _, verdict in second.carrier.verdicts if method == "INVITE"] == [
        MISSING, ACCEPTED, ACCEPTED
    ]  # fmt: skip


def test_prack_names_the_invite_as_the_second_carrier_knows_it(scene: Scene) -> None:
    first, second = (
        scene.trunk(Script(MD5, ring=False, final=503)),
        scene.trunk(Script(SHA256, final=None, reliable=True)),
    )
    trunks = ("X-Trunk", f"{first.uuid}, {second.uuid}")
    made = scene.pbx.invite("sip:5551234@pbx.test", headers=[trunks, ("Supported", "100rel")])
    made.expect(180)
    made.inside("PRACK", headers=[("RAck", "1 1 INVITE")]).expect(200)
    assert cseqs(second, "INVITE") == [3, 4]
    assert second.carrier.expect("PRACK").first("RAck") == "1 4 INVITE"
    second.carrier.pick_up()
    made.expect(200)
    made.inside("BYE").expect(200)
    assert not first.carrier.received("PRACK")


def test_a_503_after_the_challenge(scene: Scene) -> None:
    first, second = scene.trunk(Script(MD5, ring=False, final=503)), scene.trunk(Script(SHA256))
    made = call(scene, first, second)
    made.expect(200)
    assert [kind for *kind, verdict in second.carrier.verdicts if verdict == ACCEPTED]
    assert not any(m.has("Proxy-Authorization") for m in second.carrier.received("INVITE"))
    first.carrier.expect_acks()
    assert cseqs(first, "INVITE") == cseqs(first, "ACK") == [1, 2]
    made.inside("BYE").expect(200)


def test_a_silent_carrier_is_left_in_time(scene: Scene) -> None:
    first, second = scene.trunk(Script(silent=True)), scene.trunk(CHALLENGING)
    made = call(scene, first, second)
    first.carrier.expect("INVITE")
    made.expect(200)
    made.inside("BYE").expect(200)


@pytest.mark.parametrize("status", [486, 600, 603, 404])
def test_the_callees_own_word_is_passed_on(scene: Scene, status: int) -> None:
    first, second = scene.trunk(Script(ring=False, final=status)), scene.trunk(CHALLENGING)
    call(scene, first, second).expect(status)
    assert not second.carrier.received("INVITE")


@pytest.mark.parametrize("status", [404, 486, 603])
def test_the_second_carriers_word_is_the_last_one(scene: Scene, status: int) -> None:
    first, second = scene.trunk(Script(ring=False, final=503)), scene.trunk(Script(MD5, ring=False, final=status))
    call(scene, first, second).expect(status)
    silent, third = scene.trunk(Script(silent=True)), scene.trunk(Script(MD5, ring=False, final=status))
    call(scene, silent, third).expect(status)


@pytest.mark.parametrize(("words", "last"), [
    ((503, 503), 503), ((500, 503), 500), ((503, 500), 500), ((None, 503), 408), ((503, None), 408), ((500, None), 500),
])  # fmt: skip
def test_the_best_last_word(scene: Scene, words: tuple[int | None, int | None], last: int) -> None:
    trunks = [scene.trunk(Script(ring=False, final=word, silent=word is None)) for word in words]
    call(scene, *trunks).expect(last)
    assert [len(trunk.carrier.received("INVITE")) for trunk in trunks] == [1, 1]


@pytest.mark.parametrize(("refusing", "attempts", "reason"), [
    (Script(ring=False, final=503), 11, "the 12 attempts of this request are made"),
    (Script(MD5, ring=False, final=503), 4, "the 4 answers of this request are spent"),
])  # fmt: skip
def test_a_trunk_that_asks_when_a_call_has_used_up_all_is_not_to_blame(
    scene: Scene, refusing: Script, attempts: int, reason: str
) -> None:
    trunks = [*[scene.trunk(refusing) for _ in range(attempts)], scene.trunk(CHALLENGING)]
    for _ in range(MOST_FAILURES):
        assert call(scene, *trunks).expect(503).reason == "Service Unavailable"
    log = scene.kamailio.log()
    assert f'trunk={trunks[-1].uuid} outcome=refused realm=carrier.test algorithm=MD5 reason="{reason}"' in log
    assert "maximum number of branches" not in log
    call(scene, *trunks).expect(200)  # all others are down by now


def test_once_it_rings_nothing_else_is_tried(scene: Scene) -> None:
    first, second = scene.trunk(Script(MD5, final=503)), scene.trunk(CHALLENGING)
    call(scene, first, second).expect(503)
    assert not second.carrier.received("INVITE")


def test_credentials_that_are_refused_move_a_call_on(scene: Scene) -> None:
    first, second = scene.trunk(CHALLENGING, auth_password="wrong"), scene.trunk(Script(SHA256))
    call(scene, first, second).expect(200)
    third = scene.trunk(CHALLENGING, auth_password="wrong")
    assert call(scene, third, first).expect(503).reason == "Trunk Authentication Failed"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_trunk_whose_port_is_closed(scene: Scene, transport: str) -> None:
    first = scene.trunk(auth_proxy=f"sip:127.0.0.1:9;transport={transport}")
    second = scene.trunk(CHALLENGING)
    made = call(scene, first, second)
    made.expect(200)
    made.inside("BYE").expect(200)


def test_a_cancel_while_the_second_rings(scene: Scene) -> None:
    first, second = scene.trunk(Script(ring=False, final=503)), scene.trunk(Script(MD5, final=None))
    made = call(scene, first, second)
    made.expect(180)
    made.cancel().expect(200)
    made.expect(487)
    cancel = second.carrier.expect("CANCEL")
    assert cancel.cseq[0] == cseqs(second, "INVITE")[-1]
    assert not first.carrier.received("CANCEL")


def test_a_cancel_while_the_first_is_silent(scene: Scene) -> None:
    first, second = scene.trunk(Script(silent=True)), scene.trunk(CHALLENGING)
    made = call(scene, first, second)
    first.carrier.expect("INVITE")
    made.cancel().expect(200)
    made.expect(487)
    assert not second.carrier.received("INVITE")


@pytest.mark.parametrize("name", ["", "M\udcfcller"], ids=["", "not UTF-8"])
def test_a_place_that_answers_late_is_left_without_a_call(scene: Scene, name: str) -> None:
    first, second = scene.trunk(Script(silent=True)), scene.trunk(Script(MD5, final=None))
    made = call(scene, first, second)
    made.expect(180)
    (served,) = first.carrier.served.values()
    scene.agents.remove(first.carrier)  # its rules are for what a PBX sends
    first.carrier.contact = f'{first.carrier.uri}>;name="{name}"' * bool(name)
    first.carrier.respond(served, 200, body=SDP)
    bye = first.carrier.expect("BYE")
    assert (bye.cseq[0], cseqs(first, "ACK")) == (2, [1])
    assert {m.first("From") for m in first.carrier.received("ACK")} == {bye.first("From"), made.request.first("From")}
    second.carrier.pick_up()
    made.expect(200)
    made.inside("BYE").expect(200)
    assert cseqs(second, "BYE") == [4]


def test_a_place_that_answers_late_may_ask_who_ends_its_call(scene: Scene) -> None:
    asking = Challenge(realm="first", requests=frozenset({"INVITE", "BYE"}))
    first, second = scene.trunk(Script(asking, ring=False, final=None)), scene.trunk(Script(final=None))
    made = call(scene, first, second)
    made.expect(180)
    served = list(first.carrier.served.values())[-1]
    scene.agents.remove(first.carrier)
    first.carrier.respond(served, 200, body=SDP)
    first.carrier.expect("BYE", count=2)
    assert first.carrier.verdicts[-2:] == [("BYE", 3, MISSING), ("BYE", 4, ACCEPTED)]
    second.carrier.pick_up()
    made.expect(200)
    made.inside("BYE").expect(200)


def test_a_place_that_answers_after_the_caller_gave_up_is_left_without_a_call(scene: Scene) -> None:
    first, second = scene.trunk(Script(silent=True)), scene.trunk(Script(ring=False, final=503))
    call(scene, first, second).expect(408)
    (served,) = first.carrier.served.values()
    scene.agents.remove(first.carrier)
    scene.agents.remove(scene.pbx)  # Kamailio gives him the 200 too, and he waits for none any more
    first.carrier.respond(served, 200, body=SDP)
    first.carrier.expect("BYE")


def test_a_full_trunk_is_passed_over_and_a_call_that_ends_gives_its_place_back(scene: Scene) -> None:
    first, second = scene.trunk(Script(MD5)), scene.trunk(Script(SHA256))
    policy(scene, first, max_calls=2)
    calls = [call(scene, first, second) for _ in range(3)]
    for made in calls:
        made.expect(200)
    assert len({m.call_id for m in first.carrier.received("INVITE")}) == 2
    call(scene, first).expect(503)
    for made in calls:
        made.inside("BYE").expect(200)
    made = call(scene, first)
    made.expect(200)
    made.inside("BYE").expect(200)


def test_of_many_calls_at_once_no_more_than_the_limit_go_over_a_trunk(installation: Installation) -> None:
    with installation.running(Options()) as kamailio, Scene(kamailio) as scene:  # so many take carriers more than 1 s
        first, second = scene.trunk(Script()), scene.trunk(Script())
        policy(scene, first, max_calls=60)
        calls = [call(scene, first, second) for _ in range(200)]
        for made in calls:
            made.expect(200)
        assert [len(trunk.carrier.received("INVITE")) for trunk in (first, second)] == [60, 140]
        for made in calls:
            made.inside("BYE").expect(200)


def test_a_call_that_moves_on_gives_its_place_back(scene: Scene) -> None:
    first, second = scene.trunk(Script(MD5, ring=False, final=503)), scene.trunk(Script(SHA256))
    silent = scene.trunk(Script(silent=True))
    for trunk in (first, silent, second):
        policy(scene, trunk, max_calls=1)
    for before in (first, silent, first, silent):
        made = call(scene, before, second)
        made.expect(200)
        made.inside("BYE").expect(200)
    assert len({m.call_id for m in silent.carrier.received("INVITE")}) == 2


def test_no_more_new_calls_a_second_than_the_row_says(scene: Scene) -> None:
    first, second = scene.trunk(Script()), scene.trunk(Script())
    policy(scene, first, max_cps=1)
    for made in [call(scene, first, second) for _ in range(8)]:
        made.expect(200)
    assert 1 <= len(first.carrier.received("INVITE")) <= 3 < len(second.carrier.received("INVITE"))


def test_a_trunk_that_is_disabled_takes_no_new_calls_and_those_that_are_up_go_on(scene: Scene) -> None:
    first, second = scene.trunk(Script(MD5)), scene.trunk(Script(SHA256))
    up = call(scene, first, second)
    up.expect(200)
    policy(scene, first, enabled=0)
    made = call(scene, first, second)
    made.expect(200)
    assert len({m.call_id for m in first.carrier.received("INVITE")}) == 1
    call(scene, first).expect(404)
    for one in (up, made):
        one.inside("INVITE").expect(200)
        one.inside("BYE").expect(200)


def test_a_trunk_is_for_sources_with_its_tag(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    policy(scene, trunk, source_tag="pbx-a")
    call(scene, trunk).expect(403)
    assert not trunk.carrier.received("INVITE")


def test_a_trunk_that_fails_three_times_is_left_out(scene: Scene) -> None:
    first, second = scene.trunk(Script(ring=False, final=500)), scene.trunk(Script())
    for _ in range(5):
        call(scene, first, second).expect(200)
    assert len(first.carrier.received("INVITE")) == 3
    assert f'trunk={first.uuid} outcome=down reason="500 Server Internal Error"' in scene.kamailio.log()
    call(scene, first).expect(500)  # all are down: tried all the same
    assert len(first.carrier.received("INVITE")) == 4


def test_what_serves_again_is_up(scene: Scene) -> None:
    first, second = scene.trunk(Script(ring=False, final=500)), scene.trunk(Script())
    for _ in range(3):
        call(scene, first, second).expect(200)
    first.carrier.turn_down(486)
    call(scene, first).expect(486)
    scene.kamailio.wait_for_log(f"trunk={first.uuid} outcome=up-again seconds=")
    call(scene, first, second).expect(486)


def test_a_carriers_retry_after_keeps_its_trunk_aside(scene: Scene) -> None:
    first, second = scene.trunk(Script(ring=False, final=503, retry_after=60)), scene.trunk(Script())
    for _ in range(2):
        call(scene, first, second).expect(200)
    assert len(first.carrier.received("INVITE")) == 1
    assert call(scene, first).expect(503).first("Retry-After") == "60"


def test_a_call_that_could_not_be_sent_over_a_trunk_holds_no_place_of_it(scene: Scene) -> None:
    refused, second = scene.trunk(auth_proxy="sip:127.0.0.1:9;transport=tcp"), scene.trunk(Script(MD5))
    policy(scene, refused, max_calls=1)
    policy(scene, second, max_calls=1)
    made = call(scene, refused, second)
    made.expect(200)
    assert [up(scene, trunk) for trunk in (refused, second)] == [0, 1]
    made.inside("BYE").expect(200)
    assert "ERROR: dialog" not in scene.kamailio.log()


def up(scene: Scene, trunk: Trunk) -> int:
    """Calls that hold a place of the trunk."""
    return int(scene.kamailio.rpc("dlg.profile_get_size", "trunk", trunk.uuid))
