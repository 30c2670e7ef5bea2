"""Digest: from a challenge and a secret to the value of an Authorization or Proxy-Authorization field.

RFC 7616 3.4 (response), RFC 8760 2 (algorithms for SIP), RFC 3261 22.4 (the digest uri is the Request-URI; without
qop the form of RFC 2069). The parameters come in the order in which Kamailio's uac_auth() writes them
(uac/auth_hdr.c), so that a carrier cannot tell one from the other.

Pure: the nonce count and the cnonce come in from outside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple

from kemi.auth.challenge import Challenge

# Algorithm without its -sess -> hashlib's name, the strongest first.
HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


def is_weaker(hash_name: str, other: str) -> bool:
    """Return True if the first of two HASHES is weaker than the other."""
    names = list(HASHES)
    return names.index(hash_name) > names.index(other)


class Request(NamedTuple):
    """The parts of a request that a digest covers. uri: the R-URI as sent. body: its bytes, for auth-int alone."""

    method: str
    uri: str
    body: bytes = b""


def ha1(hash_name: str, username: str, realm: str, password: str) -> str:
    """Return H(username:realm:password) in lower-case hex; hash_name: one of HASHES (RFC 7616 3.4.2)."""
    return _hexdigest(hash_name, f"{username}:{realm}:{password}")


@dataclass(frozen=True)
class DigestResponse:
    """The response to a challenge, except for the parts that differ with each request.

    ha1: as ha1() gives it, for the challenge's hash; -sess is applied here. qop: `auth`, `auth-int`, or empty for
    none.
    """

    challenge: Challenge
    username: str
    ha1: str = field(repr=False)
    qop: str

    @property
    def covers_body(self) -> bool:
        """True if the request's body is part of the digest."""
        return self.qop == "auth-int"

    def value(self, request: Request, count: int, cnonce: str) -> str:
        """Return the field's value.

        count: of requests with this nonce, this one included, 1 to 0xffffffff. cnonce: at least 64 random bits, never
        used before.
        """
        nonce, qop, nc = self.challenge.nonce, self.qop, f"{count:08x}"
        secret = self._hash(f"{self.ha1}:{nonce}:{cnonce}") if self._is_session else self.ha1
        middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
        response = self._hash(f"{secret}:{middle}:{self._ha2(request)}")
        counted = f", qop={qop}, nc={nc}" if qop else ""
        own = f", cnonce={_quoted(cnonce)}" if qop or self._is_session else ""
        return f'{self._head}{_quoted(request.uri)}{self._opaque}{counted}{own}, response="{response}"{self._tail}'

    def _ha2(self, request: Request) -> str:
        covered = f"{request.method}:{request.uri}"
        if self.covers_body:
            covered += f":{_hexdigest_of(self._hash_name, request.body)}"
        return self._hash(covered)

    def _hash(self, text: str) -> str:
        return _hexdigest(self._hash_name, text)

    # Derived from the challenge once, for all requests that answer it.

    @cached_property
    def _hash_name(self) -> str:
        return self.challenge.hash_name

    @cached_property
    def _is_session(self) -> bool:
        return self.challenge.is_session

    @cached_property
    def _head(self) -> str:
        one = self.challenge
        return f"Digest username={_quoted(self.username)}, realm={_quoted(one.realm)}, nonce={_quoted(one.nonce)}, uri="

    @cached_property
    def _opaque(self) -> str:
        return "" if self.challenge.opaque is None else f", opaque={_quoted(self.challenge.opaque)}"

    @cached_property
    def _tail(self) -> str:
        return f", algorithm={self.challenge.algorithm or 'MD5'}"


def _hexdigest(hash_name: str, text: str) -> str:
    """Hash a text as it is on the wire: a realm or nonce may have octets that are not UTF-8 (PEP 383)."""
    return _hexdigest_of(hash_name, text.encode(errors="surrogateescape"))


def _hexdigest_of(hash_name: str, data: bytes) -> str:
    hashed = _empty_hash(hash_name).copy()  # cheaper than looking the algorithm up again
    hashed.update(data)
    return hashed.hexdigest()


@cache
def _empty_hash(hash_name: str) -> hashlib._Hash:
    return hashlib.new(HASHES[hash_name], usedforsecurity=False)


def _quoted(value: str) -> str:
    if '"' not in value and "\\" not in value:
        return f'"{value}"'
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
