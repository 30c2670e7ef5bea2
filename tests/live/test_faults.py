"""A handler that raises: 500 at once, and the one worker there is goes on.

What makes it raise is the copy's table uacreg, taken away under the running Kamailio and put back.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.database import Database
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene

GONE = "ALTER TABLE uacreg RENAME TO uacreg_elsewhere"
BACK = "ALTER TABLE uacreg_elsewhere RENAME TO uacreg"


@pytest.fixture(scope="module")
def lone(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio with one worker for each socket: were it lost, nobody would answer."""
    with installation.running(Options(workers=1)) as running:
        yield running


def copy_of(node: Kamailio) -> Database:
    return Database(node.state / "replica.sqlite")


def test_a_fault_before_relaying_is_500_at_once(lone: Kamailio) -> None:
    with Scene(lone) as scene:
        trunk = scene.trunk()
        copy_of(lone).execute(GONE)
        call = scene.call(trunk)
        call.expect(500, within=2)
        copy_of(lone).execute(BACK)
        assert not trunk.carrier.trace
        lone.wait_for_log(call.request.call_id)
        scene.call(trunk).expect(200)


def test_a_fault_in_the_failure_route_is_500_at_once(lone: Kamailio) -> None:
    with Scene(lone) as scene:
        trunk = scene.trunk()
        trunk.carrier.hold()
        call = scene.call(trunk)
        trunk.carrier.expect("INVITE")
        copy_of(lone).execute(GONE)
        lone.wait_for_workers()
        trunk.carrier.release()
        call.expect(500, within=2)
        copy_of(lone).execute(BACK)
        trunk.carrier.expect_acks()
        assert len(trunk.carrier.received("INVITE")) == 1
        lone.wait_for_log(call.request.call_id)
        scene.call(trunk).expect(200)
