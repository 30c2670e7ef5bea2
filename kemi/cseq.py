"""The CSeq numbers of a dialog in which requests were sent again: RFC 3261 22.2, 13.2.2.4 and 12.2.1.1, RFC 3262 7.2.

The rules:

1. A request that is sent again with credentials has a CSeq one above the one that the carrier saw last (RFC 3261 22.2).
   From then on the dialog's CSeq towards the carrier is ahead of the caller's by `raised`, and so is every later
   request's.
2. The dialog module keeps `raised` in `$dlg_var(cseq_diff)` and rewrites CSeq on sending (dialog/dlg_cseq.c). It takes
   its orders from headers that it strips again: P-K-CSeq-Auth for a resend, P-K-CSeq-Refresh for any later request.
3. An ACK of a success has the CSeq of its INVITE (RFC 3261 13.2.2.4), and RAck names its INVITE (RFC 3262 7.2). By the
   time of either, other requests may have raised CSeq further; so each INVITE's own `raised` is kept.

Pure: numbers come in, numbers go out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_INVITES = 4  # of a dialog, whose `raised` is kept

_RACK = re.compile(r"([0-9]{1,10})[ \t]+([0-9]{1,10})[ \t]+(\S+)")

Invites = dict[int, int]  # the caller's CSeq of an INVITE -> by how much it was raised


class Resend(NamedTuple):
    """The CSeq of a resend, and by how much it is ahead of the caller's."""

    cseq: int
    raised: int


def resend(cseq: int, raised: int) -> Resend:
    """Return the CSeq for a request that is sent again (rule 1). cseq: the caller's. raised: before this resend."""
    return Resend(cseq + raised + 1, raised + 1)


def noted(invites: Invites, cseq: int, raised: int) -> Invites:
    """Return the dialog's last INVITEs, this one included (rule 3)."""
    others = [(other, before) for other, before in invites.items() if other != cseq]
    return dict([*others[1 - MOST_INVITES :], (cseq, raised)])


def ack(invites: Invites, cseq: int, raised: int) -> int | None:
    """Return the CSeq to order for an ACK; None if the dialog module gives it the right one by itself (rule 3)."""
    own = invites.get(cseq, 0)
    return None if raised in (0, own) else cseq + own


def rack(invites: Invites, value: str) -> str | None:
    """Return the RAck value by which the carrier knows its INVITE; None if it is right, or malformed (rule 3)."""
    match = _RACK.fullmatch(value)
    raised = invites.get(int(match[2]), 0) if match else 0
    return f"{match[1]} {int(match[2]) + raised} {match[3]}" if match and raised else None
