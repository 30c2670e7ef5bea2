"""A PBX that knows no carrier password: it places calls through the proxy and counts its own CSeq."""

from __future__ import annotations

from collections.abc import Iterable

from tests.harness.agent import SDP, Agent, Exchange, Served
from tests.harness.certificates import Identity
from tests.harness.endpoint import Address
from tests.harness.message import Header
from tests.harness.rules import SENT_MAX_FORWARDS


class Caller(Agent):
    """Sends requests to one proxy; answers in-dialog requests with 200, the carrier's BYE among them."""

    def __init__(
        self, proxy: Address, *, host: str = "", transport: str = "udp", identity: Identity | None = None
    ) -> None:
        self.proxy = proxy
        self._knows_its_calls = True
        own = host or ("::1" if ":" in proxy[0] else "127.0.0.1")
        super().__init__("pbx", own, transport, identity=identity)

    def invite(
        self, uri: str, *, sender: str = "sip:100@pbx.test", headers: Iterable[Header] = (), body: bytes = SDP
    ) -> Exchange:
        """Place a call to this R-URI."""
        return self.request("INVITE", uri, sender=sender, headers=headers, body=body)

    def request(
        self,
        method: str,
        uri: str,
        *,
        sender: str = "sip:100@pbx.test",
        headers: Iterable[Header] = (),
        body: bytes = b"",
        max_forwards: int | None = SENT_MAX_FORWARDS,
    ) -> Exchange:
        """A request outside any dialog, CSeq 1."""
        return self.outside(
            self.proxy, method, uri, sender=sender, headers=headers, body=body, max_forwards=max_forwards
        )

    def forget_calls(self) -> None:
        """As after a restart: no dialog is known any more."""
        with self.changed:
            self._knows_its_calls = False

    def answer(self, served: Served) -> None:
        body = SDP if served.kind == "re-INVITE" else b""
        self.respond(served, 200 if served.request.to_tag and self._knows_its_calls else 481, body=body)
