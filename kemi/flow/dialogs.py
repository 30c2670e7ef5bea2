"""The dialogs that go through this deployment: which one a request belongs to, and which CSeq it has.

What a request says of its dialog is read from its mark (mark.py); the CSeqs sent so far lie in shared memory (cseq.py
has the rules). No state of a dialog is needed on the node: after a restart, or on another node, it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kemi.auth.attempt import ELSEWHERE, TO_PBX, Attempt
from kemi.dialog import cseq
from kemi.dialog.mark import LONGEST_LIFE, Direction, Mark, dialog_id, fingerprint, seal, unseal
from kemi.sip import dialog, place, shared, wanted
from kemi.sip.request import Incoming
from kemi.sip.strays import Stray
from kemi.sip.within import Within
from kemi.trunks.places import Place
from kemi.trunks.trunk import Trunk

STARTS_DIALOG = frozenset({"INVITE", "SUBSCRIBE", "REFER"})

KEPT = 0  # for the table's own time (kamailio.cfg): a call's whole setup, and then a caller may try again
KEPT_ANSWERED = 32  # seconds: requests sent before an INVITE was answered may be under way (64 * T1, RFC 3261 17.1.1.1)
KEPT_RAISED = 86400  # seconds for which a dialog may need what was raised inside it


class Opened(NamedTuple):
    """The dialog of a request: its mark, which way the request goes, and the key of its CSeqs."""

    mark: Mark
    direction: Direction
    sequence: str


@dataclass(frozen=True)
class Dialogs:
    """key: the deployment's. run: its one number is health.standby.RUN."""

    key: bytes
    run: Sequence[int]

    def opened(self, incoming: Incoming | Within) -> Opened | None:
        """Return the dialog of a message; None if its mark is not ours, of another dialog, or older than a day and of a
        dialog that Kamailio does not track either.
        """
        opened = self._opened(incoming.mark, incoming.call_id, incoming.from_tag, incoming.to_tag)
        if opened and (_age(opened.mark) < LONGEST_LIFE or dialog.is_known()):
            return opened
        return None

    def opened_by(self, reply: Stray) -> Opened | None:
        """Return the dialog of a 2xx to an INVITE that matches no transaction; None if nothing shows that the INVITE
        went through this deployment today.
        """
        if reply.method != "INVITE" or not 200 <= reply.status < 300:
            return None
        for value in reply.marks:
            opened = self._opened(value, reply.call_id, reply.from_tag, reply.to_tag)
            if opened and _age(opened.mark) < LONGEST_LIFE:
                return opened
        return None

    def _opened(self, value: str, call_id: str, from_tag: str, to_tag: str) -> Opened | None:
        """Return the dialog of a mark, whatever its age."""
        if not value:
            return None
        for tag, is_the_callers in ((from_tag, True), (to_tag, False)):
            name = dialog_id(call_id, tag)
            if mark := unseal(self.key, value, name):
                direction = Direction.FROM_TRUNK if mark.is_inbound is is_the_callers else Direction.TO_TRUNK
                return Opened(mark, direction, _sequence(name, mark))
        return None

    def is_of(self, opened: Opened, trunk: Trunk) -> bool:
        """Return True if the trunk's row still has the destination that the dialog was set up with."""
        return fingerprint(self.key, trunk.destination) == opened.mark.destination

    def new(self, incoming: Incoming, trunk: Trunk) -> Attempt:
        """Return the first attempt of a new request. Raises cseq.TooHighError."""
        method, caller = incoming.method, incoming.cseq
        name, destination = dialog_id(incoming.call_id, incoming.from_tag), fingerprint(self.key, trunk.destination)
        sequence = f"{name}{destination.hex()}"
        number = caller
        if method != "INVITE" or not shared.is_first_invite(sequence):
            number = shared.next_number(sequence, method, caller, lambda sent: (cseq.first(sent, caller), KEPT))
        sealed, now = "", time.time()
        is_limited = trunk.policy.max_calls > 0 and trunk.counts(method, incoming.dialled)
        if method in STARTS_DIALOG:
            way_back = place.way_back()
            wanted.want_name_in(way_back)  # Kamailio asks there now and then if the call is up
            back = fingerprint(self.key, place.of_field(way_back))
            mark = Mark(
                trunk.row, destination, back, caller, number - caller, int(now), self.run[0], is_limited=is_limited
            )
            sealed = seal(self.key, mark, name)
        return Attempt(
            trunk.uuid, trunk.destination, method, sequence, caller, number, sealed,
            began=int(1000 * now), tries=1, is_limited=is_limited,
        )  # fmt: skip

    def to_pbx(self, incoming: Incoming, trunk: Trunk) -> Attempt:
        """Return the first attempt of a new request of the trunk's carrier, whose number no PBX sees raised."""
        method, caller = incoming.method, incoming.cseq
        now = time.time()
        destination = fingerprint(self.key, trunk.destination)
        is_limited = trunk.policy.max_calls > 0 and trunk.counts(method, "")
        mark = Mark(trunk.row, destination, bytes(8), caller, 0, int(now), self.run[0], True, is_limited)
        sequence = _sequence(dialog_id(incoming.call_id, incoming.from_tag), mark)
        attempt = Attempt(
            trunk.uuid, TO_PBX, method, sequence, caller, caller, began=int(1000 * now), is_limited=is_limited
        )
        return attempt._replace(mark=seal(self.key, mark, attempt.dialog)) if method in STARTS_DIALOG else attempt

    def to_pbx_at(self, attempt: Attempt, pbx: Place) -> Attempt:
        """Return an attempt of to_pbx() with the place that it goes to in its mark."""
        mark = unseal(self.key, attempt.mark, attempt.dialog) if attempt.mark else None
        if mark is None:
            return attempt
        marked = mark._replace(pbx=fingerprint(self.key, pbx.text))
        return attempt._replace(mark=seal(self.key, marked, attempt.dialog))

    def inside(self, incoming: Incoming, opened: Opened, trunk: Trunk | None) -> Attempt:
        """Return the first attempt of a request to the trunk inside a dialog; trunk: None if it may not answer. Raises
        cseq.TooHighError.
        """
        (mark, _, sequence), method, caller = opened, incoming.method, incoming.cseq
        uuid, destination = "", ""
        if trunk:
            uuid, destination = trunk.uuid, trunk.destination if self.is_of(opened, trunk) else ELSEWHERE
        base = caller + mark.raised
        unknown = 0
        if mark.run != self.run[0]:
            unknown = cseq.unknown(None if mark.is_inbound else caller - mark.cseq, _age(mark))
        number = base
        is_forked = False
        before = shared.sequence(sequence) if method == "BYE" else cseq.NONE_SENT
        if method != "BYE" or unknown or before.highest:  # nothing follows a BYE

            def choose(sent: cseq.Sequence) -> tuple[int, int]:
                number = cseq.first(sent, base + unknown)
                return number, KEPT if number == base else KEPT_RAISED

            leg = cseq.leg(incoming.from_tag, incoming.to_tag)
            number = shared.next_number(sequence, method, caller, choose, leg)
            is_forked = not {leg}.issuperset(before.legs)
        elif base >= cseq.BEYOND:
            raise cseq.TooHighError(f"CSeq {base}")
        attempt = Attempt(uuid, destination, method, sequence, caller, number, in_dialog=True, is_forked=is_forked)
        if method != "INVITE":
            return attempt
        marked = mark._replace(cseq=caller, raised=number - caller, run=self.run[0])
        return attempt._replace(mark=seal(self.key, marked, attempt.dialog))

    def cseq_of(self, opened: Opened, number: int) -> int | None:
        """Return the caller's CSeq of the INVITE that a stray 2xx with this number answers, None if it answers another
        one than its mark was made for. Its ACK will have that number, whatever has been forgotten since.
        """
        mark = opened.mark
        if mark.cseq + mark.raised != number:
            return None
        if mark.run != self.run[0]:
            shared.note_invite(opened.sequence, mark.cseq, number, KEPT_RAISED)
        return mark.cseq

    def again(self, attempt: Attempt) -> Attempt:
        """Return the attempt with the CSeq of its resend. Raises cseq.TooHighError."""
        seconds = KEPT_RAISED if attempt.in_dialog else KEPT
        number = shared.next_number(
            attempt.sequence, attempt.method, attempt.cseq, lambda sent: (cseq.resend(sent, attempt.number), seconds)
        )
        name = attempt.dialog
        mark = unseal(self.key, attempt.mark, name) if attempt.mark else None
        if mark is None:
            return attempt._replace(number=number)
        return attempt._replace(number=number, mark=seal(self.key, mark._replace(raised=number - attempt.cseq), name))

    def answered(self, attempt: Attempt) -> None:
        """Forget the numbers that nobody will count on after this attempt's 2xx."""
        if attempt.method == "BYE":
            if not attempt.is_forked:
                shared.forget_sequence(attempt.sequence, KEPT_ANSWERED)
        elif attempt.in_dialog or attempt.number != attempt.cseq or attempt.destination == TO_PBX:
            return
        elif attempt.method == "INVITE":
            shared.forget_first_invite_soon(attempt.sequence)
        else:
            shared.forget_soon(attempt.sequence, cseq.Sequence(attempt.number), KEPT_ANSWERED)

    def over(self, attempt: Attempt, trunk: Trunk, dialled: str) -> Attempt:
        """Return the first attempt over another trunk, after this one. dialled: the R-URI as it came in. Raises
        cseq.TooHighError.
        """
        destination = fingerprint(self.key, trunk.destination)
        sequence = f"{attempt.dialog}{destination.hex()}"
        method, caller = attempt.method, attempt.cseq
        number = shared.next_number(sequence, method, caller, lambda sent: (cseq.resend(sent, attempt.number), KEPT))
        is_limited = trunk.policy.max_calls > 0 and trunk.counts(method, dialled)
        moved = Attempt(
            trunk.uuid, trunk.destination, method, sequence, caller, number, answered=attempt.answered,
            began=attempt.began, tries=attempt.tries + 1, is_limited=is_limited,
        )  # fmt: skip
        mark = unseal(self.key, attempt.mark, attempt.dialog) if attempt.mark else None
        if mark is None:
            return moved
        marked = mark._replace(row=trunk.row, destination=destination, raised=number - caller, is_limited=is_limited)
        return moved._replace(mark=seal(self.key, marked, attempt.dialog))

    def number_of_invite(self, opened: Opened, caller: int) -> int:
        """Return the CSeq of the INVITE that the caller knows by this number, for its ACK and its PRACKs."""
        mark = opened.mark
        raised = caller + mark.raised
        if caller == mark.cseq and not mark.is_inbound:  # then the mark is of the carrier's INVITE, not the PBX's
            return raised
        return cseq.of_invite(shared.sequence(opened.sequence), caller, raised)


def _sequence(name: str, mark: Mark) -> str:
    """Return the key of the CSeqs sent to the trunk in a dialog (dialog_id). A call that a carrier sends back to us has
    a dialog on either side, with one Call-ID and one caller.
    """
    return f"{name}{mark.destination.hex()}{'<' if mark.is_inbound else ''}"


def call_of(sequence: str) -> str:
    """Return the name of a call among those that hold a place: its dialog's, and on which side it is."""
    return sequence[:32] + sequence[48:]


def _age(mark: Mark) -> int:
    return int(time.time()) - mark.since
