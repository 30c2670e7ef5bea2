"""The dialog that a request belongs to, and the orders that the dialog module gets for its CSeq (kemi/cseq.py)."""

from __future__ import annotations

from enum import Enum

import KSR

from kemi import cseq
from kemi.auth import codec
from kemi.auth.codec import Route
from kemi.sip import request
from kemi.sip.address import normalised


class Direction(Enum):
    """Which way a request inside a dialog goes, seen from the trunk."""

    TO_TRUNK = "to the trunk"
    FROM_TRUNK = "from the trunk"


def track(route: Route) -> bool:
    """Track the dialog that this INVITE starts: its CSeq, and the trunk and destination that it runs over. Return
    False if that failed, for want of memory say.
    """
    is_tracked = KSR.dialog.dlg_manage() > 0
    KSR.pv.sets("$dlg_var(trunk)", codec.route_text(route))
    return is_tracked


def is_known() -> bool:
    """Return True if the request belongs to a dialog that is tracked."""
    return KSR.dialog.is_known_dlg() > 0


def direction() -> Direction:
    """Return which way a request inside a tracked dialog goes. The trunk is the callee of every dialog that is tracked:
    the one that did not send the first INVITE (RFC 3261 12.1).
    """
    is_callers = KSR.pv.gete("$ft") == KSR.pv.gete("$dlg(from_tag)") != ""
    return Direction.TO_TRUNK if is_callers else Direction.FROM_TRUNK


def route() -> Route:
    """Return the dialog's trunk and destination; both empty if unknown."""
    return codec.route(str(KSR.pv.gete("$dlg_var(trunk)")))


def peer() -> str:
    """Return the address that answered the dialog's first INVITE, normalised; empty if unknown."""
    return str(KSR.pv.gete("$dlg_var(peer)"))


def note_peer() -> None:
    """Remember the source of this reply as the dialog's peer."""
    KSR.pv.sets("$dlg_var(peer)", normalised(str(KSR.pv.gete("$si"))))


def drop_cseq_order() -> None:
    """Take P-K-CSeq-Refresh off the next resend, which gets an order of its own."""
    KSR.hdr.remove("P-K-CSeq-Refresh")


def keep_cseq_order() -> None:
    """Make the dialog module's order for a request of a raised dialog a header that drop_cseq_order() can take off.

    loose_route() adds P-K-CSeq-Refresh to such a request (dialog/dlg_cseq.c).
    """
    if not KSR.pv.is_null("$dlg_var(cseq_diff)"):
        KSR.textopsx.msg_apply_changes()


def raise_cseq(method: str) -> None:
    """Order the dialog module to raise CSeq for a resend that carries our own responses, or none."""
    caller, raised = int(KSR.pv.gete("$cs") or 0), int(KSR.pv.gete("$dlg_var(cseq_diff)") or 0)
    resend = cseq.resend(caller, raised)
    KSR.hdr.append(f"P-K-CSeq-Auth: {resend.cseq}\r\n")
    KSR.pv.sets("$dlg_var(cseq_diff)", str(resend.raised))
    if method == "INVITE":
        _note_invite(caller, resend.raised)


def note_invite() -> None:
    """Remember by how much the CSeq of the INVITE that goes out now was raised."""
    _note_invite(int(KSR.pv.gete("$cs") or 0), int(KSR.pv.gete("$dlg_var(cseq_diff)") or 0))


def correct_ack() -> None:
    """Give the caller's ACK of a success the CSeq of its INVITE."""
    raised = int(KSR.pv.gete("$dlg_var(cseq_diff)") or 0)
    if not raised or direction() is not Direction.TO_TRUNK:
        return
    if (ordered := cseq.ack(_invites(), int(KSR.pv.gete("$cs") or 0), raised)) is not None:
        KSR.textopsx.msg_apply_changes()
        KSR.hdr.remove("P-K-CSeq-Refresh")
        KSR.hdr.append(f"P-K-CSeq-Refresh: {ordered}\r\n")


def correct_rack() -> None:
    """Make RAck name the INVITE by the CSeq that the carrier knows."""
    if rack := cseq.rack(_invites(), request.header("RAck")):
        KSR.hdr.remove("RAck")
        KSR.hdr.append(f"RAck: {rack}\r\n")


def _invites() -> cseq.Invites:
    return codec.invites(str(KSR.pv.gete("$dlg_var(invites)")))


def _note_invite(caller: int, raised: int) -> None:
    KSR.pv.sets("$dlg_var(invites)", codec.invites_text(cseq.noted(_invites(), caller, raised)))
