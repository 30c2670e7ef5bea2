"""One trunk: a row of `uacreg` as calls use it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from kemi.auth.session import Credentials
from kemi.trunks.tables import uacreg

_HOP_PARAMETERS = frozenset(
    {"transport", "maddr", "ttl", "lr"}
)  # of the hop to us (RFC 3261 19.1.1), not of the number

_HA1 = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}|")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SIP_URI = re.compile(r"sips?:([^@\s<>]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(;[^\s<>]*)?|")


@dataclass(frozen=True)
class Trunk:
    """One row of `uacreg`, as calls use it. Every field is a string, empty where the DBA left it so.

    uuid: l_uuid. domain: r_domain, the host of the R-URI. next_hop: auth_proxy, a SIP URI. socket: the sending socket.
    realm: the only realm answered, empty for any.
    """

    uuid: str
    domain: str = ""
    next_hop: str = ""
    socket: str = ""
    realm: str = ""
    auth_username: str = ""
    auth_password: str = field(default="", repr=False)
    auth_ha1: str = field(default="", repr=False)

    @cached_property
    def credentials(self) -> Credentials:
        """What to answer its carrier with."""
        return Credentials(self.realm, self.auth_username, self.auth_password, self.auth_ha1)

    @cached_property
    def carrier(self) -> str:
        """Who the credentials are meant for: a row that leads elsewhere by now has another one. Empty where the row
        names nobody.
        """
        return f"{self.next_hop} {self.domain}".strip()

    @property
    def fault(self) -> str:
        """Why the row cannot be used, in words that quote nothing from it; empty where it can."""
        if _CONTROL.search(self.uuid) or _CONTROL.search(self.domain):
            return "l_uuid or r_domain has a control character"
        if not self.auth_username or _CONTROL.search(self.auth_username):
            return "auth_username is empty or has a control character"
        if _CONTROL.search(self.auth_password):
            return "auth_password has a control character"
        if not _HA1.fullmatch(self.auth_ha1):
            return "auth_ha1 is not 32 or 64 hex digits"
        if not _SIP_URI.fullmatch(self.next_hop):
            return "auth_proxy is not a SIP URI"
        return ""

    def request_uri(self, dialled: str) -> str:
        """The R-URI for this trunk: the dialled user part at `domain`.

        dialled: a sip, sips or tel URI. The port and the parameters that said how to reach us go, those that describe
        the number stay; a tel URI becomes a sip URI with user=phone (RFC 3261 19.1.6).
        """
        scheme, _, rest = dialled.partition(":")
        if scheme.lower() == "tel":
            return f"sip:{rest}@{self.domain};user=phone"
        user, at, host = rest.rpartition("@")
        parameters = host.partition("?")[0].split(";")[1:]
        kept = "".join(f";{parameter}" for parameter in parameters if _name(parameter) not in _HOP_PARAMETERS)
        return f"{scheme}:{user}{at}{self.domain}{kept}"


# What a Trunk is made of, in the order of its fields.
TRUNK_COLUMNS = tuple(
    uacreg.c[name]
    for name in (
        "l_uuid", "r_domain", "auth_proxy", "socket", "realm", "auth_username", "auth_password", "auth_ha1",
    )
)  # fmt: skip


def _name(parameter: str) -> str:
    return parameter.partition("=")[0].strip().lower()
