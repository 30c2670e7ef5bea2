"""Where rtpengine takes its commands, and how carriers want RTP, as TRUNKAUTH_RTPENGINE has it: `udp:127.0.0.1:2223`,
or `udp:127.0.0.1:2223 RTP/SAVP` (docs/media.md).
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ENGINE = re.compile(
    r"(?P<at>udp:(?:\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost):(?P<port>[0-9]{1,5}))(?: +(?P<profile>[A-Z/]+))?"
)

# Unless it is told, rtpengine offers ciphers that encrypt nothing, and both kinds of keys.
_TOWARDS_CARRIERS = {
    "RTP/AVP": "RTP/AVP",
    "RTP/SAVP": "RTP/SAVP DTLS=off SDES-no-NULL_HMAC_SHA1_80 SDES-no-NULL_HMAC_SHA1_32",
    "UDP/TLS/RTP/SAVP": "UDP/TLS/RTP/SAVP DTLS=passive SDES-off",
}


class Rtpengine(NamedTuple):
    """at: as Kamailio's rtpengine module has it. profile: of RTP towards carriers (RFC 4568, RFC 5764)."""

    at: str
    profile: str

    @classmethod
    def parse(cls, text: str) -> Rtpengine | None:
        """Read a setting, None if it is empty. Raises ValueError, whose text says what is accepted."""
        if not text:
            return None
        match = _ENGINE.fullmatch(text)
        profile = (match and match["profile"]) or "RTP/AVP"
        if not match or not 1 <= int(match["port"]) <= 65535 or profile not in _TOWARDS_CARRIERS:
            takes = "udp:address:port, such as udp:127.0.0.1:2223, and behind it how carriers want RTP"
            raise ValueError(f"{text!r} is not {takes}: {', '.join(_TOWARDS_CARRIERS)}")
        return cls(match["at"], profile)

    @property
    def flags(self) -> str:
        """What rtpengine is told of bodies that go to carriers."""
        return f"replace-origin replace-session-connection ICE=remove {_TOWARDS_CARRIERS[self.profile]}"
