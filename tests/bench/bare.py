"""A call in Python, step for step what OPEN in native.cfg is, and FIXED if the carrier asks: what the way from Kamailio
into Python and back costs by itself. Started in the place of kamailio/trunkauth.py, with bare.cfg.
"""

from __future__ import annotations

import os

import KSR

ANSWERED = 2  # a flag of the transaction
PRIVATE = ("X-Trunk", "Authorization", "Proxy-Authorization", "P-K-CSeq-Auth", "P-K-CSeq-Refresh")


class Bare:
    """The handlers that kamailio.cfg names, as far as a call needs them."""

    def __init__(self, domain: str, next_hop: str, user: str, password: str) -> None:
        self._domain = domain
        self._next_hop = next_hop
        self._user = user
        self._password = password

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
        """The carrier has said no: answer it, once."""
        if KSR.tm.t_check_status("401|407") < 0:
            return 1
        if KSR.tm.t_is_canceled() > 0:
            KSR.tm.t_reply(487, "Request Terminated")
        elif KSR.isflagset(ANSWERED) > 0:
            KSR.tm.t_reply(503, "Trunk Authentication Failed")
        else:
            KSR.pv.sets("$avp(auser)", self._user)
            KSR.pv.sets("$avp(apass)", self._password)
            KSR.pv.sets("$avp(arealm)", self._domain)
            if KSR.uac.uac_auth() < 0:
                KSR.tm.t_reply(503, "Trunk Authentication Failed")
                return 1
            KSR.setflag(ANSWERED)
            KSR.notice(f"answered a challenge: trunk={self._user} call-id={KSR.pv.get('$ci')}\n")
            KSR.tm.t_on_failure("TRUNKAUTH")
            KSR.tm.t_relay()
        return 1

    def REPLICA(self, _message: object, _event: object) -> int:
        """The timers', and that of stray replies; nothing is kept, resolved, watched or dropped."""
        return 1

    NAMES = MEMORY = STRAY = REPLICA


def mod_init() -> Bare:
    """Called by app_python3."""
    return Bare(*(os.environ[f"BENCH_{name}"] for name in ("DOMAIN", "CARRIER", "USER", "PASSWORD")))
