"""Phones that register here call each other, and call over trunks; carriers ring them. Their domain is that of From."""

from __future__ import annotations

import os

import KSR

from kemi.handlers import Handlers

AUTHENTICATED = 2  # a message flag; 1 is taken
REALM = "phones.example"


class Phones(Handlers):
    """The routes. What is a trunk's goes to the class that this one derives from."""

    def ksr_request_route(self, message: object) -> int:
        """Every request comes in here."""
        asks_us = KSR.is_OPTIONS() and KSR.siputils.has_totag() < 0 and KSR.is_myself_ruri()
        if asks_us or self.dialog_is_ours(message) or self.is_from_carrier(message):
            return super().ksr_request_route(message)
        if KSR.is_CANCEL():
            if KSR.tm.t_check_trans() > 0:
                KSR.tm.t_relay()
        elif KSR.siputils.has_totag() > 0:
            self.between_phones(message)
        elif KSR.tm.t_check_trans() == 0 or KSR.is_ACK():
            pass  # a request that was repeated, whose reply has been sent again; or an ACK of nothing
        elif KSR.is_REGISTER():
            self.register()
        elif not self.may_call(message):
            KSR.auth.auth_challenge(REALM, 0)
        elif KSR.registrar.lookup("location") > 0:
            self.ring()
        else:
            return super().ksr_request_route(message)
        return 1

    def ring(self) -> None:
        """Send a new request to the phone that was found. One that has registered our own address would have it come
        back, as a call of ours.
        """
        if KSR.is_myself_ruri():
            KSR.sl.send_reply(482, "Loop Detected")
            return
        KSR.auth.consume_credentials()
        KSR.rr.record_route()
        self.relay()

    def between_phones(self, message: object) -> None:
        """Relay a request of a dialog between phones, the ACK of its 200 among them. Anybody can write a To tag and a
        Route, and would be relayed to anywhere.
        """
        if self.may_call(message) and KSR.rr.loose_route() > 0:
            self.relay()
        elif KSR.is_ACK():
            KSR.tm.t_check_trans()  # of a failure: tm takes it
        else:
            KSR.sl.sl_send_reply(481, "Call/Transaction Does Not Exist")

    def relay(self) -> None:
        """Send a request to a phone. Those that are handed over have their Max-Forwards there."""
        if KSR.maxfwd.process_maxfwd(70) < 0:
            KSR.sl.send_reply(483, "Too Many Hops")
        elif KSR.tm.t_relay() < 0:
            KSR.sl.sl_reply_error()

    def register(self) -> None:
        """Keep where a phone is, once it has proved whose it is."""
        if not self.is_authenticated():
            KSR.auth.auth_challenge(REALM, 0)
        elif KSR.registrar.save("location", 0) > 0:
            KSR.htable.sht_sets("phones", _source(), "registered")

    def is_authenticated(self) -> bool:
        """Return True if a request carries the credentials of its From."""
        if KSR.isflagset(AUTHENTICATED):
            return True
        if KSR.auth_db.auth_check(REALM, "subscriber", 1) < 0:
            return False
        KSR.setflag(AUTHENTICATED)
        return True

    def may_call(self, message: object) -> bool:
        """A phone may call over trunks, too. Inside a dialog nobody asks it again: it has to be where it registered."""
        if super().may_call(message):
            return True
        if KSR.siputils.has_totag() > 0 or KSR.is_CANCEL():
            return KSR.htable.sht_get("phones", _source()) is not None
        return self.is_authenticated()

    def phones(self, number: str) -> list[tuple[str, str]]:
        """A number that a carrier has called rings at each Contact that its phone has registered."""
        found = []
        if KSR.registrar.reg_fetch_contacts("location", f"sip:{number}@{REALM}", "called") > 0:
            for index in range(int(KSR.pv.get("$(ulc(called=>count))"))):
                contact = str(KSR.pv.get(f"$(ulc(called=>addr)[{index}])"))
                found.append((contact, str(KSR.pv.gete(f"$(ulc(called=>received)[{index}])")) or contact))
            KSR.registrar.reg_free_contacts("called")
        return found

    def STRAY(self, message: object, event: object) -> int:
        """A reply that matches no transaction passes between phones: the 200 whose ACK was lost is one."""
        return super().STRAY(message, event) if self.dialog_is_ours(message) else 1

    def may_stay(self, _connection: object) -> bool:
        """TCP connections of phones stay, though phones are in no table."""
        return True


def _source() -> str:
    return str(KSR.pv.get("$_s($si:$sp)"))


def mod_init() -> Phones:
    """Called by app_python3 once, before the workers fork."""
    return Phones.from_environment(os.environ)
