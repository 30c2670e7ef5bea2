"""The call at hand, as its line in the log names it: in a request, failure or reply route."""

from __future__ import annotations

import re

import KSR

from kemi.sip import api, place, relay, request
from kemi.trunks.places import Place

_IN_BRACKETS = re.compile(r"<([^<>]*)>")
_PASSWORD = re.compile(r"^(sips?:[^:@;?]*):[^@]*@", re.IGNORECASE)  # RFC 3261 19.1.1 knows one, in the user part


def is_new() -> bool:
    """Return True if the request is a call that begins."""
    return str(KSR.pv.gete("$rm")) == "INVITE" and not KSR.pv.gete("$tt")


def parties() -> tuple[str, str]:
    """Return the URIs of From and To of the request, without what follows them, and without a password."""
    return _uri("hdr(From)"), _uri("hdr(To)")


def parties_of_answered() -> tuple[str, str]:
    """Return them of the request that the reply at hand answers."""
    return _uri("T_req($hdr(From))"), _uri("T_req($hdr(To))")


def _uri(variable: str) -> str:
    field = api.line(variable)
    found = _IN_BRACKETS.search(field)
    return _PASSWORD.sub(r"\1@", found[1] if found else field.partition(";")[0].strip())


def place_that_failed(is_moved: bool) -> str:
    """Return the address of the place that the failure route is about. is_moved: it is not the first one."""
    found = place.of_failure()
    hop = relay.plan().hop.rpartition(" ")[2] if is_moved else request.next_hop()
    return text(found if found.port else Place.of_uri(hop))


def place_that_answered() -> str:
    """Return the address that the reply came from."""
    return text(place.source())


def reply_reason() -> str:
    """Return the reason phrase of the reply at hand."""
    return api.line("rr")


def text(found: Place) -> str:
    """Return a place as address:port, empty for none."""
    if not found.address:
        return ""
    return f"[{found.address}]:{found.port}" if ":" in found.address else f"{found.address}:{found.port}"
