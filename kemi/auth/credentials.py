"""The credentials that a trunk's row holds, and which challenges they may and can answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from kemi.auth import digest
from kemi.auth.challenge import Challenge

_HA1_HASH = {32: "MD5", 64: "SHA-256"}  # hex digits of auth_ha1 -> the hash it is for


@dataclass(frozen=True, eq=False)  # compared by identity, so that what is derived from a row can go with the row
class Credentials:
    """The secrets of one row, for one destination.

    destination: the carrier they are meant for (Trunk.destination). realm: the only realm answered, empty for any.
    password: serves every algorithm. ha1: as the DBA wrote it, 32 hex digits for MD5 or 64 for SHA-256, or empty; it
    goes before the password. A row whose auth_username or auth_ha1 is malformed makes no Credentials (Trunk.fault).
    """

    destination: str
    realm: str
    username: str
    password: str = field(default="", repr=False)
    ha1: str = field(default="", repr=False)

    def are_for(self, challenge: Challenge) -> bool:
        """Return True if the challenge's realm may have an answer."""
        return self.realm in ("", challenge.realm)

    def serve(self, challenge: Challenge) -> bool:
        """Return True if there is a secret for this challenge's hash."""
        return challenge.hash_name in digest.HASHES and bool(self.password or self._has_ha1_for(challenge))

    def response(self, challenge: Challenge, qop: str) -> digest.DigestResponse:
        """Return the response to a challenge that they serve; qop: `auth`, `auth-int`, or empty for none."""
        secret = self.ha1.lower()
        if not self._has_ha1_for(challenge):
            secret = digest.ha1(challenge.hash_name, self.username, challenge.realm, self.password)
        return digest.DigestResponse(challenge, self.username, secret, qop)

    def _has_ha1_for(self, challenge: Challenge) -> bool:
        return challenge.hash_name == _HA1_HASH.get(len(self.ha1))
