"""Digest: from a challenge and a secret to the value of an Authorization or Proxy-Authorization field.

RFC 7616 3.4 (response), RFC 8760 2 (algorithms for SIP), RFC 3261 22.4 (the digest uri is the Request-URI; without
qop the form of RFC 2069). The parameters come in the order that Kamailio's uac_auth() writes them (uac/auth_hdr.c),
so that a carrier cannot tell one from the other.

Pure: the nonce count and the cnonce come in from outside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kemi.challenge import Challenge

# Algorithm without its -sess -> hashlib's name, the strongest first.
HASHES = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}


@dataclass(frozen=True)
class Request:
    """What a digest covers. uri: the Request-URI as sent. body: its bytes as sent, None where they cannot be had."""

    method: str
    uri: str
    body: bytes | None = b""


def ha1(hash_name: str, username: str, realm: str, password: str) -> str:
    """H(username:realm:password), in lower-case hex; hash_name: one of HASHES (RFC 7616 3.4.2)."""
    return _hash(hash_name, f"{username}:{realm}:{password}".encode())


def authorization(
    challenge: Challenge, request: Request, *, username: str, ha1: str, qop: str, count: int, cnonce: str
) -> str:
    """The field's value.

    ha1: as the function of that name gives it, for the challenge's hash; -sess is applied here. qop: `auth`,
    `auth-int`, or empty for none. count: of requests with this nonce, this one included, 1 to 0xffffffff. cnonce: at
    least 64 random bits, never used before. Raises ValueError for auth-int where the body cannot be had.
    """
    count_hex = f"{count:08x}"
    name = challenge.hash_name
    secret = _hash(name, f"{ha1}:{challenge.nonce}:{cnonce}".encode()) if challenge.is_session else ha1
    middle = f"{challenge.nonce}:{count_hex}:{cnonce}:{qop}" if qop else challenge.nonce
    response = _hash(name, f"{secret}:{middle}:{_ha2(name, qop, request)}".encode())
    parameters = [
        f"username={_quoted(username)}",
        f"realm={_quoted(challenge.realm)}",
        f"nonce={_quoted(challenge.nonce)}",
        f"uri={_quoted(request.uri)}",
    ]
    if challenge.opaque is not None:
        parameters.append(f"opaque={_quoted(challenge.opaque)}")
    if qop:
        parameters += [f"qop={qop}", f"nc={count_hex}"]
    if qop or challenge.is_session:
        parameters.append(f"cnonce={_quoted(cnonce)}")
    parameters += [f"response={_quoted(response)}", f"algorithm={challenge.algorithm or 'MD5'}"]
    return f"Digest {', '.join(parameters)}"


def _ha2(hash_name: str, qop: str, request: Request) -> str:
    covered = f"{request.method}:{request.uri}"
    if qop == "auth-int":
        if request.body is None:
            raise ValueError("auth-int over a body that cannot be had")
        covered += f":{_hash(hash_name, request.body)}"
    return _hash(hash_name, covered.encode())


def _hash(hash_name: str, text: bytes) -> str:
    return hashlib.new(HASHES[hash_name], text, usedforsecurity=False).hexdigest()


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
