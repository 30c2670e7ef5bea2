"""One attempt to send a request over a trunk, and the challenges whose responses it carries.

An attempt is stored with the transaction (codec.py), because the reply to it may be handled in another process. It
holds no secret: a response is not one, and credentials are looked up again when they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kemi.auth.challenge import Challenge
from kemi.auth.digest import DigestResponse, Request


class FieldNames(NamedTuple):
    """The header field of the challenge, of its response, and of the next nonce (RFC 3261 20, RFC 7616 3.5)."""

    challenge: str
    response: str
    info: str


CHALLENGES = {
    401: FieldNames("WWW-Authenticate", "Authorization", "Authentication-Info"),
    407: FieldNames("Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info"),
}
OTHER_KIND = {401: 407, 407: 401}  # a reply may hold challenges of both kinds (RFC 3261 16.7, step 7)


# Destinations that equal none of a trunk's: of an attempt that goes past its carrier, and of one that comes from there.
ELSEWHERE, TO_PBX = "\n", "\n<"


class Sent(NamedTuple):
    """A challenge whose response a request carries.

    status: 401 or 407. nc: requests sent with its nonce. proven: True once a server further downstream has challenged:
    this response got past its own server. challenged: True if this request was challenged with it; False for a
    preemptive response to the challenge of an earlier request.
    """

    status: int
    challenge: Challenge
    nc: int = 1
    proven: bool = False
    challenged: bool = True

    def is_same(self, status: int, challenge: Challenge) -> bool:
        """Return True if both challenges come from the same server: status and realm are equal."""
        return (self.status, self.challenge.realm) == (status, challenge.realm)


class Attempt(NamedTuple):
    """How a request goes out.

    trunk: l_uuid, empty if no trunk may answer for it. destination: the carrier that the trunk's row named then
    (Trunk.destination). method: the request's. sequence: the key of its CSeqs, which begins with mark.dialog_id. cseq:
    its caller's. number: the CSeq that the carrier sees (cseq.py). mark: for our Record-Route, empty if the request
    starts no dialog. sender: what From says, with its tag, if not what the caller wrote; own: the caller's own, for our
    Record-Route (dialog/sender.py). identity: the fields, each with a line end, in place of the caller's own
    (dialog/identity.py); a line end alone for none; empty if those stay. in_dialog: True if it has a To tag. answered:
    challenges, over all attempts. goes_on: True if there is another place to try (plan.py). is_moved: True if it goes
    elsewhere than the first attempt. began: when its call came in, in milliseconds of the epoch; 0 if it is no new
    request. tries: places that it was sent to, this one included. is_accepted: True once the carrier let it pass: it
    rings, or was answered. is_answered: True once a 2xx of a call went to the caller, which may come again.
    by_uac_auth: True if uac_auth() has added the response, False if the branch route is to add them all. is_limited:
    True if it is a call that holds a place of a trunk with `max_calls`. is_forked: True if another dialog of its call
    counts with the same CSeqs. sent: the challenges whose responses it
    carries, in the order in which their servers first challenged.
    """

    trunk: str = ""
    destination: str = ""
    method: str = ""
    sequence: str = ""
    cseq: int = 0
    number: int = 0
    mark: str = ""
    sender: str = ""
    own: str = ""
    identity: str = ""
    in_dialog: bool = False
    answered: int = 0
    goes_on: bool = False
    is_moved: bool = False
    began: int = 0
    tries: int = 0
    is_accepted: bool = False
    is_answered: bool = False
    by_uac_auth: bool = False
    is_limited: bool = False
    is_forked: bool = False
    sent: tuple[Sent, ...] = ()

    @property
    def is_shaped(self) -> bool:
        """True if it leaves with more than its caller wrote, or by another way: a BYE often does not."""
        return bool(self.mark or self.sent or self.number != self.cseq or self.sender or self.identity or self.is_moved)

    @property
    def dialog(self) -> str:
        """The name of its dialog: mark.dialog_id."""
        return self.sequence[:32]


class Responses(NamedTuple):
    """The responses to some challenges, in the same order. covers_body: True if one of them covers the body."""

    made: tuple[DigestResponse, ...]
    covers_body: bool

    def headers(self, sent: Sequence[Sent], request: Request, cnonce: str) -> list[str]:
        """Return the header fields, each with its CRLF, that carry them. sent: their challenges, counted. cnonce: never
        used before.
        """
        return [
            f"{CHALLENGES[one.status].response}: {response.value(request, one.nc, cnonce)}\r\n"
            for one, response in zip(sent, self.made, strict=True)
        ]
