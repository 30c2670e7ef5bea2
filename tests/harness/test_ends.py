"""The two ends of a call with nothing between them, and what their waits say when they fail."""

from __future__ import annotations

import pytest

from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.samples import SENT


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_caller_and_a_carrier_with_no_proxy_between_them(transport: str) -> None:
    """What a proxy would have added is missing, and that alone is held against the caller."""
    with (
        Carrier(Script(), {}, transport=transport) as carrier,
        Caller(carrier.address, transport=transport) as caller,
    ):
        call = caller.invite("sip:1@c.test")
        call.expect(180)
        call.expect(200)
        carrier.expect_acks()
        call.inside("BYE").expect(200)
        assert [each.method for each in (carrier.expect("ACK"), carrier.expect("BYE"))] == ["ACK", "BYE"]
        assert {fault.split(": ", 1)[1] for fault in carrier.faults} == {
            "1 Via", "Max-Forwards 70, 70 was sent", "no Record-Route",
            "made by the proxy, with the branch of no INVITE",
        }  # fmt: skip
        assert {fault.split(": ", 1)[1] for fault in caller.faults} == {"no Record-Route"}


def test_a_wait_that_fails_shows_the_messages() -> None:
    with Carrier(Script(final=486), {}) as carrier, Caller(carrier.address) as caller:
        call = caller.invite("sip:1@c.test")
        with pytest.raises(
            AssertionError, match=r"(?s)200 was expected, SIP/2.0 486.*INVITE sip:1@c.test.*180 Ringing"
        ):
            call.expect(200)
        with pytest.raises(AssertionError, match=r"(?s)not seen within 0.05 s: BYE number 1.*CSeq 1 INVITE"):
            carrier.expect("BYE", within=0.05)


def test_a_2xx_is_repeated_until_its_ack_comes() -> None:
    """The caller is one that never reads: only its INVITE is put on the wire."""
    with Carrier(Script(ring=False), {}) as carrier, Caller(carrier.address) as caller:
        carrier.send_bytes(b"", caller.address)
        caller.responses.sent(SENT)
        caller.send(SENT, carrier.address)
        caller.wait("200 repeated", lambda: len([s for s in caller.trace if s.message.status == 200]) >= 2)
