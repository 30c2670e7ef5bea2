"""URIs as routing splits them, and addresses in one form."""

from __future__ import annotations

import pytest

from kemi.address import normalised
from kemi.uri import Uri, split

URIS = {
    "sip:alice@pbx.test": Uri("sip", "alice", "pbx.test", ""),
    "sips:alice:pw@pbx.test:5061;transport=tcp": Uri("sips", "alice:pw", "pbx.test", ";transport=tcp"),
    "sip:[2001:db8::1]:5060;lr": Uri("sip", "", "[2001:db8::1]", ";lr"),
    "sip:+4930;npdi@pbx.test?To=a%40b": Uri("sip", "+4930;npdi", "pbx.test", ""),
    "sip:pbx.test;x=1?subject=y": Uri("sip", "", "pbx.test", ";x=1"),
    "tel:+49-30;phone-context=x": Uri("tel", "+49-30", "", ";phone-context=x"),
    "TEL:112": Uri("TEL", "112", "", ""),
    "urn:service:sos": Uri("urn", "", "", ""),
    "sip:": Uri("sip", "", "", ""),
    "": Uri("", "", "", ""),
    "sip:a@[": Uri("sip", "a", "[", ""),
}


@pytest.mark.parametrize(("text", "uri"), URIS.items())
def test_a_uri_is_split(text: str, uri: Uri) -> None:
    assert split(text) == uri


def test_the_user_has_no_password() -> None:
    assert split("sip:alice:pw@pbx.test").user == "alice"


@pytest.mark.parametrize(("text", "line"), [
    ("sip:alice@pbx.test;transport=tcp;LINE=t1;lr", "t1"), ("sip:alice;line=t1@pbx.test", ""), ("sip:pbx.test", ""),
])  # fmt: skip
def test_a_registration_stands_in_a_parameter_of_the_uri(text: str, line: str) -> None:
    assert split(text).line == line


ADDRESSES = {  # as a pseudo-variable has it -> normalised
    "[::1]": "::1", "::1": "::1",
    "[2001:DB8:0::1]": "2001:db8::1", "192.0.2.1": "192.0.2.1", "SBC.Example": "sbc.example",
    "": "", "[": "[",
}  # fmt: skip


@pytest.mark.parametrize(("host", "same"), ADDRESSES.items())
def test_an_address_has_one_form(host: str, same: str) -> None:
    """`$si` has `::1`, `$rd` and `$dd` have `[::1]`: they are one address."""
    assert normalised(host) == same
