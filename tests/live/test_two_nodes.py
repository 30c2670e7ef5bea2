"""Two nodes on one PostgreSQL behind one address: one is killed under load, and calls go on through the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.db.servers import Server
from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.database import ServerDatabase
from tests.harness.network import is_missing
from tests.harness.node import READY_WITHIN, Native
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.pair import Pair, Segment, segment
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge, Offer
from tests.live.test_inbound import open_to
from tests.live.test_inbound import pbx as a_pbx
from tests.live.test_inbound import up as bring

pytestmark = [
    pytest.mark.long,
    pytest.mark.once,
    pytest.mark.skipif(bool(is_missing()), reason=is_missing()),
]

EVERY_REQUEST = frozenset({"REGISTER", "INVITE", "re-INVITE", "INFO", "BYE"})
MD5 = Challenge(requests=EVERY_REQUEST, nonces=Nonces(ONE_REQUEST))
SHA256 = Challenge(401, requests=EVERY_REQUEST, offers=(Offer("SHA-256"),), nonces=Nonces(ONE_REQUEST))
RINGING = Script(Challenge(), final=None)
UP = 8  # calls over each trunk
SETUP = 5  # calls that ring
LOAD_EVERY = 0.02  # seconds


@pytest.fixture
def net() -> Iterator[Segment]:
    with segment() as made:
        yield made


@pytest.fixture
def pair(native: Native, postgresql_server: Server, net: Segment, tmp_path: Path) -> Iterator[Pair]:
    """The first node is active, the second one is its standby."""
    database = ServerDatabase(postgresql_server.new_database(), gives_notice=True)
    with Pair(native, database, net, tmp_path) as made:
        net.give(net.first)
        made.start(net.first)
        made.start(net.second).wait_for_log("outcome=standby", READY_WITHIN)
        yield made


class Load:
    """New calls, one after the other, until the block is left."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self._scene, self._trunk = scene, trunk
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._place)
        self.calls: list[Exchange] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _place(self) -> None:
        pbx = self._scene.caller(host=self._trunk.carrier.address[0])
        while not self._is_over.wait(LOAD_EVERY):
            call = pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", self._trunk.uuid)])
            self.calls.append(call)


def test_one_node_is_killed_under_load_and_its_calls_go_on_through_the_other(pair: Pair, net: Segment) -> None:
    first, second = pair.nodes[net.first], pair.nodes[net.second]
    with Scene(first, in_order=False) as scene:
        pbx = scene.caller(host=net.outside)
        trunks = [scene.trunk(Script(challenge), host=net.outside) for challenge in (MD5, SHA256)]
        ringing, busy = (scene.trunk(script, host=net.outside) for script in (RINGING, Script(MD5)))
        called = a_pbx(scene, host=net.outside)
        inbound = open_to(scene, Script(MD5), called, host=net.outside)
        pair.wait_until_copied(*(each.uuid for each in (*trunks, ringing, busy, inbound)))
        up = [(trunk, pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])) for trunk in trunks * UP]
        for _, call in up:
            call.expect(200)
            call.inside("INFO").expect(200)
        brought = bring(scene, inbound.carrier, called, f"sip:{inbound.uuid}@{net.shared}")
        called.in_call(brought.request.call_id, "INFO").expect(200)
        in_setup = [pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", ringing.uuid)]) for _ in range(SETUP)]
        for call in in_setup:
            call.expect(180)
        with Load(scene, busy) as load:
            first.wait_for("load", lambda: len(load.calls) > 20, within=15)
            first.program.kill()
            net.take(net.first)
            count = len(load.calls)
            pair.fail_over(net.second)
            scene.kamailio = second
            second.wait_for("calls over the other node", lambda: any(c.final for c in load.calls[count:]), within=15)
        assert busy.carrier.faults == []
        scene.agents.remove(busy.carrier)  # what it has said to the first node in the end has nobody's ACK
        for trunk, call in up:
            call_id = call.request.call_id
            call.inside("INVITE", body=SDP).expect(200)
            trunk.carrier.in_call(call_id, "INVITE", SDP).expect(200)
            trunk.carrier.in_call(call_id, "INFO").expect(200)
            call.inside("INFO").expect(200)
        for number, (trunk, call) in enumerate(up):
            if number % 4 < 2:
                call.inside("BYE").expect(200)
            else:
                trunk.carrier.in_call(call.request.call_id, "BYE").expect(200)
        called.in_call(brought.request.call_id, "INVITE", SDP).expect(200)
        inbound.carrier.expect_acks()
        called.in_call(brought.request.call_id, "BYE").expect(200)
        ringing.carrier.pick_up()
        for call in in_setup:
            call.expect(200)
            call.inside("BYE").expect(200)


def test_a_call_goes_to_the_other_node_and_back_while_both_live(pair: Pair, net: Segment) -> None:
    first, second = net.first, net.second
    with Scene(pair.nodes[first]) as scene:
        pbx = scene.caller(host=net.outside)
        trunk = scene.trunk(Script(MD5), host=net.outside)
        pair.wait_until_copied(trunk.uuid)
        call = pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        call.expect(200)
        call.inside("INFO").expect(200)
        for away, here in ((first, second), (second, first), (first, second)):
            scene.kamailio = pair.switch(away, here)
            for _ in range(3):
                call.inside("INFO").expect(200)
            call.inside("INVITE", body=SDP).expect(200)
            trunk.carrier.expect_acks()
        call.inside("BYE").expect(200)


def registrars(trunk: Trunk) -> int:
    """How many nodes have registered: each has a Call-ID of its own for a trunk."""
    return len({each.call_id for each in trunk.carrier.received("REGISTER")})


def test_the_standby_is_ready_and_registers_once_it_has_the_address(pair: Pair, net: Segment) -> None:
    first, second = pair.nodes[net.first], pair.nodes[net.second]
    with Scene(first) as scene:
        trunk = scene.trunk(
            Script(Challenge(401, requests=EVERY_REQUEST)), host=net.outside,
            l_username="a", l_domain="b", r_username="c", expires=60,
        )  # fmt: skip
        second.wait_for("the row in its uac module", lambda: trunk.uuid in second.rpc("uac.reg_dump"), within=10)
        known = time.monotonic()
        trunk.carrier.wait("a REGISTER", lambda: 200 in trunk.carrier.answers("REGISTER"))
        second.wait_for("its uac module's next tick", lambda: time.monotonic() > known + 2.5, within=15)
        assert registrars(trunk) == 1
        assert (pair.page(net.first), pair.page(net.second)) == ("ready\n", "ready: standby\n")
        told = [
            f'registered{{trunk="{trunk.uuid}"}}' in pair.page(node, "/metrics") for node in (net.first, net.second)
        ]
        assert told == [True, False]
        first.program.kill()
        net.take(net.first)
        assert (pair.page(net.second), registrars(trunk)) == ("ready: standby\n", 1)
        scene.kamailio = pair.fail_over(net.second)
        trunk.carrier.wait("a REGISTER of the other node", lambda: registrars(trunk) == 2)
        assert pair.page(net.second) == "ready\n"
