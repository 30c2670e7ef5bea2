"""A dialog's mark: it comes back whole, to the one who sealed it, for the dialog that it was sealed for."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.dialog import mark
from kemi.dialog.mark import KEY_BYTES, PARAMETER, Mark, dialog_id, fingerprint, seal, unseal
from kemi.settings import PROJECT

KEY = bytes(range(KEY_BYTES))
DIALOG = dialog_id("call-1", "a")
NUMBER = st.integers(0, 2**32 - 1)
FINGERPRINT = st.binary(min_size=8, max_size=8)
KIND = st.fixed_dictionaries({"is_inbound": st.booleans(), "is_limited": st.booleans()})
OUTBOUND = st.builds(Mark, NUMBER, FINGERPRINT, FINGERPRINT, *[NUMBER] * 4, *[st.just(False)] * 2)
MARKS = st.builds(lambda mark, kind: mark._replace(**kind), OUTBOUND, KIND)
MARK = Mark(7, b"12345678", b"abcdefgh", 1, 2, 1_800_000_000, 1_799_999_000)
SEALED = seal(KEY, MARK, DIALOG)


def read(key: bytes, value: str, dialog: str) -> Mark | None:
    """As a process reads it that has not sealed it."""
    mark._SEALED.clear()
    return unseal(key, value, dialog)


def text(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


BYTES = urlsafe_b64decode(SEALED + "=" * (-len(SEALED) % 4))


@given(MARKS, st.text(max_size=50), st.text(max_size=50))
def test_a_mark_comes_back(sealed: Mark, call_id: str, tag: str) -> None:
    dialog = dialog_id(call_id, tag)
    value = seal(KEY, sealed, dialog)
    assert read(KEY, value, dialog) == sealed
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", value)  # a token, as request.py reads it


def test_the_process_that_has_sealed_a_mark_knows_it() -> None:
    value = seal(KEY, MARK, DIALOG)
    assert unseal(KEY, value, DIALOG) is MARK
    for number in range(mark._MOST_SEALED):
        seal(KEY, MARK._replace(cseq=number), DIALOG)
    assert unseal(KEY, value, DIALOG) is not MARK


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_=-]{0,80}", fullmatch=True))
def test_no_text_of_a_stranger_is_a_mark(value: str) -> None:
    assert read(KEY, value, DIALOG) is None


@pytest.mark.parametrize("place", range(len(BYTES)))
def test_no_byte_of_a_mark_can_be_changed(place: int) -> None:
    for bit in range(8):
        changed = bytearray(BYTES)
        changed[place] ^= 1 << bit
        assert read(KEY, text(bytes(changed)), DIALOG) is None


def test_a_mark_that_is_cut_or_lengthened_is_none() -> None:
    for length in range(len(BYTES)):
        assert read(KEY, text(BYTES[:length]), DIALOG) is None
    assert read(KEY, text(BYTES + b"\0"), DIALOG) is None
    assert read(KEY, text(b"\0" + BYTES), DIALOG) is None


@pytest.mark.parametrize("dialog", [dialog_id("call-2", "a"), dialog_id("call-1", "b"), ""])
def test_a_mark_serves_its_own_dialog_alone(dialog: str) -> None:
    assert read(KEY, SEALED, dialog) is None


def test_a_mark_serves_its_own_deployment_alone() -> None:
    assert read(KEY[::-1], SEALED, DIALOG) is None


def test_a_mark_of_another_version_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(mark._KINDS, BYTES[0])
    assert read(KEY, seal(KEY, MARK._replace(cseq=99), DIALOG), DIALOG) is None


def test_a_mark_of_an_earlier_release_serves_on() -> None:
    """Calls that are up go on: those were all placed over a trunk."""
    assert BYTES[0] == 2
    assert read(KEY, SEALED, DIALOG) == MARK
    assert not MARK.is_inbound


def test_call_id_and_tag_do_not_run_into_each_other() -> None:
    assert re.fullmatch("[0-9a-f]{32}", DIALOG)
    assert dialog_id("call-1a", "") != DIALOG != dialog_id("call-", "1a")


def test_a_fingerprint_is_of_the_destination_and_the_key() -> None:
    prints = {fingerprint(key, destination) for key in (KEY, KEY[::-1]) for destination in ("sip:a", "sip:b")}
    assert [len(one) for one in prints] == [8, 8, 8, 8]


def test_kamailio_cfg_knows_a_mark_by_the_parameters_name() -> None:
    """Requests with one pass the gate in front of the routes."""
    assert f'$route_uri =~ ";{PARAMETER}="' in (PROJECT / "kamailio/kamailio.cfg").read_text()
