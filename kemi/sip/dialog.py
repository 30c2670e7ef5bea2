"""The dialog that Kamailio tracks for a call."""

from __future__ import annotations

import KSR


def track() -> None:
    """Track the dialog that this INVITE starts, and have its caller asked now and then if it still knows the call."""
    KSR.dialog.dlg_manage()
    KSR.dialog.dlg_set_property("ka-src")


def track_inbound() -> None:
    """Track the dialog that a carrier's INVITE starts, and have the PBX asked, which is called."""
    KSR.dialog.dlg_manage()
    KSR.dialog.dlg_set_property("ka-dst")


def is_keepalive() -> bool:
    """Return True if the request that Kamailio sends on its own is the OPTIONS that asks a PBX."""
    return KSR.is_OPTIONS() and KSR.siputils.has_totag() > 0


def is_known() -> bool:
    """Return True if the request belongs to a dialog that is tracked."""
    return KSR.dialog.is_known_dlg() > 0
