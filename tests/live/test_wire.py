"""Made messages, from a caller, a carrier and strangers: a short run of `make fuzz-wire`."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.harness.node import Installation
from tests.live.wire.fuzz import fuzz

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

MESSAGES = 5_000


def test_nothing_from_the_wire_ends_kamailio_or_raises_in_python(installation: Installation, tmp_path: Path) -> None:
    result = fuzz(installation, MESSAGES, seed=secrets.randbelow(1_000_000), workspace=tmp_path)
    assert not result.faults, result
    assert result.counts.total() >= MESSAGES, result
    assert result.statuses[200] > MESSAGES / 100, result  # so many of them were understood
