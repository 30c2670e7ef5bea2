"""The dialog that Kamailio tracks for a call."""

from __future__ import annotations

import KSR


def place() -> None:
    """Make a PBX's new request ready to go out: without what is for us alone, and if it starts a dialog, in its path. A
    call is tracked, and its caller asked now and then if it still knows the call.
    """
    KSR.route("PLACED")


def bring_in() -> None:
    """Make a carrier's new request ready in the same way. The PBX is asked, which is called."""
    KSR.route("BROUGHT_IN")


def is_keepalive() -> bool:
    """Return True if the request that Kamailio sends on its own is the OPTIONS that asks a PBX."""
    return KSR.is_OPTIONS() and KSR.siputils.has_totag() > 0


def is_known() -> bool:
    """Return True if the request belongs to a dialog that is tracked."""
    return KSR.dialog.is_known_dlg() > 0
