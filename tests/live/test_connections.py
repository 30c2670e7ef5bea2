"""TCP connections that the other end closes, and those of strangers, which take nobody's room."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from kemi.health.connections import LIFE, most, most_of_a_source
from tests.harness import raw
from tests.harness.carrier import AT_ONCE, FROM_AFAR, Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up, wait_until
from tests.harness.verifier import Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]


@pytest.mark.parametrize("way", [AT_ONCE, FROM_AFAR])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_carrier_that_closes_the_connection_behind_its_challenge(scene: Scene, algorithm: str, way: str) -> None:
    requests = frozenset({"INVITE", "MESSAGE"})
    challenge = Challenge(offers=(Offer(algorithm),), nonces=Nonces(ONE_REQUEST), requests=requests)
    trunk = scene.trunk(Script(challenge, ring=False, hangs_up=way), transport="tcp")
    for _ in range(5):
        talk_and_hang_up(trunk, scene.call(trunk))
        scene.pbx.request("MESSAGE", "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(200)
    assert trunk.carrier.answers("INVITE") == trunk.carrier.answers("MESSAGE") == [407, 200] * 5


SMALL = 32  # MiB, the least that there may be
CLOSED_WITHIN = LIFE + 8.0  # connections are looked at every 5 s, or twice a second if there are many
PER_SOURCE = most_of_a_source(SMALL)


@pytest.fixture(scope="module")
def small(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio with room for few connections."""
    with installation.running(Options(memory=SMALL)) as running:
        yield running


@contextlib.contextmanager
def connected(node: Kamailio, source: str, count: int) -> Iterator[list[socket.socket]]:
    """So many connections from a source, for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(raw.tcp(node.sip, source)) for _ in range(count)]


def still_open(sockets: list[socket.socket]) -> int:
    """How many of them the other end has not closed."""
    return len([sock for sock in sockets if not raw.is_closed(sock)])


WAYS = {"silent": b"", "half a request": b"INVITE sip:1@x SIP/2.0\r\nVia: SIP/2.0/TCP x", "pings": b"\r\n\r\n"}


def test_the_connections_of_strangers_are_closed_and_a_listed_peers_stay(small: Kamailio) -> None:
    """Whatever is sent over them; a byte now and then keeps none."""
    with contextlib.ExitStack() as stack:
        sources = [f"127.0.0.{number}" for number in range(2, 3 + len(WAYS))]
        *strangers, slow = [stack.enter_context(connected(small, source, 3)) for source in sources]
        peers = stack.enter_context(connected(small, "127.0.0.1", 3))
        for group, sent in zip(strangers, WAYS.values(), strict=True):
            for sock in (*group, *(() if b"SIP" in sent else peers)):
                sock.send(sent)

        def all_closed() -> bool:
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.send(b"x")
            return not still_open([sock for group in (*strangers, slow) for sock in group])

        small.wait_for("the end of the strangers'", all_closed, CLOSED_WITHIN)
        assert still_open(peers) == 3
        small.wait_for_log("outcome=connections-closed")


def test_one_source_does_not_take_the_connections_of_all(small: Kamailio) -> None:
    small.wait_until_disconnected()
    with connected(small, "127.0.0.1", PER_SOURCE + 9) as peers:
        small.wait_for("the end of the surplus", lambda: still_open(peers) <= PER_SOURCE, within=10)
        assert still_open(peers) >= PER_SOURCE - 1
        with Scene(small) as scene:
            trunk = scene.trunk(transport="tcp")
            talk_and_hang_up(trunk, scene.call(trunk))


def test_strangers_who_have_taken_all_connections_hold_calls_up_for_moments(small: Kamailio) -> None:
    """A PBX connects, and so do we to a carrier, while half a request waits in more connections than there may be."""
    with contextlib.ExitStack() as stack, Scene(small) as scene:
        trunk = scene.trunk(transport="tcp")
        for host in range(2, 12):
            for sock in stack.enter_context(connected(small, f"127.0.2.{host}", PER_SOURCE)):
                with contextlib.suppress(OSError):
                    sock.send(WAYS["half a request"])
        wait_until(scene, trunk.uuid, 200, within=LIFE / 2, before=(503,))
        talk_and_hang_up(
            trunk, scene.caller(transport="tcp").invite("sip:1@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        )


def test_no_number_of_connections_takes_the_memory_of_calls(small: Kamailio) -> None:
    with contextlib.ExitStack() as stack:
        for host in range(2, 12):
            stack.enter_context(connected(small, f"127.0.1.{host}", most(SMALL) // 4))
        with Scene(small) as scene:
            trunk = scene.trunk()
            talk_and_hang_up(trunk, scene.call(trunk))
        assert "outcome=memory-full" not in small.log()
