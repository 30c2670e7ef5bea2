"""What takes Kamailio most of a minute, waited for at once: calls whose PBX has gone are noticed, and a registrar that
was away is registered with again, one that refuses is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.harness.agent import Agent, Exchange, Served
from tests.harness.carrier import Carrier, Script
from tests.harness.node import Installation, Kamailio, Native, Options
from tests.harness.scene import Scene, Trunk
from tests.live.test_inbound import contact, open_to, pbx, up
from tests.live.test_registrars import AWAY, FAILED_WITHIN, OPTIONS, REFUSING, failing, is_registered

pytestmark = pytest.mark.long

ASKED_EVERY = 30  # seconds, the least that the dialog module takes
GONE_WITHIN = ASKED_EVERY + 15.0  # it lets a dialog go 10 s after the answer
AGAIN_WITHIN = 60.0 + FAILED_WITHIN  # the longest first wait
Judge = Callable[[], None]


@pytest.fixture(scope="module")
def calls(installations: list[Installation]) -> Iterator[list[Judge]]:
    """Calls whose PBX has gone, on every Kamailio."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(without_its_pbx(each)) for each in installations]


@pytest.fixture(scope="module")
def registrars(native: Native) -> Iterator[Judge]:
    """Registrars that were away, and others that refuse."""
    with native.running(OPTIONS) as node, Scene(node) as scene:
        away = [failing(scene, registrar) for registrar in AWAY.values()]
        refusing = [failing(scene, registrar) for registrar in REFUSING.values()]
        for trunk in away:
            trunk.carrier.come_back()

        def are_registered_with_again() -> None:
            for trunk in away:
                node.wait_for_log(f"trunk={trunk.uuid} outcome=registered", AGAIN_WITHIN)
                assert is_registered(node, trunk)
            for trunk in (*away, *refusing):
                # one more than at first, or the one that was challenged and its answer
                assert len(transactions(trunk)) == 2
                assert node.log().count(f"trunk={trunk.uuid} outcome=unregistered") == 1

        yield are_registered_with_again


@pytest.mark.usefixtures("registrars")
def test_a_call_whose_pbx_has_gone_is_noticed(calls: list[Judge]) -> None:
    """The PBX is asked, whoever has called, behind a NAT too, and not the carrier; nobody's next CSeq is used up."""
    for are_noticed in calls:
        are_noticed()


def test_a_registrar_that_was_away_is_registered_with_again_and_one_that_refuses_is_not_asked(
    registrars: Judge,
) -> None:
    registrars()


def is_gone(node: Kamailio, call: Exchange) -> bool:
    return call.request.call_id not in node.rpc("dlg.list")


def by_name(end: Agent) -> str:
    """A Contact that leads there by a name, which the file of hosts has."""
    return f"sip:pbx@localhost:{end.address[1]}"


class Restarted(Carrier):
    """A PBX that was called, and knows no call any more."""

    def answer(self, served: Served) -> None:
        if served.kind == "OPTIONS":
            self.respond(served, 481)
        else:
            super().answer(served)


@contextlib.contextmanager
def without_its_pbx(installation: Installation) -> Iterator[Judge]:
    """Calls whose PBX has gone, and calls whose PBX has not, on a Kamailio; what is yielded waits until it has seen it,
    and judges.
    """
    modparams = (("dialog", "ka_interval", ASKED_EVERY), ("dialog", "ka_failed_limit", 1))
    with (
        installation.running(Options(modparams=modparams)) as node,
        Scene(node) as scene,
        Restarted(Script(), {}) as called,
        Restarted(Script(), {}) as called_by_name,
    ):
        there = pbx(scene)
        inbound = [(place, open_to(scene, Script(), place)) for place in (there, called, called_by_name)]
        scene.pbx.named = ("192.168.7.2", 5060)  # in a network of its own, behind a NAT
        called_by_name.contact = by_name(called_by_name)
        in_stays, *in_gone = (up(scene, one.carrier, place, contact(scene, one)) for place, one in inbound)
        trunk, restarted, named = scene.trunk(), scene.caller(), scene.caller()
        named.contact = by_name(named)
        stays = scene.call(trunk)
        gone = [one.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]) for one in (restarted, named)]
        for call in (stays, *gone):
            call.expect(200)
        trunk.carrier.expect_acks()
        for one in (restarted, named):
            one.forget_calls()

        def are_noticed() -> None:
            for ended in (*gone, *in_gone):
                node.wait_for(f"its end on Kamailio {node.version}", partial(is_gone, node, ended), GONE_WITHIN)
            there.expect("OPTIONS")
            asked = [seen.message.uri for seen in scene.pbx.trace if seen.message.method == "OPTIONS" and not seen.sent]
            assert asked[:1] == [scene.pbx.uri]
            assert not any(is_gone(node, call) for call in (stays, in_stays))
            assert not [seen for _, one in inbound for seen in one.carrier.trace if seen.message.method == "OPTIONS"]
            in_stays.inside("BYE").expect(200)
            assert "OPTIONS" not in {seen.message.method for seen in trunk.carrier.trace}
            for call in gone:
                trunk.carrier.in_call(call.request.call_id, "BYE").expect(481)
            trunk.carrier.in_call(stays.request.call_id, "BYE").expect(200)  # with the first CSeq of its own

        yield are_noticed


def transactions(trunk: Trunk) -> set[str]:
    """The REGISTERs that came, without retransmissions."""
    return {request.branch for request in trunk.carrier.received("REGISTER")}
