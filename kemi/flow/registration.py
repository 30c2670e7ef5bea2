"""The requests that Kamailio sends on its own: registrations, the dialog module's keepalives, and ours.

The uac module sends REGISTERs, and answers the challenges to them by C code of its own. Before it sees a challenge,
REGISTER_REPLY does. One that is not of the proven form (auth/plain.py) is written anew in it; if that cannot be done,
the reply becomes a 488, and the registration fails as it would with any other refusal. Both handlers note how each
REGISTER ends, for replica/registrations.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kemi.auth.attempt import CHALLENGES
from kemi.auth.plain import first_plain
from kemi.outcome import Unregistered
from kemi.sip import api, dialog, edit, own, registrar, registration, relay
from kemi.sip.api import guarded

if TYPE_CHECKING:
    from kemi.settings import Settings


class Registration:
    """The handlers of requests that Kamailio sends on its own."""

    _settings: Settings

    def LOCAL_REQUEST(self, _message: object, _event: object) -> int:
        """A request of our own is about to leave: of the uac module, the dialog module, or one that we made."""
        try:
            if request := own.being_sent():
                own.write_sender(request)
                if request.method == "OPTIONS":
                    own.hear("PROBE_REPLY", self._settings.try_seconds)
            elif registration.is_register():
                registration.screen_replies("REGISTER_REPLY")
                registrar.note_sent()
            elif dialog.is_keepalive():
                edit.set_cseq(0, "OPTIONS")  # below all that the callee will send; the module may take a number of his
        except Exception as error:
            api.tell_fault_in("LOCAL_REQUEST", error)
        return 1

    @guarded(relay.reply_nothing)
    def PROBE_REPLY(self, _message: object) -> int:
        """A reply to an OPTIONS that we made, whatever it says."""
        if (status := registration.reply_status()) >= 200:
            own.note_reply(status)
        return 1

    @guarded(registration.refuse)
    def REGISTER_REPLY(self, _message: object) -> int:
        """A reply to a REGISTER, which the uac module sees next."""
        status = registration.reply_status()
        registrar.note_reply(status)
        asked = CHALLENGES.get(status)
        if asked is None:
            return 1
        fields = registration.fields(asked.challenge)
        plain = first_plain(fields)
        if not plain:
            _refuse("no challenge that the uac module can answer")
        elif plain != fields[0] and not registration.replace(asked.challenge, plain):
            _refuse("the challenge could not be written anew")
        return 1


def _refuse(reason: str) -> None:
    api.tell(Unregistered(registration.account(), reason))
    registration.refuse(488, "Not Acceptable Here")
