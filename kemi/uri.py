"""The parts of a SIP, SIPS or tel URI that routing looks at: RFC 3261 19.1.1 and 25.1, RFC 3966 3."""

from __future__ import annotations

import re
from typing import NamedTuple

_SIP = re.compile(r"(?:([^@]*)@)?(\[[^\]]*\]|[^:;?]*)(?::[^;?]*)?([^?]*)(?:\?.*)?", re.DOTALL)
_LINE = re.compile(r";line=([^;]*)", re.IGNORECASE)


class Uri(NamedTuple):
    """scheme: as written. userinfo: user and password as written, a tel URI's number, or empty. host: as written, empty
    in a tel URI. parameters: with their semicolons, empty if there are none.
    """

    scheme: str
    userinfo: str
    host: str
    parameters: str

    @property
    def user(self) -> str:
        """The user without a password."""
        return self.userinfo.partition(":")[0]

    @property
    def number(self) -> str:
        """The user without parameters, which a number may have: `;npdi` (RFC 4694)."""
        return self.user.partition(";")[0]

    @property
    def telephone(self) -> str:
        """The user; of a tel URI the number with its parameters, as a SIP URI's user has them (RFC 3261 19.1.6)."""
        return f"{self.userinfo}{self.parameters}" if self.scheme.lower() == "tel" else self.user

    @property
    def line(self) -> str:
        """The parameter `line`, the l_uuid in a Contact that Kamailio 6.2 registers; empty if there is none."""
        found = _LINE.search(self.parameters)
        return found[1] if found else ""


def split(text: str) -> Uri:
    """Return a URI's parts; port and headers are dropped. One of another scheme has none: urn:service:sos no host."""
    scheme, _, rest = text.partition(":")
    if scheme.lower() == "tel":
        number, semicolon, parameters = rest.partition(";")
        return Uri(scheme, number, "", semicolon + parameters)
    match = _SIP.fullmatch(rest) if scheme.lower() in ("sip", "sips") else None
    return Uri(scheme, match[1] or "", match[2], match[3]) if match else Uri(scheme, "", "", "")
