"""Who calls, as a carrier has it asserted, as tables."""

from __future__ import annotations

import pytest

from kemi.dialog.identity import KINDS, NOBODY, NONE, PAI, PPI, RPID, Claims, fields, told
from kemi.dialog.sender import hidden
from kemi.trunks.trunk import Policy, Trunk

CALLER = "sip:100@pbx.test"
ANONYMOUS = "sip:anonymous@anonymous.invalid"
NOTHING = ("", "", "")
ASSERTED = "sip:+4930@c.test"

SAID = {  # the three fields, From -> the URI by which the caller is known
    "From": (NOTHING, CALLER, CALLER),
    "the first that is there": (('"A, <b>" <sip:+4930@pbx.test>', "<sip:x@y>", ""), CALLER, "sip:+4930@pbx.test"),
    "P-Preferred-Identity": (("", "<sip:+4931@pbx.test>;x=y", ""), CALLER, "sip:+4931@pbx.test"),
    "Remote-Party-ID": (("", "", '"A" <sip:+4932@pbx.test>;party=calling'), CALLER, "sip:+4932@pbx.test"),
    "of two the first": (("<sip:+4930@pbx.test>, <tel:+4930>", "", ""), CALLER, "sip:+4930@pbx.test"),
    "without brackets": (("tel:+4930;x=y", "", ""), CALLER, "tel:+4930"),
    "one that is none": (("<mailto:a@b>", "x", ""), CALLER, CALLER),
    "an anonymous From says nothing": (NOTHING, ANONYMOUS, ""),
    "an anonymous From, and who it is": (("<sip:+4930@pbx.test>", "", ""), ANONYMOUS, "sip:+4930@pbx.test"),
    "white space in it": (("<sip:a\r\n b@pbx.test>", "", ""), CALLER, CALLER),
}


@pytest.mark.parametrize(("said", "caller", "expected"), SAID.values(), ids=SAID)
def test_by_what_a_caller_is_known(said: tuple[str, ...], caller: str, expected: str) -> None:
    assert Claims(said, "", caller).known == expected


@pytest.mark.parametrize(("privacy", "caller", "expected"), [
    ("", CALLER, False), ("none", CALLER, False), ("header;session", CALLER, False), ("id", CALLER, True),
    ("header; ID ;critical", CALLER, True), ("user", CALLER, True), ("", ANONYMOUS, True),
])  # fmt: skip
def test_who_wants_privacy(privacy: str, caller: str, expected: bool) -> None:
    assert Claims(NOTHING, privacy, caller).is_private is expected
    assert Claims(NOTHING, privacy, caller, was_private=True).is_private


GIVEN = {  # kind, Privacy, From -> the fields
    "none": (NONE, "", CALLER, ()),
    "pai": (PAI, "", CALLER, (f"P-Asserted-Identity: <{ASSERTED}>",)),
    "ppi": (PPI, "", CALLER, (f"P-Preferred-Identity: <{ASSERTED}>",)),
    "rpid": (RPID, "", CALLER, (f"Remote-Party-ID: <{ASSERTED}>;party=calling;screen=yes;privacy=off",)),
    "private: in pai, with the Privacy that is there": (PAI, "id", CALLER, (f"P-Asserted-Identity: <{ASSERTED}>",)),
    "anonymous: in pai": (PAI, "", ANONYMOUS, (f"P-Asserted-Identity: <{ASSERTED}>", "Privacy: id")),
    "private by user: with id": (
        PAI,
        "header;User",
        CALLER,
        (f"P-Asserted-Identity: <{ASSERTED}>", "Privacy: header;user;id"),
    ),
    "anonymous, and Privacy says nothing of it": (
        PAI,
        "session",
        ANONYMOUS,
        (f"P-Asserted-Identity: <{ASSERTED}>", "Privacy: session;id"),
    ),
    "anonymous, and Privacy says none": (PAI, "none", ANONYMOUS, (f"P-Asserted-Identity: <{ASSERTED}>", "Privacy: id")),
    "private: not in ppi": (PPI, "id", CALLER, ()),
    "private: not in rpid": (RPID, "id", CALLER, ()),
}


@pytest.mark.parametrize(("kind", "privacy", "caller", "expected"), GIVEN.values(), ids=GIVEN)
def test_what_a_carrier_is_given(kind: str, privacy: str, caller: str, expected: tuple[str, ...]) -> None:
    assert fields(kind, Claims(NOTHING, privacy, caller), ASSERTED) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_asserted_who_is_not_known(kind: str) -> None:
    assert fields(kind, Claims(NOTHING, "", CALLER), "") == ()


@pytest.mark.parametrize(("domain", "known", "expected"), [
    ("", CALLER, CALLER), ("c.test", CALLER, "sip:100@c.test"), ("c.test", "tel:+4930", "sip:+4930@c.test"),
    ("", "tel:+4930", "tel:+4930"), ("", "tel:123;phone-context=+49", "tel:123;phone-context=+49"),
    ("c.test", "tel:123;phone-context=+49", "sip:123;phone-context=+49@c.test"),
    ("c.test", "sip:pbx.test", ""), ("c.test", "", ""),
])  # fmt: skip
def test_the_uri_that_is_asserted(domain: str, known: str, expected: str) -> None:
    assert Trunk("t", policy=Policy(from_user="account", from_domain=domain)).asserted(known) == expected


TOLD = {
    "what the row says": ('"Alice" <sip:alice@pbx.test>', "sip:u4711@one.test", '"Alice" <sip:u4711@one.test>'),
    "a row that says nothing any more": ('"Alice" <sip:alice@pbx.test>', "", NOBODY),
    "a caller who was hidden": (hidden('"Alice" <sip:alice@pbx.test>'), "sip:u4711@one.test", NOBODY),
}


@pytest.mark.parametrize(("kept", "uri", "expected"), TOLD.values(), ids=TOLD)
def test_what_a_carrier_was_told(kept: str, uri: str, expected: str) -> None:
    assert told(kept, uri) == expected
