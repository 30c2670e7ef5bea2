"""A flood from a source that nobody has listed is dropped before a route in Python sees it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.harness import raw
from tests.harness.node import Installation, Kamailio, Native, Options
from tests.harness.scene import Scene
from tests.harness.steps import wait_until

MANY = 100
ANSWERED = 20  # of the requests of one source in ten seconds
MARKED = "Route: <sip:{0}:{1};lr;ta=forged>\r\n"


@pytest.fixture(scope="module")
def node(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio of its own: what a source sends is counted for ten seconds."""
    with installation.running(Options()) as running:
        yield running


def answers(node: Kamailio, source: str, method: str, headers: str = "", to_tag: str = "") -> list[int]:
    """Send MANY requests at once. Return the statuses that had come back by the time that a later request of a listed
    source had its answer: one worker reads all of them, in order.
    """
    found = []
    with raw.udp(node.sip, source) as sock, raw.udp(node.sip) as listed:
        for _ in range(MANY):
            sock.send(raw.request(sock, method, headers=headers, to_tag=to_tag))
        listed.send(raw.request(listed))
        assert raw.status(listed.recv(65535)) == 404
        sock.setblocking(False)
        while True:
            try:
                found.append(raw.status(sock.recv(65535)))
            except BlockingIOError:
                return found


FLOODS = {
    "INVITE": ("127.0.0.3", "", ""),
    "REGISTER": ("127.0.0.4", "", ""),
    "MESSAGE": ("127.0.0.5", "", ""),
    "OPTIONS": ("127.0.0.6", "", ""),
    "BYE": ("127.0.0.7", "", "tag"),  # inside a dialog that is not known
    "NOTIFY": ("127.0.0.8", "Route: <sip:elsewhere.test;lr>\r\n", "tag"),
    "REGISTER inside a dialog": ("127.0.0.10", MARKED, "tag"),  # which has none, whoever sends it
}


@pytest.mark.every_kamailio
@pytest.mark.parametrize(("method", "how"), FLOODS.items(), ids=FLOODS)
def test_a_flood_of_a_source_that_is_not_listed_gets_silence(
    node: Kamailio, method: str, how: tuple[str, str, str]
) -> None:
    source, headers, to_tag = how
    found = answers(node, source, method.partition(" ")[0], headers.format(*node.sip), to_tag)
    assert set(found) <= {403, 481}
    assert 1 <= len(found) <= 2 * ANSWERED  # a new ten seconds may begin meanwhile
    assert node.wait_for_log(' outcome=dropped reason="not listed, ').count("outcome=dropped") <= 2


def test_a_listed_source_is_answered_however_much_it_sends(node: Kamailio) -> None:
    assert answers(node, "127.0.0.1", "INVITE") == [404] * MANY


def test_a_carrier_is_answered_inside_its_dialogs_however_much_it_sends(node: Kamailio) -> None:
    """Carriers are not listed. The mark is a wrong one, so each request is refused; but it was looked at."""
    assert answers(node, "127.0.0.9", "INFO", MARKED.format(*node.sip), "tag") == [481] * MANY


def test_the_proxy_is_not_silent_to_the_machine_that_it_runs_on(native: Native) -> None:
    """The container's health check comes from an address of its own, which need not be listed."""
    with native.running(Options(callers=("192.0.2.1",))) as unlisted, raw.udp(unlisted.sip) as sock:
        for _ in range(3 * ANSWERED):
            sock.send(raw.request(sock))
            assert raw.status(sock.recv(65535)) == 403


MOST = 3  # new calls a second


def test_a_listed_source_places_so_many_new_calls_a_second_and_goes_on(installation: Installation) -> None:
    with installation.running(Options(max_cps=MOST)) as limited, Scene(limited, in_order=False) as scene:
        trunk = scene.trunk()
        calls = [scene.call(trunk) for _ in range(6 * MOST)]
        found = [scene.pbx.wait("a final response", partial(getattr, call, "final")) for call in calls]
        refused = [each for each in found if each.status == 503]
        assert {each.status for each in found} == {200, 503}
        assert {each.first("Retry-After") for each in refused} == {"1"}
        assert len(refused) >= 4 * MOST  # two seconds, at most, have seen them
        for call in calls:
            if call.final and call.final.status == 200:
                call.inside("INFO").expect(200)  # what is up goes on
                call.inside("BYE").expect(200)
        wait_until(scene, trunk.uuid, 200, within=2, before=(503,))
        line = f"source=127.0.0.1 outcome=limited most={MOST} call-id="
        assert 1 <= limited.wait_for_log(line).count(line) <= 2  # a new minute may begin
