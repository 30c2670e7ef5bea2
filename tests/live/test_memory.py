"""Shared memory is not run out of: new calls are refused before, and calls whose caller has gone give theirs back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import pytest

from kemi.health.memory import RESERVE
from tests.harness.agent import Exchange, Served
from tests.harness.carrier import Carrier, Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.steps import place, status, talk_and_hang_up, wait_until
from tests.live.test_inbound import contact, open_to, pbx, up

pytestmark = pytest.mark.long

SMALL = 32  # MiB, the least that there may be
VALUE = "x" * 60_000  # what a table's entry holds
TOLD_WITHIN = 3.0  # seconds; memory is looked at twice a second
FULL = "outcome=memory-full"

ASKED_EVERY = 30  # seconds, the least that the dialog module takes
GONE_WITHIN = ASKED_EVERY + 15.0  # it lets a dialog go 10 s after the answer


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


def is_gone(node: Kamailio, call: Exchange) -> bool:
    return call.request.call_id not in node.rpc("dlg.list")


class Restarted(Carrier):
    """A PBX that was called, and knows no call any more."""

    def answer(self, served: Served) -> None:
        if served.kind == "OPTIONS":
            self.respond(served, 481)
        else:
            super().answer(served)


@contextlib.contextmanager
def without_its_pbx(installation: Installation) -> Iterator[Callable[[], None]]:
    """Calls whose PBX has gone, and calls whose PBX has not, on a Kamailio; what is yielded waits until it has seen it,
    and judges.
    """
    modparams = (("dialog", "ka_interval", ASKED_EVERY), ("dialog", "ka_failed_limit", 1))
    with (
        installation.running(Options(modparams=modparams)) as node,
        Scene(node) as scene,
        Restarted(Script(), {}) as called,
    ):
        there = pbx(scene)
        inbound = [(place, open_to(scene, Script(), place)) for place in (there, called)]
        scene.pbx.named = ("192.168.7.2", 5060)  # in a network of its own, behind a NAT
        in_stays, in_gone = (up(scene, one.carrier, place, contact(scene, one)) for place, one in inbound)
        trunk, restarted = scene.trunk(), scene.caller()
        stays = scene.call(trunk)
        gone = restarted.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        for call in (stays, gone):
            call.expect(200)
        trunk.carrier.expect_acks()
        restarted.forget_calls()

        def is_noticed() -> None:
            for ended in (gone, in_gone):
                node.wait_for(f"its end on Kamailio {node.version}", partial(is_gone, node, ended), GONE_WITHIN)
            there.expect("OPTIONS")
            asked = [seen.message.uri for seen in scene.pbx.trace if seen.message.method == "OPTIONS" and not seen.sent]
            assert asked[:1] == [scene.pbx.uri]
            assert not any(is_gone(node, call) for call in (stays, in_stays))
            assert not [seen for _, one in inbound for seen in one.carrier.trace if seen.message.method == "OPTIONS"]
            in_stays.inside("BYE").expect(200)
            assert "OPTIONS" not in {seen.message.method for seen in trunk.carrier.trace}
            trunk.carrier.in_call(gone.request.call_id, "BYE").expect(481)
            trunk.carrier.in_call(stays.request.call_id, "BYE").expect(200)  # with the first CSeq of its own

        yield is_noticed


def test_a_call_whose_pbx_has_gone_is_noticed(installations: list[Installation]) -> None:
    """The PBX is asked, whoever has called, behind a NAT too, and not the carrier; nobody's next CSeq is used up. Every
    Kamailio takes its half a minute for it at the same time.
    """
    with contextlib.ExitStack() as stack:
        for is_noticed in [stack.enter_context(without_its_pbx(each)) for each in installations]:
            is_noticed()
