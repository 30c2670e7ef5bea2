"""Answers from the start while calls of one trunk are set up at the same time: no call may be lost, and no two requests
may carry the same nonce with the same count.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.agent import Exchange
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.nonces import WHILE_COUNTED_UP, Nonces
from tests.harness.scene import MOST_TURNED_DOWN, Scene, Trunk
from tests.harness.steps import asking, talk_and_hang_up, verdicts
from tests.harness.verifier import ACCEPTED, MISSING, USED_UP

SAYS_STALE = pytest.mark.parametrize("says_stale", [False, True], ids=["not stale", "stale"])


@pytest.fixture(scope="module")
def four_workers(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio whose workers have calls of one trunk on their hands at the same time."""
    with installation.running(Options(udp_workers=4)) as running:
        yield running


@pytest.fixture
def scene(four_workers: Kamailio) -> Iterator[Scene]:
    with Scene(four_workers) as stage:
        yield stage


def at_once(scene: Scene, trunk: Trunk, calls: int) -> list[Exchange]:
    """So many calls that are set up at the same time, and hung up at the same time."""
    invites = [scene.call(trunk) for _ in range(calls)]
    for call in invites:
        call.expect(200)
    for bye in [call.inside("BYE") for call in invites]:
        bye.expect(200)
    return invites


def never_the_same(trunk: Trunk) -> None:
    """No nonce was seen twice with the same count."""
    for seen in trunk.carrier.nonce_counts():
        assert sorted(seen) == sorted(set(seen)), sorted(seen)


@SAYS_STALE
def test_a_carrier_that_wants_every_count_to_be_higher(scene: Scene, says_stale: bool) -> None:
    """Requests that are on their way at once overtake each other: some are turned down, and none is lost."""
    trunk = asking(scene, Nonces(WHILE_COUNTED_UP, says_stale, in_order=False))
    for _ in range(4):
        at_once(scene, trunk, 16)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert verdicts(trunk).count(ACCEPTED) == verdicts(trunk, "BYE").count(ACCEPTED) == 65
    never_the_same(trunk)


@SAYS_STALE
def test_a_carrier_that_restarts_in_mid_traffic(scene: Scene, says_stale: bool) -> None:
    trunk = asking(scene, Nonces(says_stale=says_stale, in_order=False))
    talk_and_hang_up(trunk, scene.call(trunk))
    at_once(scene, trunk, 8)
    trunk.carrier.hold()
    calls = [scene.call(trunk) for _ in range(8)]
    trunk.carrier.expect("INVITE", count=2 + 8 + 8)
    trunk.carrier.forget_nonces()
    trunk.carrier.release()
    for call in calls:
        talk_and_hang_up(trunk, call)
    assert verdicts(trunk) == [MISSING, *[ACCEPTED] * 9, *[USED_UP] * 8, *[ACCEPTED] * 8]
    at_once(scene, trunk, 8)
    assert verdicts(trunk)[-8:] == [ACCEPTED] * 8
    never_the_same(trunk)


@pytest.mark.parametrize("named", [False, True], ids=["", "and names the next"])
@pytest.mark.parametrize("status", [401, 407])
def test_a_carrier_that_gives_calls_the_same_nonce(scene: Scene, status: int, named: bool) -> None:
    """Its nonces are made of the time: all calls of the same moment are challenged with one."""
    trunk = asking(scene, Nonces(shared=True, named=named, in_order=False), status=status)
    trunk.carrier.hold()
    calls = [scene.call(trunk) for _ in range(16)]
    trunk.carrier.expect("INVITE", count=16)
    trunk.carrier.release()
    for call in calls:
        talk_and_hang_up(trunk, call)
    at_once(scene, trunk, 16)
    assert verdicts(trunk) == [*[MISSING] * 16, *[ACCEPTED] * 32]
    (seen,) = trunk.carrier.nonce_counts()
    assert sorted(seen) == list(range(1, 64 + 1))  # 32 INVITEs and their BYEs


def test_new_nonces_named_to_many_calls_at_once(scene: Scene) -> None:
    trunk = asking(scene, Nonces(named=True, in_order=False))
    for _ in range(3):
        at_once(scene, trunk, 16)
    assert verdicts(trunk).count(ACCEPTED) == 48
    never_the_same(trunk)


def test_a_carrier_that_was_left_alone_gives_calls_the_same_nonce(scene: Scene) -> None:
    """It counts what it is asked for as well."""
    trunk = asking(scene, Nonces(shared=True, in_order=False))
    for _ in range(MOST_TURNED_DOWN + 1):
        trunk.carrier.forget_nonces()
        scene.call(trunk).expect(200)
    scene.kamailio.wait_for_log(f"trunk={trunk.uuid} outcome=backed-off")
    at_once(scene, trunk, 16)
    never_the_same(trunk)
