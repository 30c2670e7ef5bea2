"""Trunks: the R-URI that a trunk makes of what was dialled, and what keeps a password out of sight."""

import pytest

from kemi.trunks.trunk import Trunk

TRUNK = Trunk(uuid="t", domain="carrier.example", auth_password="secret")

DIALLED = {
    "sip:4930123@proxy.example": "sip:4930123@carrier.example",
    "sip:4930123@192.0.2.1:5060;transport=tcp": "sip:4930123@carrier.example",
    "sip:+4930;ext=1@proxy.example;user=phone;Transport=udp": "sip:+4930;ext=1@carrier.example;user=phone",
    "sips:4930123@[2001:db8::1]:5061;lr?Subject=x": "sips:4930123@carrier.example",
    "sip:us%40er:pw@proxy.example": "sip:us%40er:pw@carrier.example",
    "sip:proxy.example": "sip:carrier.example",
    "tel:+4930123": "sip:+4930123@carrier.example;user=phone",
    "tel:123;phone-context=+49": "sip:123;phone-context=+49@carrier.example;user=phone",
    "TEL:112": "sip:112@carrier.example;user=phone",
    "SIP:112@proxy.example": "SIP:112@carrier.example",
    "urn:service:sos": "urn:service:sos",
    "URN:service:sos.police": "URN:service:sos.police",
    "im:alice@proxy.example": "im:alice@proxy.example",
}


@pytest.mark.parametrize(("dialled", "request_uri"), DIALLED.items())
def test_the_dialled_user_is_kept_at_the_trunks_domain(dialled: str, request_uri: str) -> None:
    assert TRUNK.request_uri(dialled) == request_uri


@pytest.mark.parametrize("dialled", ["urn:service:sos", "sips:112@carrier.example", "SIPS:112@192.0.2.1"])
def test_an_r_uri_that_does_not_lead_to_the_trunks_domain_goes_there(dialled: str) -> None:
    """Nor does one of TLS, which is another port and transport than the row's, and judged by nobody."""
    assert TRUNK.hop_of(dialled) == "sip:carrier.example"
    assert not TRUNK.hop_of("sip:112@carrier.example")


def test_a_password_is_in_no_repr() -> None:
    assert "secret" not in repr(TRUNK)
