"""Connections to carriers: kept open through a NAT, found again, back after a carrier's restart; one that hangs costs
nobody else anything.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up
from tests.harness.verifier import Challenge

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

TRY_SECONDS = 2
PASSWORD = "the registrar's"


@pytest.fixture(scope="module")
def registrars() -> Iterator[dict[str, Carrier]]:
    challenge = Challenge(401, requests=frozenset({"REGISTER"}))
    with contextlib.ExitStack() as stack:
        yield {
            transport: stack.enter_context(Carrier(Script(challenge), {"user": PASSWORD}, transport=transport))
            for transport in ("udp", "tcp")
        }


@pytest.fixture(scope="module")
def node(installation: Installation, registrars: dict[str, Carrier]) -> Iterator[Kamailio]:
    """A Kamailio that registers with both."""
    rows: tuple[dict[str, str | int], ...] = tuple(
        {
            "l_uuid": transport, "l_username": "reg", "l_domain": "pbx.test", "r_username": "account",
            "r_domain": "carrier.test", "realm": "carrier.test", "auth_username": "user", "auth_password": PASSWORD,
            "auth_proxy": carrier.proxy_uri, "expires": 60,
        }
        for transport, carrier in registrars.items()
    )  # fmt: skip
    also = {"TRUNKAUTH_TRY_SECONDS": str(TRY_SECONDS)}
    with installation.running(Options(trunks=rows, modparams=REGISTERS_EVERY_SECOND, also=also)) as running:
        yield running


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_way_of_a_registration_is_kept_open(node: Kamailio, registrars: dict[str, Carrier], transport: str) -> None:
    registrar = registrars[transport]
    registrar.expect("REGISTER", count=2)
    registrar.wait("a ping from where the REGISTER came", lambda: registrar.pings, within=10)
    assert {seen.peer for seen in registrar.trace if not seen.sent} == set(registrar.pings)
    node.wait_until_ready()


def test_a_tcp_connection_serves_call_after_call_and_comes_back_after_a_restart_of_the_carrier(node: Kamailio) -> None:
    with Scene(node) as scene:
        trunk = scene.trunk(transport="tcp")
        for _ in range(2):
            talk_and_hang_up(trunk, scene.call(trunk))
        assert len({seen.peer for seen in trunk.carrier.trace}) == 1
        trunk.carrier.go_away()
        port = str(trunk.carrier.address[1])
        node.wait_for("its end is seen", lambda: port not in node.rpc("core.tcp_list"), within=5)
        trunk.carrier.be_back()
        talk_and_hang_up(trunk, scene.call(trunk))
        assert len({seen.peer for seen in trunk.carrier.trace}) == 2


@contextlib.contextmanager
def nobody_accepts() -> Iterator[str]:
    """A place whose TCP neither accepts nor refuses a connection: its queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            filling = stack.enter_context(socket.socket())
            filling.settimeout(0.2)
            try:
                filling.connect(listening.getsockname())
            except TimeoutError:
                break
        yield f"sip:127.0.0.1:{listening.getsockname()[1]};transport=tcp"


def test_a_connect_that_hangs_costs_no_other_call_anything(node: Kamailio) -> None:
    with nobody_accepts() as hanging, Scene(node) as scene:
        trunk = scene.trunk(Script())
        stuck = scene.another_row(trunk, auth_proxy=hanging)
        order = [("X-Trunk", f"{stuck.uuid}, {trunk.uuid}")]
        waiting = [scene.pbx.invite("sip:5551234@pbx.test", headers=order) for _ in range(8)]  # more than workers
        began = time.monotonic()
        talk_and_hang_up(trunk, scene.call(trunk))
        assert time.monotonic() - began < TRY_SECONDS / 2
        assert not any(call.final for call in waiting)
        for call in waiting:
            talk_and_hang_up(trunk, call)
        assert time.monotonic() - began > TRY_SECONDS - 0.1
