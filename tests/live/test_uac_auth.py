"""uac_auth()'s C code beside plain.py: a short run of `make fuzz-uac`."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.harness.machine import native_is_missing
from tests.live.uac_auth.fuzz import fuzz

FIELDS = 10_000


def test_what_is_plain_neither_ends_kamailio_nor_is_answered_wrongly(tmp_path: Path) -> None:
    if missing := native_is_missing():
        pytest.skip(missing)
    result = fuzz(FIELDS, None, seed=secrets.randbelow(1_000_000), workspace=tmp_path)
    assert not result.faults, result
    assert result.counts["answered"] >= FIELDS, result
    assert result.counts["left"], result
