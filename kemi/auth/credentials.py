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
    goes before the password. weakest: the weakest of digest.HASHES that is answered. answers_far_end: True if whoever
    asks behind the carrier is answered too. asks_alone: True if nobody there is, even at the first contact. A row whose
    auth_username or auth_ha1 is malformed makes no Credentials (Trunk.fault).
    """

    destination: str
    realm: str
    username: str
    password: str = field(default="", repr=False)
    ha1: str = field(default="", repr=False)
    weakest: str = "MD5"
    answers_far_end: bool = False
    asks_alone: bool = False

    def are_for(self, challenge: Challenge) -> bool:
        """Return True if the challenge's realm may have a response. One that is not UTF-8 is read as Latin-1."""
        return self.realm in ("", challenge.realm) or self.realm == _in_latin_1(challenge.realm)

    def can_answer(self, challenge: Challenge, can_read_body: bool) -> bool:
        """Return True if there is a secret for the challenge's hash, it is not too weak, and its qop can be computed:
        none, auth, or auth-int if the request's body can be read.
        """
        name = challenge.hash_name
        if name not in digest.HASHES or not (self.password or self._has_ha1_for(challenge)):
            return False
        if name != self.weakest and digest.is_weaker(name, self.weakest):
            return False
        return not challenge.qop or challenge.offers("auth") or (can_read_body and challenge.offers("auth-int"))

    def response(self, challenge: Challenge) -> digest.DigestResponse:
        """Return the response to a challenge that they can answer."""
        secret = self.ha1.lower()
        if not self._has_ha1_for(challenge):
            secret = digest.ha1(challenge.hash_name, self.username, challenge.realm, self.password)
        qop = "auth" if challenge.offers("auth") else "auth-int" if challenge.qop else ""
        return digest.DigestResponse(challenge, self.username, secret, qop)

    def _has_ha1_for(self, challenge: Challenge) -> bool:
        return challenge.hash_name == _HA1_HASH.get(len(self.ha1))


def _in_latin_1(realm: str) -> str:
    try:
        realm.encode()
    except UnicodeEncodeError:
        return realm.encode(errors="surrogateescape").decode("latin-1")
    return realm
