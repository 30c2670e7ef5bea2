"""A WWW-Authenticate or Proxy-Authenticate value becomes Challenges: RFC 3261 20.44 and 25.1, RFC 7616 3.3, RFC 8760.

The rules, as the parser keeps them:

1. A field holds one challenge or several, comma-joined; empty list elements are allowed (RFC 9110 5.6.1).
2. A challenge is a scheme, white space, and parameters `name=value`, comma-joined, in any order.
3. A value is a token or a quoted string; in a quoted string a backslash takes the next character as it is.
4. White space is any run of spaces and tabs, and a folded line counts as one.
5. Names, schemes, algorithms and qop values are compared without case; realm, nonce and opaque are kept as sent.
6. Schemes other than Digest are stepped over, whatever they carry.
7. A Digest challenge has exactly one realm and one nonce; no parameter that matters here comes twice.
8. Whatever breaks a rule is refused whole, with a reason. Nothing is guessed: a wrong guess is a wrong digest.

Pure: no I/O, no clock, no state. The time taken is linear in the length of the field.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

_FOLD = re.compile(r"\r?\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_GAP = re.compile(r"[ \t,]*+")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (RFC 9110 5.6.2)
_PARAMETER = re.compile(  # its name, and its value as a token or a quoted string
    rf'{_GAP.pattern}({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"([^"\\]*(?:\\.[^"\\]*)*)")[ \t]*(?=,|$)'
)
_SCHEME = re.compile(rf"{_GAP.pattern}({_TOKEN})(?:[ \t]+|(?=,|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)")  # what NTLM and Negotiate carry (RFC 9110 11.2)
_QUOTED_PAIR = re.compile(r"\\(.)")

_NONCE = re.compile(r'nonce="([\x20!#-\[\]-~]+)"')  # as nearly all write it
_ANY_NONCE = "?"

_KNOWN = frozenset({"realm", "nonce", "opaque", "algorithm", "qop", "stale"})


class ChallengeError(ValueError):
    """A field that is no challenge; the text is the reason, and quotes nothing from the wire."""


class Challenge(NamedTuple):
    """One Digest challenge.

    realm, nonce, opaque: unquoted, as sent; opaque is None where absent. algorithm: as the carrier wrote it, None where
    absent (which means MD5). qop: the values offered, as written and in the carrier's order; empty where absent
    (RFC 2069). escaped: whether a value was written with a quoted pair.
    """

    realm: str
    nonce: str
    opaque: str | None = None
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    stale: bool = False
    escaped: bool = False

    @property
    def hash_name(self) -> str:
        """The algorithm in upper case and without -sess; MD5 where the carrier named none (RFC 7616 3.3)."""
        return (self.algorithm or "MD5").upper().removesuffix("-SESS")

    @property
    def is_session(self) -> bool:
        """Whether the algorithm is the -sess form of its hash."""
        return (self.algorithm or "").upper().endswith("-SESS")

    def offers(self, qop: str) -> bool:
        """Whether this qop value, in lower case, is offered."""
        return qop in self.qop or qop in [word.lower() for word in self.qop]


def parse(field: str) -> tuple[Challenge, ...]:
    """The Digest challenges of one field's value, in order; other schemes are left out. Raises ChallengeError."""
    nonce = _NONCE.search(field)
    if nonce and _ANY_NONCE not in field:  # a carrier's challenges differ in their nonce alone: the rest is read once
        with suppress(ChallengeError):
            read = _parse_alike(f"{field[: nonce.start(1)]}{_ANY_NONCE}{field[nonce.end(1) :]}")
            if len(read) == 1 and read[0].nonce == _ANY_NONCE:
                return (read[0]._replace(nonce=nonce[1]),)
    return _parse(field)


def _parse(field: str) -> tuple[Challenge, ...]:
    text = _FOLD.sub(" ", field)
    if _CONTROL.search(text):
        raise ChallengeError("a control character")
    escaped = "\\" in text
    return tuple(_digest(parameters, escaped) for scheme, parameters in _schemes(text) if scheme == "digest")


_parse_alike = lru_cache(maxsize=64)(_parse)


def next_nonce(field: str) -> str:
    """The nonce that an Authentication-Info or Proxy-Authentication-Info value names for the next request (RFC 7616
    3.5); empty where it names none, or breaks a rule.
    """
    try:
        ((_, parameters),) = _schemes(f"Digest {_FOLD.sub(' ', field)}")
    except ValueError:
        return ""
    named = [value for name, value in parameters if name == "nextnonce" and not _CONTROL.search(value)]
    return named[0] if len(named) == 1 else ""


def _schemes(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Split a field into its schemes, in lower case, each with its parameters (rules 1 to 4)."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    position = 0
    while scheme := _SCHEME.match(text, position):
        name, position = scheme[1].lower(), scheme.end()
        parameters: list[tuple[str, str]] = []
        while parameter := _PARAMETER.match(text, position):
            called, token, quoted = parameter.groups()
            parameters.append((called.lower(), _QUOTED_PAIR.sub(r"\1", quoted) if token is None else token))
            position = parameter.end()
        if not parameters and name != "digest" and (blob := _TOKEN68.match(text, position)):
            position = blob.end()
        found.append((name, parameters))
    if not _GAP.fullmatch(text, position):
        is_parameter = not found and _PARAMETER.match(text, position)
        raise ChallengeError("a parameter before any scheme" if is_parameter else "neither a scheme nor a parameter")
    return found


def _digest(parameters: list[tuple[str, str]], escaped: bool) -> Challenge:
    """Put one challenge together (rules 5 and 7)."""
    values: dict[str, str] = {}
    for name, value in parameters:
        if name in _KNOWN:
            if name in values:
                raise ChallengeError(f"{name} comes twice")
            values[name] = value
    for name in ("realm", "nonce"):
        if name not in values:
            raise ChallengeError(f"no {name}")
    if not values["nonce"]:
        raise ChallengeError("an empty nonce")
    return Challenge(
        realm=values["realm"],
        nonce=values["nonce"],
        opaque=values.get("opaque"),
        algorithm=values.get("algorithm"),
        qop=tuple(word.strip() for word in values.get("qop", "").split(",") if word.strip()),
        stale=values.get("stale", "").lower() == "true",
        escaped=escaped,
    )
