"""The 200 of a place that a call has left: nobody will take that call, so it is acknowledged and ended here, as the
caller would have done it (RFC 3261 13.2.2.4, 15.1.1). Kamailio drops such a 200, or gives it
to a caller who waits for none any more.

Pure: the reply comes in, requests go out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from kemi.dialog.mark import PARAMETER
from kemi.dialog.own import Request

_ROUTE = re.compile(r"<[^<>]*>[^,]*")
_OURS = re.compile(rf";{PARAMETER}=")
_CSEQ = re.compile(r"(?m)^CSeq: ([0-9]+)")
_IN_BRACKETS = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^"<])*<([^>]*)>')


class Answer(NamedTuple):
    """A 200. sender, receiver, contact: its From, To and Contact. routes: its Record-Routes, with commas. source: where
    it came from, a URI.
    """

    sender: str
    receiver: str
    call_id: str
    cseq: int
    contact: str
    routes: str
    source: str


def farewell(answer: Answer, trunk: str = "") -> tuple[Request, ...]:
    """Return the ACK and the BYE; none if the answer names no Contact. trunk: the l_uuid of the one whose carrier
    answered, empty if it has no credentials.

    They go where it came from: a Contact or Route may be a name, and that place knows the way. The proxies that joined
    behind us come in reverse in the caller's route set (RFC 3261 12.1.2).
    """
    bracketed = _IN_BRACKETS.match(answer.contact)
    uri = bracketed[1] if bracketed else answer.contact.partition(";")[0].strip()
    if not uri:
        return ()
    routes: list[str] = []
    for route in _ROUTE.findall(answer.routes):
        if _OURS.search(route):
            break
        routes.insert(0, route.strip())
    return tuple(
        Request(
            method,
            uri,
            answer.source,
            answer.sender,
            f"To: {answer.receiver}\r\nCall-ID: {answer.call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Max-Forwards: 70\r\n{''.join(f'Route: {route}{chr(13)}{chr(10)}' for route in routes)}",
            trunk=trunk if method == "BYE" else "",
        )
        for method, cseq in (("ACK", answer.cseq), ("BYE", answer.cseq + 1))
    )


def answered(bye: Request, responses: Iterable[str]) -> Request:
    """Return the BYE as it goes out again: with these responses to a challenge, and the next CSeq (RFC 3261 22.2)."""
    fields = _CSEQ.sub(lambda found: f"CSeq: {int(found[1]) + 1}", bye.fields, count=1)
    return bye._replace(fields=f"{fields}{''.join(responses)}", trunk="")
