"""A call that rings and is never answered: how long it may, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene

pytestmark = pytest.mark.every_kamailio

RING, SETUP = 2, 5  # seconds
SOONER = 0.5  # tm's timers are no finer


@pytest.fixture(scope="module")
def impatient(installation: Installation) -> Iterator[Kamailio]:
    with installation.running(Options(ring_seconds=RING, setup_seconds=SETUP)) as running:
        yield running


def seconds_until_cancel(carrier: Carrier) -> float:
    """From the INVITE to the CANCEL."""
    carrier.expect("CANCEL")
    at = {seen.message.method: seen.at for seen in reversed(carrier.trace) if not seen.sent}
    return at["CANCEL"] - at["INVITE"]


def test_a_call_that_only_rings_is_cancelled(impatient: Kamailio) -> None:
    with Scene(impatient) as scene:
        trunk = scene.trunk(Script(final=None))
        call = scene.call(trunk)
        call.expect(180)
        call.expect(408)
        assert RING - SOONER < seconds_until_cancel(trunk.carrier) < SETUP - SOONER


def test_a_call_that_rings_again_and_again_is_cancelled_later(impatient: Kamailio) -> None:
    with Scene(impatient) as scene:
        trunk = scene.trunk(Script(final=None))
        carrier = trunk.carrier

        def ring_on() -> None:
            carrier.ring_again()
            carrier.after(RING / 4, ring_on)

        call = scene.call(trunk)
        call.expect(180)
        ring_on()
        call.expect(408)
        assert seconds_until_cancel(carrier) > SETUP - SOONER
