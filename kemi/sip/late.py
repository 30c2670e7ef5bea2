"""A reply of a place that the request has left, in a reply route."""

from __future__ import annotations

import KSR

from kemi.dialog.late import Answer
from kemi.sip import api, place


def note_branch() -> None:
    """Store with the transaction which of its branches goes out now."""
    KSR.pv.sets("$avp(branch)", str(KSR.pv.get("$T_branch_idx")))


def is_late() -> bool:
    """Return True if the reply is to another branch than the last one that note_branch() stored."""
    return str(KSR.pv.gete("$avp(branch)")) != str(KSR.pv.get("$T_branch_idx"))


def note_answered() -> None:
    """Store with the transaction that the caller has been answered."""
    KSR.pv.sets("$avp(branch_answered)", "yes")


def is_answered() -> bool:
    """Return True if the caller has been answered: he gets, and has to end, whatever else is answered."""
    return bool(KSR.pv.gete("$avp(branch_answered)"))


def answer() -> Answer:
    """Return the 200 at hand."""
    host, port, transport = place.source()
    address = f"[{host}]" if ":" in host else host
    return Answer(
        sender=api.line("hdr(From)"),
        receiver=api.line("hdr(To)"),
        call_id=api.line("ci"),
        cseq=int(api.line("cs")),
        contact=api.line("hdr(Contact)"),
        routes=api.line("(hdr(Record-Route)[*])"),
        source=f"sip:{address}:{port};transport={transport}",
    )
