"""What From says to a carrier, and the caller's own that comes back: whole, for its dialog, unreadable on the way."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.dialog.mark import KEY_BYTES, dialog_id
from kemi.dialog.sender import LONGEST, conceal, is_anonymous, own, reveal, shown
from kemi.trunks.trunk import Policy, Trunk

KEY = bytes(range(KEY_BYTES))
DIALOG = dialog_id("call-1", "a")
ALICE = "sip:alice@pbx.test"

OWN = {
    f"<{ALICE}>;tag=a": f"<{ALICE}>",
    f'"Alice ""B" <{ALICE}>;tag=a': f"<{ALICE}>",
    f'"Alice \\"B\\" <x>" <{ALICE}>;tag=a': f'"Alice \\"B\\" <x>" <{ALICE}>',
    f"Alice <{ALICE}>;tag=a": f"Alice <{ALICE}>",
    f'"Älice"\r\n <{ALICE}>;tag=a': f'"Älice" <{ALICE}>',
    f'"A\tb" <{ALICE}>': f"<{ALICE}>",
    f'"{"x" * LONGEST}" <{ALICE}>': f"<{ALICE}>",
    f"{ALICE};tag=a": f"<{ALICE}>",
    "<sip:other@pbx.test>": f"<{ALICE}>",
    "": f"<{ALICE}>",
}


@pytest.mark.parametrize(("field", "expected"), OWN.items())
def test_the_callers_own_is_kept_in_one_line(field: str, expected: str) -> None:
    assert own(field, ALICE) == expected


@pytest.mark.parametrize("caller", [f"sip:{'x' * LONGEST}@pbx.test", "sip:a\r\nX: b@pbx.test"])
def test_what_cannot_be_kept_is_not_changed_either(caller: str) -> None:
    assert own("", caller) == ""


def test_the_name_stays() -> None:
    assert shown(f'"A <b>" <{ALICE}>', "sip:1@c.test") == '"A <b>" <sip:1@c.test>'


@given(st.text(min_size=1, max_size=LONGEST // 4), st.text(max_size=30))
def test_it_comes_back(kept: str, call_id: str) -> None:
    dialog = dialog_id(call_id, "a")
    value = conceal(KEY, kept, dialog)
    assert reveal(KEY, value, dialog) == kept
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,300}", value)  # as request.py reads it


def test_the_longest_fits_the_parameter() -> None:
    assert len(conceal(KEY, "x" * LONGEST, DIALOG)) <= 300


def test_it_serves_its_own_dialog_and_deployment_alone_and_cannot_be_changed() -> None:
    value = conceal(KEY, ALICE, DIALOG)
    assert b"alice" not in urlsafe_b64decode(f"{value}==")
    assert reveal(KEY, value, dialog_id("call-2", "a")) == reveal(KEY[::-1], value, DIALOG) == ""
    for place, one in enumerate(value):
        assert reveal(KEY, f"{value[:place]}{'A' if one != 'A' else 'B'}{value[place + 1 :]}", DIALOG) == ""


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_=-]{0,80}", fullmatch=True))
def test_no_text_of_a_stranger_is_one(value: str) -> None:
    assert reveal(KEY, value, DIALOG) == ""


@pytest.mark.parametrize(("caller", "expected"), [
    ("sip:anonymous@anonymous.invalid", True), ("sip:x@Anonymous.Invalid", True), ("sip:Anonymous@pbx.test", True),
    (ALICE, False), ("tel:+4930", False),
])  # fmt: skip
def test_who_does_not_want_to_be_known(caller: str, expected: bool) -> None:
    assert is_anonymous(caller) is expected


@pytest.mark.parametrize(("user", "domain", "caller", "expected"), [
    ("u4711", "carrier.test", ALICE, "sip:u4711@carrier.test"),
    ("$", "carrier.test", ALICE, "sip:alice@carrier.test"),
    ("", "carrier.test:5070", "sip:100:secret@pbx.test:5062;user=phone", "sip:100@carrier.test:5070"),
    ("u4711", "", ALICE, "sip:u4711@pbx.test"),
    ("$", "carrier.test", "tel:+4930123", "sip:+4930123@carrier.test"),
    ("$", "carrier.test", "tel:123;phone-context=+49", "sip:123;phone-context=+49@carrier.test"),
    ("u4711", "", "tel:+4930123", ""),
    ("$", "carrier.test", "sip:pbx.test", "sip:carrier.test"),
])  # fmt: skip
def test_the_uri_that_a_carrier_sees(user: str, domain: str, caller: str, expected: str) -> None:
    assert Trunk("t", policy=Policy(from_user=user, from_domain=domain)).sender(caller) == expected
