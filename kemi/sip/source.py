"""The source of the request at hand."""

from __future__ import annotations

import KSR


def address() -> str:
    """Return the address that the request came from."""
    return str(KSR.pv.gete("$si"))


def tag() -> str:
    """Return the tag of the source's row of the table address, once request.source_may_call() has found it."""
    return str(KSR.pv.gete("$avp(source_tag)"))
