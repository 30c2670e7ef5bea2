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

Broken, but with one meaning only, and therefore read:

9. A semicolon in place of a comma; no comma at all, if white space and another `name=` follow.
10. A value without quotes that is no token, as a base64 nonce with its `=` and `/`: it ends before white space, comma
    or semicolon, and holds no quote and no backslash.
11. qop=auth,auth-int without quotes: `auth` or `auth-int` alone between commas is a qop value, not a scheme.
12. A parameter that comes again with the same value.
13. Octets that are not UTF-8, in quotes: they are kept as they came, as surrogates (PEP 383).

Broken, with more than one meaning, and therefore refused by rule 8: a parameter again with another value; quotes that
do not close, or stand inside a value; a word that is neither a parameter nor a scheme in its place
(`realm=my carrier`, `qop="auth","auth-int"`); a parameter with nothing behind its `=`; parameters behind a lone word
other than Digest, which may belong to the challenge before it (`qop=auth,token, opaque="o"`).

Pure: no I/O, no clock, no state. The time taken is linear in the length of the field.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_FOLD = re.compile(r"\r?\n[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_GAP = re.compile(r"[ \t,;]*+")
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (RFC 9110 5.6.2)
_BARE = r"[!#-+\--:<>-\[\]-~][!#-+\--:<-\[\]-~]*+"  # a token, and rule 10
_PARAMETER = re.compile(  # its name, and its value without or with quotes
    rf'{_GAP.pattern}({_TOKEN})[ \t]*=[ \t]*(?:({_BARE})|"([^"\\]*(?:\\.[^"\\]*)*)")'
    rf"(?:[ \t]*(?=[,;]|$)|[ \t]+(?={_TOKEN}[ \t]*=))"
)
_MORE_QOP = re.compile(r"(?:[ \t]*,[ \t]*auth(?:-int)?[ \t]*(?=[,;]|$))*+", re.IGNORECASE)  # rule 11
_SCHEME = re.compile(rf"{_GAP.pattern}({_TOKEN})(?:([ \t]+)|(?=[,;]|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=[,;]|$)")  # what NTLM and Negotiate carry (RFC 9110 11.2)
_QUOTED_PAIR = re.compile(r"\\(.)")

_NONCE = re.compile(r'nonce="([\x20!#-\[\]-~]+)"')  # as nearly all write it
_ANY_NONCE = "?"

_KNOWN = frozenset({"realm", "nonce", "opaque", "algorithm", "qop", "stale"})


class ChallengeError(ValueError):
    """A field that is no challenge; the text is the reason, and quotes nothing from the wire."""


class Challenge(NamedTuple):
    """One Digest challenge.

    realm, nonce, opaque: unquoted, as sent; opaque is None if absent. algorithm: as the carrier wrote it, None if
    absent (which means MD5). qop: the values offered, as written and in the carrier's order; empty if absent (RFC
    2069).
    """

    realm: str
    nonce: str
    opaque: str | None = None
    algorithm: str | None = None
    qop: tuple[str, ...] = ()
    stale: bool = False

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
        try:
            read = _parse_alike(f"{field[: nonce.start(1)]}{_ANY_NONCE}{field[nonce.end(1) :]}")
        except ChallengeError:
            read = ()
        if len(read) == 1 and read[0].nonce == _ANY_NONCE:
            return (read[0]._replace(nonce=nonce[1]),)
    return _parse(field)


def _parse(field: str) -> tuple[Challenge, ...]:
    text = _FOLD.sub(" ", field)
    if _CONTROL.search(text):
        raise ChallengeError("a control character")
    return tuple(_digest(parameters) for scheme, parameters in _schemes(text) if scheme == "digest")


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
    """Split a field into its schemes, in lower case, each with its parameters (rules 1 to 4, and 9 to 11)."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    position = 0
    while scheme := _SCHEME.match(text, position):
        name, is_lone, position = scheme[1].lower(), scheme[2] is None, scheme.end()
        parameters: list[tuple[str, str]] = []
        while parameter := _PARAMETER.match(text, position):
            if is_lone and name != "digest":
                raise ChallengeError("a parameter behind a lone word")
            called, bare, quoted = parameter.groups()
            position = parameter.end()
            value = _QUOTED_PAIR.sub(r"\1", quoted) if bare is None else bare
            if bare and called.lower() == "qop" and (more := _MORE_QOP.match(text, position)):
                value, position = f"{bare}{more[0]}", more.end()
            parameters.append((called.lower(), value))
        if not parameters and name != "digest" and (blob := _TOKEN68.match(text, position)):
            position = blob.end()
        found.append((name, parameters))
    if not _GAP.fullmatch(text, position):
        is_parameter = not found and _PARAMETER.match(text, position)
        raise ChallengeError("a parameter before any scheme" if is_parameter else "neither a scheme nor a parameter")
    return found


def _digest(parameters: list[tuple[str, str]]) -> Challenge:
    """Put one challenge together (rules 5, 7 and 12)."""
    values: dict[str, str] = {}
    for name, value in parameters:
        if name in _KNOWN and values.setdefault(name, value) != value:
            raise ChallengeError(f"{name} comes twice")
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
        qop=tuple(filter(None, [word.strip(" \t") for word in values.get("qop", "").split(",")])),
        stale=values.get("stale", "").lower() == "true",
    )
