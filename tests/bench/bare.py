"""A call without authentication in Python, step for step what OPEN in native.cfg is: what the way from Kamailio into
Python and back costs by itself. Started in the place of kamailio/trunkauth.py.
"""

from __future__ import annotations

import os

import KSR

PRIVATE = ("X-Trunk", "Authorization", "Proxy-Authorization", "P-K-CSeq-Auth", "P-K-CSeq-Refresh")


class Bare:
    """The handlers that kamailio.cfg names, as far as a call needs them."""

    def __init__(self, domain: str, next_hop: str) -> None:
        self._domain = domain
        self._next_hop = next_hop

    def child_init(self, _rank: int) -> int:
        """Called in every process; nothing is needed there."""
        return 0

    def ksr_request_route(self, _message: object) -> int:
        """Every request comes in here."""
        if KSR.maxfwd.process_maxfwd(10) < 0 or KSR.sanity.sanity_check(17895, 7) < 0:
            return 1
        method = KSR.pv.get("$rm")
        if KSR.tm.t_check_trans() == 0:
            return 1
        if KSR.siputils.has_totag() > 0:
            self._in_dialog(method)
        elif method == "OPTIONS":
            KSR.sl.send_reply(200, "OK")
        elif method == "INVITE" and KSR.permissions.allow_source_address(1) > 0:
            self._new_call()
        return 1

    def _in_dialog(self, method: object) -> None:
        if KSR.rr.loose_route() < 0:
            return
        for name in PRIVATE:
            KSR.hdr.remove(name)
        is_listed = KSR.permissions.allow_source_address(1) > 0
        if KSR.dialog.is_known_dlg() < 0 and not is_listed:
            return
        if method != "ACK" and is_listed and KSR.pv.get("$ft") == KSR.pv.get("$dlg(from_tag)"):
            KSR.pv.sets("$avp(trunk)", str(KSR.pv.get("$dlg_var(trunk)")))
            KSR.tm.t_on_failure("TRUNKAUTH")
        KSR.tm.t_relay()

    def _new_call(self) -> None:
        KSR.pv.sets("$avp(trunk)", str(KSR.pv.get("$hdr(X-Trunk)")))
        KSR.pv.sets("$rd", self._domain)
        KSR.setdsturi(self._next_hop)
        KSR.pv.unset("$rp")
        for name in (*PRIVATE, "Route"):
            KSR.hdr.remove(name)
        KSR.rr.record_route()
        KSR.dialog.dlg_manage()
        KSR.pv.sets("$dlg_var(trunk)", str(KSR.pv.get("$avp(trunk)")))
        KSR.tm.t_on_failure("TRUNKAUTH")
        KSR.tm.t_relay()

    def TRUNKAUTH(self, _message: object) -> int:
        """The failure route; nothing is answered."""
        return 1

    def REPLICA(self, _message: object, _event: object) -> int:
        """The timers', and that of stray replies; nothing is kept, resolved, watched or dropped."""
        return 1

    NAMES = MEMORY = STRAY = REPLICA


def mod_init() -> Bare:
    """Called by app_python3."""
    return Bare(os.environ["BENCH_DOMAIN"], os.environ["BENCH_CARRIER"])
