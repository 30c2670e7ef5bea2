"""The carrier's side of digest authentication (RFC 3261 22, RFC 7616): challenges, and verdicts on the answers.

The arithmetic is sippy's, an independent SIP stack: never the product's own, which would agree with its own mistakes.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sippy.SipAuthorization import DigestCalcHA1, DigestCalcResponse

from tests.live.message import Header, MalformedError, Message, auth_params

CHALLENGE_HEADERS = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}
ANSWER_HEADERS = {401: "Authorization", 407: "Proxy-Authorization"}
ALGORITHMS = ("MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess")

ACCEPTED, MISSING, WRONG, STALE, USED_UP = (
    "accepted", "no credentials", "wrong response", "stale nonce", "nonce used up",
)  # fmt: skip


@dataclass(frozen=True)
class Offer:
    """One challenge: an algorithm and the qop values offered; an empty string leaves the parameter out.

    opaque: None leaves it out. nonce: the same for every call; empty for a fresh one each time. layout: how the whole
    challenge is spelled, with {realm} and {nonce} in it; empty for the usual spelling.
    """

    algorithm: str = "MD5"
    qop: str = "auth"
    opaque: str | None = None
    nonce: str = ""
    layout: str = ""

    def __str__(self) -> str:
        return f"{self.algorithm or 'no algorithm'} {self.qop or 'no qop'}"

    def spelled(self, realm: str, nonce: str) -> str:
        if self.layout:
            return self.layout.format(realm=realm, nonce=nonce)
        value = f'Digest realm="{_escaped(realm)}", nonce="{nonce}"'
        value += f', opaque="{self.opaque}"' if self.opaque is not None else ""
        value += f", algorithm={self.algorithm}" if self.algorithm else ""
        return value + (f', qop="{self.qop}"' if self.qop else "")


@dataclass(frozen=True)
class Challenge:
    """How a carrier challenges: which requests, with what, and when it is content.

    joined: all offers in one field, comma-joined. before: fields of other schemes that go first. stale: how many good
    answers are turned down with a new nonce and stale=true. single_use: a nonce serves once, and the new one comes
    without stale.
    """

    status: int = 407
    realm: str = "carrier.test"
    offers: tuple[Offer, ...] = (Offer(),)
    requests: frozenset[str] = frozenset({"INVITE"})
    joined: bool = False
    before: tuple[str, ...] = ()
    stale: int = 0
    single_use: bool = False
    refuse_all: bool = False


@dataclass
class _Nonce:
    """sent: requests that carried it, whoever turned them down. judged: those that came as far as this verifier."""

    offer: Offer
    sent: int = 0
    judged: int = 0


class Octets(bytes):
    """A body for sippy, which hashes what `encode` gives: these bytes as they are, text or not."""

    def encode(self) -> bytes:
        return self


class Verifier:
    """Issues nonces and judges credentials. A wrong password is a verdict; what no honest client sends is a fault.

    asked_beside: statuses of the challenges that another verifier poses to the same requests.
    """

    def __init__(self, challenge: Challenge, passwords: Mapping[str, str], asked_beside: Collection[int] = ()) -> None:
        self.faults: list[str] = []
        self.challenge = challenge
        self._passwords = dict(passwords)
        self._unasked = [
            name for status, name in ANSWER_HEADERS.items() if status not in (challenge.status, *asked_beside)
        ]
        self._nonces: dict[str, _Nonce] = {}
        self._stale_left = challenge.stale

    def headers(self, *, stale: bool) -> Iterator[Header]:
        """Challenge headers with their nonces, one for each offer (RFC 8760 2.3), or one for all."""
        name = CHALLENGE_HEADERS[self.challenge.status]
        yield from ((name, field) for field in self.challenge.before)
        fields = [self._issued(offer) + (", stale=true" if stale else "") for offer in self.challenge.offers]
        yield from ((name, field) for field in ([", ".join(fields)] if self.challenge.joined else fields))

    def note(self, request: Message) -> None:
        """Count this request with the nonces that it carries: a client counts what it sends, not what is judged."""
        for params in self._given(request):
            if nonce := self._nonces.get(params.get("nonce", "")):
                nonce.sent += 1

    def judge(self, request: Message) -> str:
        """ACCEPTED, or why not. Every request is noted first."""
        header = ANSWER_HEADERS[self.challenge.status]
        self.faults += [
            f"{request}: {name} answers no {header} challenge" for name in self._unasked if request.has(name)
        ]
        try:
            given = [auth_params(value) for value in request.all(header)]
        except MalformedError as error:
            self.faults.append(f"{request}: {error}")
            return WRONG
        mine = [params for params in given if params.get("realm") == self.challenge.realm]
        return self._judge(request, mine[0]) if mine else MISSING

    def _issued(self, offer: Offer) -> str:
        nonce = offer.nonce or secrets.token_hex(16)
        self._nonces[nonce] = _Nonce(offer)
        return offer.spelled(self.challenge.realm, nonce)

    def _given(self, request: Message) -> Iterator[dict[str, str]]:
        for value in request.all(ANSWER_HEADERS[self.challenge.status]):
            try:
                yield auth_params(value)
            except MalformedError:
                continue  # `judge` says so

    def _judge(self, request: Message, params: Mapping[str, str]) -> str:
        nonce = self._nonces.get(params.get("nonce", ""))
        if nonce is None:
            self.faults.append(f"{request}: nonce was never issued here")
            return WRONG
        faults = list(_misfits(request, params, nonce))
        self.faults += [f"{request}: {fault}" for fault in faults]
        nonce.judged += 1
        if faults or self.challenge.refuse_all or not self._matches(request, params):
            return WRONG
        if self._stale_left:
            self._stale_left -= 1
            return STALE
        return USED_UP if self.challenge.single_use and nonce.judged > 1 else ACCEPTED

    def _matches(self, request: Message, params: Mapping[str, str]) -> bool:
        user, algorithm = params.get("username", ""), canonical(params.get("algorithm", "MD5"))
        if user not in self._passwords:
            return False
        nonce, cnonce = params["nonce"], params.get("cnonce")
        ha1 = DigestCalcHA1(algorithm, user, self.challenge.realm, self._passwords[user], nonce, cnonce)
        expected = DigestCalcResponse(
            algorithm, ha1, nonce, params.get("nc"), cnonce, params.get("qop"),
            request.method, params["uri"], Octets(request.body),
        )  # fmt: skip
        return secrets.compare_digest(str(expected), params.get("response", ""))


def canonical(algorithm: str) -> str:
    """An algorithm as its registry spells it, whatever the case that it came in."""
    return next(name for name in ALGORITHMS if name.lower() == algorithm.lower())


def ha1(algorithm: str, user: str, realm: str, password: str) -> str:
    """What a DBA writes into auth_ha1."""
    return bytes(DigestCalcHA1(algorithm, user, realm, password, "", "")).decode()


def _misfits(request: Message, params: Mapping[str, str], nonce: _Nonce) -> Iterator[str]:
    """What does not fit the challenge that the nonce came with (RFC 7616 3.4)."""
    offer = nonce.offer
    if params.get("uri") != request.uri:
        yield f"digest uri {params.get('uri')!r} is not the R-URI"
    if params.get("algorithm", "MD5") != (offer.algorithm or "MD5"):
        yield f"algorithm {params.get('algorithm')!r} was not offered with this nonce"
    if params.get("opaque") != offer.opaque:
        yield f"opaque {params.get('opaque')!r} is not {offer.opaque!r}"
    session = offer.algorithm.lower().endswith("-sess")
    if not offer.qop:
        unwanted = ("qop", "nc") if session else ("qop", "nc", "cnonce")
        yield from (f"{name} without an offered qop" for name in unwanted if name in params)
    elif params.get("qop", "").lower() not in [each.strip().lower() for each in offer.qop.split(",")]:
        yield f"qop {params.get('qop')!r} was not offered"
    elif params.get("nc") != f"{nonce.sent:08x}":
        yield f"nc {params.get('nc')!r} at use {nonce.sent} of this nonce"
    if (offer.qop or session) and not params.get("cnonce"):
        yield "no cnonce"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
