"""A request that goes elsewhere."""

from __future__ import annotations

import KSR

from kemi.sip import relay, secure
from kemi.trunks.plan import Plan


def dialled() -> str:
    """Return the R-URI as it came in."""
    return str(KSR.pv.gete("$ou"))


def caller() -> str:
    """Return the URI of From as it came in."""
    return str(KSR.pv.gete("$fu"))


def tag() -> str:
    """Return the tag of From."""
    return str(KSR.pv.gete("$ft"))


def plan() -> Plan:
    """Return the transaction's plan, with the branches that it has had by now."""
    return relay.plan()._replace(branches=int(KSR.pv.get("$T_branch_idx") or 0))


def forget_address(dialled: str) -> None:
    """Forget where an attempt was to go: that of the request route, with which a failure route starts, or one that was
    not sent. dialled: the caller's R-URI, which makes a branch for the next relay.
    """
    secure.leave_by_any()
    KSR.pv.unset("$du")
    KSR.pv.unset("$fs")
    KSR.pv.sets("$ru", dialled)


def forget_replies() -> None:
    """Forget the failures so far, of which Kamailio would have chosen the caller's otherwise."""
    KSR.tm.t_drop_replies_all()
