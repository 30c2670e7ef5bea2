"""The carrier's side of digest authentication (RFC 3261 22, RFC 7616): challenges, and verdicts on the answers.

The arithmetic is sippy's, an independent SIP stack: never the product's own, which would agree with its own mistakes.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sippy.SipAuthorization import DigestCalcHA1, DigestCalcResponse

from tests.harness.message import Header, MalformedError, Message, auth_params
from tests.harness.nonces import STILL_SERVES, Life, Nonces, Use

CHALLENGE_HEADERS = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}
ANSWER_HEADERS = {401: "Authorization", 407: "Proxy-Authorization"}
INFO_HEADERS = {401: "Authentication-Info", 407: "Proxy-Authentication-Info"}
ALGORITHMS = ("MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess")

ACCEPTED, MISSING, WRONG, STALE, USED_UP = (
    "accepted", "no credentials", "wrong response", "stale nonce", "nonce used up",
)  # fmt: skip
KEEPING = Nonces()


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
    answers are turned down with a new nonce and stale=true. nonces: how long one serves otherwise. reply: the status
    that it is sent with, 0 for the one that its header goes with; info: the header that names the next nonce, empty
    for the one that goes with its header.
    """

    status: int = 407
    realm: str = "carrier.test"
    offers: tuple[Offer, ...] = (Offer(),)
    requests: frozenset[str] = frozenset({"INVITE"})
    joined: bool = False
    before: tuple[str, ...] = ()
    stale: int = 0
    nonces: Nonces = KEEPING
    refuse_all: bool = False
    reply: int = 0
    info: str = ""


@dataclass(frozen=True)
class _Nonce:
    offer: Offer
    text: str
    life: Life


class Octets(bytes):
    """A text or body for sippy, which hashes what `encode` gives: these bytes as they are, UTF-8 or not."""

    def encode(self) -> bytes:
        return self


class Verifier:
    """Issues nonces and judges credentials. A wrong password is a verdict; what no honest client sends is a fault.

    asked_beside: statuses of the challenges that another verifier poses to the same requests. clock: the carrier's, in
    seconds, which only a test moves.
    """

    def __init__(self, challenge: Challenge, passwords: Mapping[str, str], asked_beside: Collection[int] = ()) -> None:
        self.faults: list[str] = []
        self.challenge = challenge
        self.clock = 0.0
        self._passwords = dict(passwords)
        self._unasked = [
            name for status, name in ANSWER_HEADERS.items() if status not in (challenge.status, *asked_beside)
        ]
        self._nonces: dict[str, _Nonce] = {}
        self._stale_left = challenge.stale

    def pose(self, challenge: Challenge) -> None:
        """Challenge like this from now on; the nonces stay."""
        self.challenge, self._stale_left = challenge, challenge.stale

    def headers(self, request: Message, verdict: str) -> Iterator[Header]:
        """The challenge to a request: headers with their nonces, one for each offer (RFC 8760 2.3), or one for all."""
        name = CHALLENGE_HEADERS[self.challenge.status]
        says_stale = verdict == STALE or (verdict == USED_UP and self.challenge.nonces.says_stale)
        yield from ((name, field) for field in self.challenge.before)
        fields = [
            offer.spelled(self.challenge.realm, self._issued(offer, request)) + (", stale=true" if says_stale else "")
            for offer in self.challenge.offers
        ]
        yield from ((name, field) for field in ([", ".join(fields)] if self.challenge.joined else fields))

    def next_nonces(self, request: Message) -> Iterator[Header]:
        """What a 2xx to this request says of the nonce to use next, if this carrier says it (RFC 7616 3.5)."""
        for params in self._given(request) if self.challenge.nonces.named else ():
            if used := self._nonces.get(params.get("nonce", "")):
                name = self.challenge.info or INFO_HEADERS[self.challenge.status]
                yield name, f'nextnonce="{self._issued(used.offer, request)}"'

    def forget(self) -> None:
        """Know none of the nonces any more."""
        for nonce in self._nonces.values():
            nonce.life.forgotten = True

    def note(self, request: Message) -> None:
        """Count this request with the nonces that it carries: a client counts what it sends, not what is judged."""
        for params in self._given(request):
            if (nonce := self._nonces.get(params.get("nonce", ""))) and "nc" in params:
                nonce.life.counts.append(_number(params["nc"]))

    def counts(self) -> list[list[int]]:
        """Every nc that came, for each nonce that did, in the order in which they were issued."""
        return [list(nonce.life.counts) for nonce in self._nonces.values() if nonce.life.counts]

    def brings_unasked(self, request: Message) -> bool:
        """Whether it carries credentials that this request was not asked for."""
        known = (self._nonces.get(params.get("nonce", "")) for params in self._given(request))
        return any(nonce.life.issued_to != _origin(request) for nonce in known if nonce)

    def inspect(self, request: Message) -> None:
        """Credentials that nobody asked this request for: wrong ones are a fault."""
        for params in self._given(request):
            nonce = self._nonces.get(params.get("nonce", ""))
            if nonce is None:
                self.faults.append(f"{request}: nonce was never issued here")
            elif faults := list(_misfits(request, params, nonce, self.challenge.nonces)):
                self.faults += [f"{request}: {fault}" for fault in faults]
            elif not self._matches(request, params):
                self.faults.append(f"{request}: wrong response, and unasked")

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

    def _issued(self, offer: Offer, request: Message) -> str:
        """A nonce for this offer: where they are shared the one that serves, if there is one."""
        life = Life(_origin(request), self.clock)
        if self.challenge.nonces.shared:
            for nonce in self._nonces.values():
                if nonce.offer == offer and self._serves(
                    nonce, Use(_origin(request), nonce.life.highest + 1, self.clock)
                ):
                    return nonce.text
        nonce = _Nonce(offer, offer.nonce or secrets.token_hex(16), life)
        self._nonces[nonce.text] = nonce
        return nonce.text

    def _serves(self, nonce: _Nonce, use: Use) -> bool:
        return not nonce.life.forgotten and STILL_SERVES[self.challenge.nonces.serve](nonce.life, use)

    def _given(self, request: Message) -> Iterator[dict[str, str]]:
        """The credentials for this realm, in the header that answers this verifier."""
        for value in request.all(ANSWER_HEADERS[self.challenge.status]):
            try:
                params = auth_params(value)
            except MalformedError:
                continue  # `judge` says so
            if params.get("realm") == self.challenge.realm:
                yield params

    def _judge(self, request: Message, params: Mapping[str, str]) -> str:
        nonce = self._nonces.get(params.get("nonce", ""))
        if nonce is None:
            self.faults.append(f"{request}: nonce was never issued here")
            return WRONG
        faults = list(_misfits(request, params, nonce, self.challenge.nonces))
        self.faults += [f"{request}: {fault}" for fault in faults]
        count = _number(params.get("nc", ""))
        serves = self._serves(nonce, Use(_origin(request), count, self.clock))
        nonce.life.judged += 1
        nonce.life.highest = max(nonce.life.highest, count)
        if faults or self.challenge.refuse_all or not self._matches(request, params):
            return WRONG
        if not serves:
            return USED_UP
        if self._stale_left:
            self._stale_left -= 1
            return STALE
        return ACCEPTED

    def _matches(self, request: Message, params: Mapping[str, str]) -> bool:
        user, algorithm = params.get("username", ""), canonical(params.get("algorithm", "MD5"))
        if user not in self._passwords:
            return False
        given, cnonce = params["nonce"], params.get("cnonce")
        realm, nonce = _octets(self.challenge.realm), _octets(given)
        ha1 = DigestCalcHA1(algorithm, user, realm, self._passwords[user], nonce, cnonce)
        expected = DigestCalcResponse(
            algorithm, ha1, nonce, params.get("nc"), cnonce, params.get("qop"),
            request.method, params["uri"], Octets(request.body),
        )  # fmt: skip
        return secrets.compare_digest(str(expected), params.get("response", ""))


def _octets(text: str) -> Octets:
    return Octets(text.encode(errors="surrogateescape"))


def canonical(algorithm: str) -> str:
    """An algorithm as its registry spells it, whatever the case that it came in."""
    return next(name for name in ALGORITHMS if name.lower() == algorithm.lower())


def ha1(algorithm: str, user: str, realm: str, password: str) -> str:
    """What a DBA writes into auth_ha1."""
    return bytes(DigestCalcHA1(algorithm, user, realm, password, "", "")).decode()


def _misfits(request: Message, params: Mapping[str, str], nonce: _Nonce, ways: Nonces) -> Iterator[str]:
    """What does not fit the challenge that the nonce came with (RFC 7616 3.4). The request is noted already."""
    offer, counts = nonce.offer, nonce.life.counts
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
    elif params.get("nc") != f"{counts[-1] if counts else 0:08x}" or (ways.in_order and counts[-1] != len(counts)):
        yield f"nc {params.get('nc')!r} at use {len(counts)} of this nonce"
    elif counts.count(counts[-1]) > 1:
        yield f"nc {params.get('nc')!r} for the second time"
    if (offer.qop or session) and not params.get("cnonce"):
        yield "no cnonce"


def _number(nc: str) -> int:
    try:
        return int(nc, 16)
    except ValueError:
        return 0


def _origin(request: Message) -> str:
    """The caller's own request: its Via, which a resend has as well."""
    return request.vias[-1]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
