"""One end's view of a dialog (RFC 3261 section 12): tags, route set, remote target, and its own CSeq."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.harness.endpoint import Address
from tests.harness.message import Header, Message, address, request, uri_host_port, with_content_type
from tests.harness.rules import SENT_MAX_FORWARDS


@dataclass
class Dialog:
    """`local` and `remote` are From or To values with their tags; `cseq` is the last number that this end used."""

    call_id: str
    local: str
    remote: str
    target: str
    routes: tuple[str, ...]
    cseq: int

    @classmethod
    def of_caller(cls, invite: Message, response: Message) -> Dialog:
        """From the response that established it: the Record-Routes reversed (12.1.2)."""
        return cls(
            call_id=invite.call_id,
            local=response.first("From"),
            remote=response.first("To"),
            target=address(response.first("Contact")),
            routes=tuple(reversed(response.listed("Record-Route"))),
            cseq=invite.cseq[0],
        )

    @classmethod
    def of_called(cls, invite: Message, response: Message) -> Dialog:
        """From the INVITE received: the Record-Routes in their order (12.1.1)."""
        return cls(
            call_id=invite.call_id,
            local=response.first("To"),
            remote=invite.first("From"),
            target=address(invite.first("Contact")),
            routes=tuple(invite.listed("Record-Route")),
            cseq=0,
        )

    @property
    def next_hop(self) -> Address:
        return uri_host_port(address(self.routes[0]) if self.routes else self.target)

    def request(
        self,
        method: str,
        via: str,
        contact: str,
        *,
        cseq: int,
        headers: Iterable[Header] = (),
        body: bytes = b"",
    ) -> Message:
        """A request inside the dialog (12.2.1.1); every route here is a loose one."""
        built: list[Header] = [("Via", via), ("Max-Forwards", str(SENT_MAX_FORWARDS))]
        built += [("Route", route) for route in self.routes]
        built += [
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        built += [("Contact", f"<{contact}>"), *headers]
        return request(method, self.target, with_content_type(built, body), body)
