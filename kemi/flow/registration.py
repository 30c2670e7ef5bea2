"""The requests that Kamailio sends on its own: registrations, the dialog module's keepalives, and ours.

The uac module sends REGISTERs, and answers the challenges to them by C code of its own, which knows MD5 alone. Before
it sees a challenge, REGISTER_REPLY does. One that is not of the proven form (auth/plain.py) is written anew in it; if
that cannot be done, the reply becomes a 488, and the registration fails as it would with any other refusal.

A challenge that is stronger, has no such form, stands in the other header than its status says, or brings a nonce that
was answered before, is answered here: the module gets one of the proven form to answer, and as the REGISTER with its
answer leaves, LOCAL_REQUEST puts the right one in its place. The module sends that within the same reply, in the same
process.

Both handlers note how each REGISTER ends, for names/registrations.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kemi.auth import session
from kemi.auth.attempt import CHALLENGES, Attempt, Sent
from kemi.auth.credentials import Credentials
from kemi.auth.plain import first_plain, is_plain
from kemi.auth.session import Failure, Refuse, Resend
from kemi.dialog import late
from kemi.flow import responses
from kemi.outcome import Answered, Refused, Unregistered
from kemi.sip import api, dialog, edit, nat, own, place, registrar, registration, relay, secure, shared
from kemi.sip.api import guarded
from kemi.trunks.hops import Hop
from kemi.trunks.places import Place

if TYPE_CHECKING:
    from kemi.settings import Settings
    from kemi.trunks.store import TrunkStore


class Registration:
    """The handlers of requests that Kamailio sends on its own."""

    _settings: Settings
    _answer: tuple[Attempt, Credentials] | None = None  # to the challenge that the module answers just now

    @property
    def trunks(self) -> TrunkStore:
        """The process's own store (flow/placing.py)."""
        raise NotImplementedError

    def LOCAL_REQUEST(self, _message: object, _event: object) -> int:
        """A request of our own is about to leave: of the uac module, the dialog module, or one that we made."""
        try:
            if request := own.being_sent():
                own.write_sender(request)
                if request.method == "OPTIONS":
                    own.hear("PROBE_REPLY", self._settings.try_seconds)
                elif request.trunk:
                    own.answer_for(request, "FAREWELL_REPLY")
            elif registration.is_register():
                self._register(registrar.sender())
            elif dialog.is_keepalive():
                edit.set_cseq(0, "OPTIONS")  # below all that the callee will send; the module may take a number of his
                nat.name_pbx()
        except Exception as error:
            api.tell_fault_in("LOCAL_REQUEST", error)
        return 1

    def _register(self, uuid: str) -> None:
        if not self._is_secured(uuid):
            registration.hold_back()  # the uac module tries again, when `registering` says so
            return
        registration.screen_replies("REGISTER_REPLY")
        registrar.note_sent(uuid)
        self._write_answer(uuid)

    def _is_secured(self, uuid: str) -> bool:
        """Return True if this trunk's REGISTER needs no connection by TLS, or the one that was judged for it is up."""
        there = place.next_hop() if self._settings.has_tls else Place()
        if there.transport != "tls":
            return True
        trunk = self.trunks.by_uuid(uuid)
        return trunk is not None and secure.look(trunk.wanted.key(Hop(*there).uri)) > 0

    @guarded(relay.reply_nothing)
    def PROBE_REPLY(self, _message: object) -> int:
        """A reply to an OPTIONS that we made, whatever it says."""
        if (status := registration.reply_status()) >= 200:
            own.note_reply(status)
        return 1

    @guarded(relay.reply_nothing)
    def FAREWELL_REPLY(self, _message: object) -> int:
        """A reply to the BYE of a call that was answered late: a challenge of its carrier is answered."""
        status = registration.reply_status()
        if status not in CHALLENGES:
            return 1
        bye = own.kept()
        trunk = self.trunks.by_uuid(bye.trunk)
        if trunk is None or not self.trunks.places(trunk).include(Place.of_uri(bye.next_hop)):
            return 1
        attempt = Attempt(trunk.uuid, trunk.destination, bye.method, in_dialog=True)
        failed = Failure(status, *registration.challenge(status), asked=shared.asked(trunk.uuid, trunk.destination))
        decision = session.after_failure(failed, attempt, trunk.credentials)
        if isinstance(decision, Resend):
            own.send(late.answered(bye, responses.own_fields(decision.attempt, trunk.credentials, bye.uri)))
            for challenge in decision.challenges:
                api.tell(Answered(trunk.uuid, challenge))
        elif isinstance(decision, Refuse):
            api.tell(Refused(trunk.uuid, decision.challenge, decision.reason))
        return 1

    @guarded(registration.refuse)
    def REGISTER_REPLY(self, _message: object) -> int:
        """A reply to a REGISTER, which the uac module sees next."""
        self._answer = None  # the module may have sent nothing after the last one
        status = registration.reply_status()
        registrar.note_reply(status)
        asked = CHALLENGES.get(status)
        if asked is None:
            return 1
        fields, others = registration.challenge(status)
        plain = first_plain(fields)  # the module answers with the header of the status
        trunk = None if relay.attempt().sent else self.trunks.by_uuid(registrar.trunk())  # the module answers once
        if trunk:
            challenged = Attempt(trunk.uuid, trunk.destination, "REGISTER")
            decision = session.after_failure(Failure(status, fields, others), challenged, trunk.credentials)
            if isinstance(decision, Refuse):
                _refuse(decision.reason)
                return 1
            if isinstance(decision, Resend):
                answer = responses.counted(decision.attempt)
                if not (plain and _suit_module(status, answer.sent)):
                    if not self.trunks.places(trunk).can_be_source(place.source()):
                        _refuse("it is not the trunk's next hop")
                        return 1
                    plain = self._decoy(answer, trunk.credentials)
        if not plain:
            _refuse("no challenge that the uac module can answer")
        elif fields[:1] != (plain,) and not registration.replace(asked.challenge, plain):
            _refuse("the challenge could not be written anew")
        return 1

    def _decoy(self, answer: Attempt, credentials: Credentials) -> str:
        """Return the challenge to give to the module, which looks at the realm alone; empty if there can be none."""
        realm = credentials.realm or "-"
        decoy = f'Digest realm="{realm}", nonce="-"'
        if not is_plain(decoy):
            return ""
        self._answer = answer, credentials
        return decoy

    def _write_answer(self, uuid: str) -> None:
        """Put the answer in place of the one that the module has made."""
        made, self._answer = self._answer, None
        if made and made[0].trunk == uuid:
            answer, credentials = made
            relay.keep(answer)
            edit.remove_headers(tuple([names.response for names in CHALLENGES.values()]))
            responses.add_to_branch(answer, credentials)


def _suit_module(status: int, sent: Sequence[Sent]) -> bool:
    """Return True if the module would answer just so: by MD5, and it always sends nc=00000001."""
    return all(one.status == status and one.challenge.hash_name == "MD5" and one.nc == 1 for one in sent)


def _refuse(reason: str) -> None:
    api.tell(Unregistered(registration.account(), reason))
    registration.refuse(488, "Not Acceptable Here")
