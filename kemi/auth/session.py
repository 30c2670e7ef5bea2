"""What to do about a carrier's 401 or 407: one pure decision.

Read the table from the top; the first line that holds decides. "Ours" is a challenge whose realm is the row's, or any
where the row names none. "Usable" is one whose algorithm is known, for which the row has a secret, and whose qop can be
computed: none, auth, or auth-int where the body's bytes can be had. Two challenges are "the same" where status (401 or
407) and realm are.

    the row, the reply, and what was answered before         decision
    -------------------------------------------------------  ----------------------------------------------
    auth_username empty, or with control characters          give up: no usable auth_username
    auth_ha1 neither empty nor 32 or 64 hex digits           give up: auth_ha1 is not 32 or 64 hex digits
    no field of the reply is a Digest challenge              give up: no digest challenge, or what is wrong with it
    none is ours                                             give up: realm not the trunk's
    none of ours is usable                                   give up: no secret, algorithm or qop for it
    5 challenges of this request were answered               give up: too many challenges
    the same was answered before, when it was asked; the
      new one is not stale, nor new after one that was
      accepted meanwhile                                     give up: credentials refused
    the same was answered 4 times                            give up: too many challenges
    otherwise                                                answer the strongest usable one of ours

The strongest: SHA-512-256, then SHA-256, then MD5, each before its -sess form; of equals the carrier's first. The
resend carries an answer to this challenge and a fresh one to every other that was answered before: a proxy that let
the request pass asks for its credentials again. An answer that the request carried unasked, with a nonce of an earlier
request, may be turned down: nonces end. That says nothing about the credentials.

Pure: no I/O, no clock, no state; what was answered before comes in, and goes out with the decision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from kemi.auth import digest
from kemi.auth.challenge import Challenge, ChallengeError, parse

MOST_ANSWERS = 5  # for one request, whatever the carrier does
MOST_AGAIN = 3  # of these, for one challenge that comes again

FORBIDDEN = 403

HasBody = Callable[
    [], bool
]  # whether the request's body can be read byte by byte; asked where auth-int is all there is

_HA1_HASHES = {0: (), 32: ("MD5",), 64: ("SHA-256",)}  # digits of auth_ha1 -> what it serves
_HA1 = re.compile(r"[0-9a-fA-F]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STRENGTH = {name: place for place, name in enumerate(digest.HASHES)}  # the less, the stronger
_EMPTY_ELEMENT = re.compile(r",\s*,")  # of a list, where uac_auth() stops reading
_LINES = 6  # of text for a challenge that is remembered
_NEEDS_QUOTED_PAIR = re.compile(r'["\\]')


@dataclass(frozen=True)
class Credentials:
    """What a trunk's row gives to answer with.

    realm: the only realm answered, empty for any. password: serves every algorithm. ha1: as the DBA wrote it, 32 hex
    digits for MD5 or 64 for SHA-256; it goes before the password.
    """

    realm: str
    username: str
    password: str = field(default="", repr=False)
    ha1: str = field(default="", repr=False)

    def are_for(self, challenge: Challenge) -> bool:
        """Whether the challenge's realm may have an answer."""
        return self.realm in ("", challenge.realm)

    def serves(self, challenge: Challenge) -> bool:
        """Whether there is a secret for this challenge's hash."""
        return challenge.hash_name in digest.HASHES and bool(self.password or self._has_ha1_for(challenge))

    def ha1_for(self, challenge: Challenge) -> str:
        """HA1 for this challenge's hash, in lower-case hex."""
        if self._has_ha1_for(challenge):
            return self.ha1.lower()
        return digest.ha1(challenge.hash_name, self.username, challenge.realm, self.password)

    @cached_property
    def fault(self) -> str:
        """What is wrong with the row, whatever the challenge; empty for nothing."""
        if not self.username or _CONTROL.search(self.username):
            return "no usable auth_username"
        if len(self.ha1) not in _HA1_HASHES or not _HA1.fullmatch(self.ha1):
            return "auth_ha1 is not 32 or 64 hex digits"
        return ""

    def _has_ha1_for(self, challenge: Challenge) -> bool:
        return challenge.hash_name in _HA1_HASHES[len(self.ha1)]


class Answered(NamedTuple):
    """A challenge of this request that was answered. nc: how many requests went out with its nonce.

    status: 401 or 407. again: how often it had come again. accepted: whether one that first asked later, and so stands
    behind the one that asked this, has spoken since, which it could only where the answer was good. asked: whether this
    request was challenged with it; False where an earlier one was, and this one carried the answer from the start.
    """

    status: int
    challenge: Challenge
    nc: int = 1
    again: int = 0
    accepted: bool = False
    asked: bool = True

    def is_same(self, status: int, challenge: Challenge) -> bool:
        """Whether this challenge asks for the same as that one did."""
        return (self.status, self.challenge.realm) == (status, challenge.realm)


class Answer(NamedTuple):
    """Answer this challenge. carried: all that the resend carries answers to, in the order in which they first came.

    by_uac_auth: whether Kamailio's own uac_auth() would answer it just so, on every version from 5.6 to 6.1.
    """

    challenge: Challenge
    carried: tuple[Answered, ...]
    by_uac_auth: bool


class GiveUp(NamedTuple):
    """Answer nothing. reason: for the operator's log line. challenge: the one that it is about, if there is one."""

    reason: str
    challenge: Challenge | None = None


def decide(
    status: int, fields: Sequence[str], credentials: Credentials, answered: Sequence[Answered], has_body: HasBody
) -> Answer | GiveUp:
    """Decide about one 401 or 407.

    fields: the values of the reply's WWW-Authenticate (401) or Proxy-Authenticate (407) fields, in order. answered: the
    challenges of this request that were answered before.
    """
    if credentials.fault:
        return GiveUp(credentials.fault)
    first, challenges, complaint = _read(fields)
    if not challenges:
        return GiveUp(complaint or "no digest challenge")
    ours = [challenge for challenge in challenges if credentials.are_for(challenge)]
    if not ours:
        return GiveUp("realm not the trunk's", challenges[0])
    usable = [challenge for challenge in ours if _is_usable(challenge, credentials, has_body)]
    if not usable:
        return GiveUp("no secret, algorithm or qop for it", ours[0])
    chosen = min(usable, key=_weakness)
    if refusal := _refusal(status, chosen, answered):
        return GiveUp(refusal, chosen)
    carried = _carried(status, chosen, answered)
    by_uac_auth = first == (chosen,) and _suits_uac_auth(fields[0], chosen, credentials, carried)
    return Answer(chosen, carried, by_uac_auth)


def turns_down(status: int, answered: Sequence[Answered]) -> bool:
    """Whether this failure turns down what the request carried unasked. Besides asking anew, a carrier may refuse
    outright: 403, where nothing was asked yet.
    """
    if status == FORBIDDEN:
        return bool(answered) and not any(one.asked for one in answered)
    return any(one.status == status and not one.asked for one in answered)


def answerable(known: Sequence[Answered], credentials: Credentials, has_body: HasBody) -> tuple[Answered, ...]:
    """Of challenges that were accepted before, those that the row as it is now may answer unasked."""
    if credentials.fault:
        return ()
    return tuple(
        one for one in known if credentials.are_for(one.challenge) and _is_usable(one.challenge, credentials, has_body)
    )


def qop_for(challenge: Challenge, has_body: HasBody) -> str | None:
    """The qop to answer with: `auth`, `auth-int`, empty for the form without; None where none can be computed."""
    if not challenge.qop:
        return ""
    if challenge.offers("auth"):
        return "auth"
    return "auth-int" if challenge.offers("auth-int") and has_body() else None


def _read(fields: Sequence[str]) -> tuple[tuple[Challenge, ...], list[Challenge], str]:
    """The challenges of the first field, those of all fields that can be read, and what is wrong with the others."""
    first: tuple[Challenge, ...] = ()
    challenges: list[Challenge] = []
    complaint = ""
    for place, text in enumerate(fields):
        try:
            read = parse(text)
        except ChallengeError as error:
            complaint = complaint or f"a challenge with {error}"
        else:
            challenges += read
            first = read if place == 0 else first
    return first, challenges, complaint


def _is_usable(challenge: Challenge, credentials: Credentials, has_body: HasBody) -> bool:
    return credentials.serves(challenge) and qop_for(challenge, has_body) is not None


def _weakness(challenge: Challenge) -> tuple[int, bool]:
    return _STRENGTH[challenge.hash_name], challenge.is_session


def _refusal(status: int, challenge: Challenge, answered: Sequence[Answered]) -> str:
    """Why not to answer, after what was answered before; empty for no reason."""
    if not answered:
        return ""
    if sum(one.asked + one.again for one in answered) >= MOST_ANSWERS:
        return "too many challenges"
    before = next((one for one in answered if one.is_same(status, challenge)), None)
    if before is None or not before.asked:
        return ""
    is_new = before.accepted and challenge.nonce != before.challenge.nonce
    if not (challenge.stale or is_new):
        return "credentials refused"
    return "too many challenges" if before.again >= MOST_AGAIN else ""


def _carried(status: int, challenge: Challenge, answered: Sequence[Answered]) -> tuple[Answered, ...]:
    """What the resend answers: this one, and all others once more; those that first asked before it are accepted."""
    if not answered:
        return (Answered(status, challenge),)
    place = next((n for n, one in enumerate(answered) if one.is_same(status, challenge)), len(answered))
    mine = Answered(status, challenge)
    if place < len(answered):
        before = answered[place]
        nc = before.nc + 1 if before.challenge.nonce == challenge.nonce else 1
        mine = Answered(status, challenge, nc, again=before.again + 1 if before.asked else 0)
    nearer = (one._replace(nc=one.nc + 1, accepted=True) for one in answered[:place])
    farther = (one._replace(nc=one.nc + 1) for one in answered[place + 1 :])
    return (*nearer, mine, *farther)


def _suits_uac_auth(text: str, challenge: Challenge, credentials: Credentials, carried: tuple[Answered, ...]) -> bool:
    """What uac_auth() gets right: one challenge with a new nonce, MD5, a plain password, and nothing that it copies,
    compares or skips in its own way (uac/auth.c, uac/auth_hdr.c of 5.6 to 6.1). text: the challenge's field.
    """
    return (
        len(carried) == 1
        and carried[0].nc == 1
        and not credentials.ha1
        and challenge.algorithm in (None, "MD5")
        and (not challenge.qop or challenge.qop[0] == "auth")
        and challenge.opaque != ""
        and not challenge.escaped
        and not _EMPTY_ELEMENT.search(text)
        and not _NEEDS_QUOTED_PAIR.search(credentials.username)
        and not _CONTROL.search(credentials.password)
    )


def remembered(answered: Sequence[Answered]) -> str:
    """What was answered, as text to be kept with the transaction; it holds no secret. The values are lines of their
    own: no challenge has a line end in it.
    """
    return "\n".join([line for one in answered for line in _lines(one)])


@lru_cache(maxsize=256)
def recalled(text: str) -> tuple[Answered, ...]:
    """The other way round; empty text is nothing."""
    lines = text.split("\n") if text else []
    return tuple(_answered(lines[start : start + _LINES]) for start in range(0, len(lines), _LINES))


def _lines(one: Answered) -> tuple[str, ...]:
    status, challenge, nc, again, accepted, asked = one
    realm, nonce, opaque, algorithm, qop, stale, escaped = challenge
    flags = f"{stale:d}{escaped:d}{accepted:d}{asked:d}"
    return f"{status} {nc} {again} {flags}", realm, nonce, _present(opaque), _present(algorithm), ",".join(qop)


def _answered(lines: list[str]) -> Answered:
    numbers, realm, nonce, opaque, algorithm, qop = lines
    status, nc, again, flags = numbers.split(" ")
    stale, escaped, accepted, asked = (flag == "1" for flag in flags)
    words = tuple(qop.split(",")) if qop else ()
    challenge = Challenge(realm, nonce, _if_present(opaque), _if_present(algorithm), words, stale, escaped)
    return Answered(int(status), challenge, int(nc), int(again), accepted, asked)


def _present(value: str | None) -> str:
    return "" if value is None else f"={value}"


def _if_present(line: str) -> str | None:
    return line[1:] if line else None
