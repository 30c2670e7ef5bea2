"""Hand-made messages that the tools are tested on: as a proxy should relay them, and as a PBX sends them."""

from __future__ import annotations

from tests.harness import message
from tests.harness.message import Message

PROXY_VIA = "SIP/2.0/UDP 127.0.0.1:5060;branch="
PBX_VIA = "SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKpbx"
CREDENTIALS = 'Digest username="u", realm="carrier.test", nonce="n", uri="sip:1@c.test", response="r"'


def invite(branch: str = "z9hG4bK1", number: int = 1, method: str = "INVITE", to_tag: str = "") -> Message:
    """A request as the proxy should relay it."""
    return message.request(
        method,
        "sip:1@c.test",
        [
            ("Record-Route", "<sip:127.0.0.1:5060;lr>"),
            ("Via", PROXY_VIA + branch),
            ("Via", PBX_VIA),
            ("Max-Forwards", "69"),
            ("From", "<sip:100@pbx.test>;tag=a"),
            ("To", "<sip:1@c.test>" + to_tag),
            ("Call-ID", "call-1"),
            ("CSeq", f"{number} {method}"),
        ],
    )


def response(to: Message, status: int) -> Message:
    return message.response(to, status, "Reason", "b")


FIRST, SECOND = invite(), invite("z9hG4bK2", 2)
BUSY = response(FIRST, 486)
SENT = message.request("INVITE", "sip:1@c.test", invite().without("Via", "Record-Route").headers).with_header(
    "Via", PBX_VIA
)
