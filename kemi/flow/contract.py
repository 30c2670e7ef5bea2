"""The questions and the orders of a script with calls of its own (docs/embedding.md). What such a script overrides is
where it is asked for: `may_call`, `phones`, `may_stay`.
"""

from __future__ import annotations

from kemi.auth.attempt import CHALLENGES
from kemi.flow import calls
from kemi.flow.routes import TrunkAuth
from kemi.health import memory
from kemi.sip import api, failure, place, request, within
from kemi.sip.api import guarded
from kemi.trunks.plan import TIMEOUT


class Contract(TrunkAuth):
    """What a script of one's own asks, and has done."""

    def dialog_is_ours(self, _message: object) -> bool:
        """Return True if the message at hand belongs to a dialog that was set up over a trunk, whichever way: then
        `ksr_request_route` takes it, or `STRAY`, before anybody has followed its Route.
        """
        return any(self._dialogs.opened(dialog) for dialog in within.dialogs())

    def is_from_carrier(self, _message: object) -> bool:
        """Return True if the message at hand comes from a carrier: a new request is for `ksr_request_route`."""
        return self.is_carrier(place.source_text())

    def send(self, trunk: str, message: object) -> int:
        """Send the new request at hand over this trunk, whatever rule would find another: its l_uuid, or several with
        commas, as in X-Trunk. Whoever calls this has let the sender in. It is answered if it cannot be sent.
        """

        @guarded(calls.reply)
        def placed(self: Contract, _message: object) -> int:
            incoming = request.incoming()
            request.source_may_call()  # what its tag is, if it is listed (trunk.source_tag)
            if incoming and self.trunks.is_ready() and not memory.is_full():
                self.place_request(incoming, trunk)
            elif incoming:
                self.try_later(incoming)
            return 1

        return placed(self, message)

    def challenge(self, _message: object) -> bool:
        """Answer the carrier's challenge that this failure route is about, or go on by UDP if a place does not take
        a large call by TCP. Return True if nothing is left to do: the request is under way again, or could not be
        sent, and has gone on to the next trunk or been answered. If not, the script says what comes next, or
        `TRUNKAUTH` does, which keeps challenges from callers.
        """
        try:
            status, attempt = failure.status_and_attempt()
            return status in (*CHALLENGES, TIMEOUT) and self.answer(status, attempt) is None
        except Exception as caught:
            api.tell_fault(caught)
            return False
