"""Shared memory is not run out of: new calls are refused before, and calls whose caller has gone give theirs back."""

from __future__ import annotations

import re
from itertools import count

import pytest

from kemi.health.memory import RESERVE
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.steps import place, status, talk_and_hang_up, wait_until

pytestmark = pytest.mark.long

SMALL = 32  # MiB, the least that there may be
VALUE = "x" * 60_000  # what a table's entry holds
TOLD_WITHIN = 3.0  # seconds; memory is looked at twice a second
FULL = "outcome=memory-full"


def fill(node: Kamailio) -> None:
    """Take memory away until Kamailio finds it full, and no more than that."""
    number = count()
    kamailio_takes = SMALL * 1024 * (1 - RESERVE)  # KiB
    while (left := kamailio_takes - used(node)) > 0:
        for _ in range(1 + int(left * 1024 / 2 / len(VALUE))):  # half of what is left, without asking
            node.rpc("htable.sets", "nonces", f"filled-{next(number)}", VALUE)
    node.wait_for_log(FULL)


def used(node: Kamailio) -> int:
    """The KiB of shared memory that are taken."""
    found = re.search(r"real_used: (\d+)", node.rpc("core.shmmem", "k"))
    assert found
    return int(found[1])


def test_new_calls_are_refused_while_memory_is_full_and_calls_that_are_up_go_on(installation: Installation) -> None:
    with installation.running(Options(memory=SMALL)) as node, Scene(node, in_order=False) as scene:
        trunk = scene.trunk()
        call = scene.call(trunk)
        call.expect(200)
        fill(node)
        refused = place(scene, trunk.uuid).final
        assert refused
        assert (refused.status, refused.first("Retry-After")) == (503, "10")
        assert status(scene, "unheard-of") == 503  # a trunk is not even looked for
        call.inside("INFO").expect(200)
        talk_and_hang_up(trunk, call)
        node.rpc("htable.flush", "nonces")
        wait_until(scene, trunk.uuid, 200, TOLD_WITHIN, before=(503,))
        assert node.log().count(FULL) == 1
        assert "no more shared memory" not in node.log()
