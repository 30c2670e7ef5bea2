"""The carrier's side of digest authentication (RFC 3261 22, RFC 7616): challenges, and verdicts on the answers.

The arithmetic is sippy's, an independent SIP stack: never the product's own, which would agree with its own mistakes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sippy.SipAuthorization import DigestCalcHA1, DigestCalcResponse

from tests.live.message import Header, MalformedError, Message, auth_params

CHALLENGE_HEADERS = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}
ANSWER_HEADERS = {401: "Authorization", 407: "Proxy-Authorization"}

ACCEPTED, MISSING, WRONG, STALE = "accepted", "no credentials", "wrong response", "stale nonce"


@dataclass(frozen=True)
class Offer:
    """One challenge header: an algorithm and the qop values offered; an empty string leaves the parameter out."""

    algorithm: str = "MD5"
    qop: str = "auth"


@dataclass(frozen=True)
class Challenge:
    """How a carrier challenges: which requests, with what, and whether it is ever content."""

    status: int = 407
    realm: str = "carrier.test"
    offers: tuple[Offer, ...] = (Offer(),)
    requests: frozenset[str] = frozenset({"INVITE"})
    stale_once: bool = False
    refuse_all: bool = False


@dataclass
class _Nonce:
    offer: Offer
    count: int = 0


class Verifier:
    """Issues nonces and judges credentials. A wrong password is a verdict; what no honest client sends is a fault."""

    def __init__(self, challenge: Challenge, passwords: Mapping[str, str]) -> None:
        self.faults: list[str] = []
        self._challenge, self._passwords = challenge, dict(passwords)
        self._nonces: dict[str, _Nonce] = {}
        self._stale_left = 1 if challenge.stale_once else 0

    def headers(self, *, stale: bool) -> Iterator[Header]:
        """Challenge headers with fresh nonces, one for each offer (RFC 8760 2.3)."""
        for offer in self._challenge.offers:
            nonce = secrets.token_hex(16)
            self._nonces[nonce] = _Nonce(offer)
            value = f'Digest realm="{self._challenge.realm}", nonce="{nonce}"'
            value += f", algorithm={offer.algorithm}" if offer.algorithm else ""
            value += f', qop="{offer.qop}"' if offer.qop else ""
            yield CHALLENGE_HEADERS[self._challenge.status], value + (", stale=true" if stale else "")

    def judge(self, request: Message) -> str:
        """ACCEPTED, or why not."""
        header = ANSWER_HEADERS[self._challenge.status]
        others = [name for status, name in ANSWER_HEADERS.items() if status != self._challenge.status]
        self.faults += [f"{request}: {name} answers no {header} challenge" for name in others if request.has(name)]
        try:
            given = [auth_params(value) for value in request.all(header)]
        except MalformedError as error:
            self.faults.append(f"{request}: {error}")
            return WRONG
        mine = [params for params in given if params.get("realm") == self._challenge.realm]
        if not mine:
            return MISSING
        return self._judge(request, mine[0])

    def _judge(self, request: Message, params: Mapping[str, str]) -> str:
        nonce = self._nonces.get(params.get("nonce", ""))
        if nonce is None:
            self.faults.append(f"{request}: nonce was never issued here")
            return WRONG
        faults = list(_misfits(request, params, nonce))
        self.faults += [f"{request}: {fault}" for fault in faults]
        nonce.count += 1
        if faults or self._challenge.refuse_all or not self._matches(request, params):
            return WRONG
        if self._stale_left:
            self._stale_left -= 1
            return STALE
        return ACCEPTED

    def _matches(self, request: Message, params: Mapping[str, str]) -> bool:
        user, algorithm = params.get("username", ""), params.get("algorithm")
        if user not in self._passwords:
            return False
        nonce, cnonce = params["nonce"], params.get("cnonce")
        ha1 = DigestCalcHA1(algorithm, user, self._challenge.realm, self._passwords[user], nonce, cnonce)
        expected = DigestCalcResponse(
            algorithm, ha1, nonce, params.get("nc"), cnonce, params.get("qop"),
            request.method, params["uri"], request.body.decode(),
        )  # fmt: skip
        return secrets.compare_digest(str(expected), params.get("response", ""))


def _misfits(request: Message, params: Mapping[str, str], nonce: _Nonce) -> Iterator[str]:
    """What does not fit the challenge that the nonce came with (RFC 7616 3.4)."""
    offer = nonce.offer
    if params.get("uri") != request.uri:
        yield f"digest uri {params.get('uri')!r} is not the R-URI"
    if params.get("algorithm", "MD5").lower() != (offer.algorithm or "MD5").lower():
        yield f"algorithm {params.get('algorithm')!r} was not offered with this nonce"
    if not offer.qop:
        yield from (f"{name} without an offered qop" for name in ("qop", "nc", "cnonce") if name in params)
        return
    if params.get("qop") not in [each.strip() for each in offer.qop.split(",")]:
        yield f"qop {params.get('qop')!r} was not offered"
    if params.get("nc") != f"{nonce.count + 1:08x}":
        yield f"nc {params.get('nc')!r} at use {nonce.count + 1} of this nonce"
    if not params.get("cnonce"):
        yield "no cnonce"
