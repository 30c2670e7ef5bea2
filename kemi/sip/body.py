"""The body of the request at hand, as a digest covers it."""

from __future__ import annotations

import KSR

from kemi.auth.digest import Request

_LONGEST_BODY = 32767  # bytes that Kamailio converts to hex (pv/pv_trans.c)


def covered_by_digest(method: str, covers_body: bool) -> Request:
    """Return the parts that a digest covers, as they go out. The body may be no text, so it is read in hex."""
    body = bytes.fromhex(str(KSR.pv.gete("$(rb{s.encode.hexa})"))) if covers_body else b""
    return Request(method, str(KSR.pv.gete("$ru")), body)


def can_read_body() -> bool:
    """Return True if covered_by_digest() can give the request's body, which may be empty."""
    size = KSR.pv.get("$bs")
    return not isinstance(size, int) or size <= _LONGEST_BODY
