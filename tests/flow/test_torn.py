"""A text in shared memory that is read while it is written may be no UTF-8: it counts as none, and costs no call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kemi.auth.nonces import UNKNOWN
from kemi.dialog.cseq import Sequence
from kemi.sip import own, ring, shared, standings
from kemi.trunks.standing import UP
from tests.flow.scene import raising
from tests.ksr.mock import MockKSR

TORN = raising(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "torn"))


@pytest.mark.parametrize(("read", "none"), [
    (lambda: shared.record("t", "d"), UNKNOWN), (lambda: shared.asked("t", "d"), frozenset()),
    (lambda: shared.sequence("k"), Sequence()), (lambda: shared.credentials("k", 1), b""),
    (lambda: standings.standing("t"), UP), (lambda: own.take_reply("c"), None),
    (lambda: ring.between("noted_calls", 1024, 0, 1), []),
])  # fmt: skip
def test_what_is_torn_is_none(ksr: MockKSR, read: Callable[[], object], none: object) -> None:
    ksr.answer("htable.sht_get", TORN)
    assert read() == none
