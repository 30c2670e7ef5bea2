"""The fuzzed Kamailio's script: what plain.py takes is given to uac_auth(), everything else is left.

It imports nothing else of this project, so that it runs wherever Kamailio does.
"""

from __future__ import annotations

from typing import Any

from kemi.auth.plain import is_plain

USER, PASSWORD = "user", "the carrier's own"  # as in fuzz.py


class Handlers:
    """The handlers that app_python3 calls."""

    def __init__(self, ksr: Any) -> None:
        self.ksr = ksr

    def child_init(self, _rank: int) -> int:
        """Called in every process."""
        return 0

    def ksr_request_route(self, _message: object) -> int:
        """Relay every request; answer OPTIONS, which asks for life."""
        ksr = self.ksr
        if ksr.pv.get("$rm") == "OPTIONS":
            ksr.sl.send_reply(200, "OK")
        elif ksr.tm.t_check_trans() != 0:
            ksr.tm.t_on_failure("FAILURE")
            ksr.tm.t_relay()
        return 1

    def FAILURE(self, _message: object) -> int:
        """Answer a plain challenge by uac_auth(), and send the request again in any case."""
        ksr = self.ksr
        if not (is_plain(self._field()) and self._answer()):
            ksr.pv.sets("$ru", ksr.pv.get("$ru"))
        ksr.tm.t_on_failure("FAILURE")
        ksr.tm.t_relay()
        return 1

    def _field(self) -> str:
        try:
            return str(self.ksr.pv.gete("$T_rpl($(hdr(Proxy-Authenticate)[0]))"))
        except UnicodeDecodeError:
            return ""

    def _answer(self) -> bool:
        self.ksr.pv.sets("$avp(auser)", USER)
        self.ksr.pv.sets("$avp(apass)", PASSWORD)
        answered: int = self.ksr.uac.uac_auth()
        return answered > 0


def mod_init() -> Handlers:
    """Called by app_python3."""
    import KSR

    return Handlers(KSR)
