"""The dialog that Kamailio tracks for a call."""

from __future__ import annotations

import KSR

from kemi.address import normalised


def track() -> None:
    """Track the dialog that this INVITE starts, and have its caller asked now and then if it still knows the call."""
    KSR.dialog.dlg_manage()
    KSR.dialog.dlg_set_property("ka-src")


def is_keepalive() -> bool:
    """Return True if the request that Kamailio sends on its own is the OPTIONS that asks a caller."""
    return KSR.is_OPTIONS() and KSR.siputils.has_totag() > 0


def is_known() -> bool:
    """Return True if the request belongs to a dialog that is tracked."""
    return KSR.dialog.is_known_dlg() > 0


def peer() -> str:
    """Return the address that answered the dialog's first INVITE, normalised; empty if it is not known any more."""
    return str(KSR.pv.gete("$dlg_var(peer)"))


def peers(addresses: frozenset[str]) -> frozenset[str]:
    """Return the dialog's peer, or these addresses of its trunk if the peer is not known any more."""
    known = peer()
    return frozenset({known}) if known else addresses


def note_peer() -> None:
    """Remember the source of this reply as the dialog's peer."""
    KSR.pv.sets("$dlg_var(peer)", normalised(str(KSR.pv.gete("$si"))))
