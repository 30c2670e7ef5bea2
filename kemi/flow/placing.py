"""Places a request: a new one finds its trunks, and an attempt goes out. What follows a failure is in going_on.py.

A new request is prepared once; each attempt to send it is addressed and shaped. trunks/selection.py chooses the trunks.
"""

from __future__ import annotations

import gc
import secrets
from functools import cached_property
from operator import attrgetter
from random import randrange
from typing import TYPE_CHECKING

from kemi.auth import nonces, session
from kemi.auth.attempt import TO_PBX, Attempt
from kemi.auth.credentials import Credentials
from kemi.dialog import identity, sender
from kemi.dialog.identity import FIELDS, Claims
from kemi.flow import calls, large, limits, nexthop, responses, standings, warming
from kemi.flow.dialogs import Dialogs
from kemi.health import standby
from kemi.outcome import Forbidden, Unreachable, Unusable
from kemi.sip import api, dialog, edit, moving, nat, place, relay, request, room, secure, shared
from kemi.sip.request import Incoming
from kemi.start import key
from kemi.trunks import numbers, selection
from kemi.trunks.groups import CALLERS
from kemi.trunks.large import OR_UDP
from kemi.trunks.plan import FULL, NOTHING, UNREACHABLE, UNUSABLE, Plan, Word
from kemi.trunks.secure import TLS
from kemi.trunks.selection import Asked, Candidates, candidates
from kemi.trunks.store import TrunkStore
from kemi.trunks.trunk import Trunk

if TYPE_CHECKING:
    from kemi.settings import Settings

TIMER = -1  # the rank of timer processes (PROC_TIMER in core/sr_module.h)
ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH"

_UUID = attrgetter("uuid")
_is_emergency = numbers.Numbers().is_emergency  # before its trunk, and so its country, is known


class Placing:
    """Sends requests over trunks. One instance, copied into every process by fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        numbers.load()
        api.use(settings.log, settings.log_level)
        self.has_tls = settings.has_tls
        self._longest_by_udp = large.longest_by_udp(settings)
        secure.use(self.has_tls)
        standby.RUN[0] = secrets.randbits(32)
        self._dialogs = Dialogs(key.load(settings.key_file), standby.RUN)
        self._trunks: TrunkStore | None = None
        self.concerns = session.CONCERNS | settings.next_on

    def child_init(self, rank: int) -> int:
        """Called in every process. SIP workers have a rank of 1 and up; the failure route of a silent trunk is run by a
        timer process.
        """
        if rank > 0:
            gc.freeze()  # the start's objects stay: no collection has to walk through them
            warming.copy_pages()
        if rank > 0 or rank == TIMER:
            self._trunks = TrunkStore(self._settings.local_file, self._settings.db_url, self._settings.names_file)
            self._trunks.warm_up()
            warming.warm_up()
        return 0

    @cached_property
    def trunks(self) -> TrunkStore:
        """The process's own store. Raises RuntimeError if no message is handled in this process."""
        if self._trunks is None:
            raise RuntimeError("no trunks in this process: child_init has not made it one that handles messages")
        return self._trunks

    def may_call(self, _message: object) -> bool:
        """Return True if the sender of the request at hand may send over trunks, to begin a dialog or inside one. A
        script of one's own says more: a phone that has authenticated itself may.
        """
        return request.source_may_call()

    @cached_property
    def knows_callers(self) -> bool:
        """True if no script of one's own says who may call: the sources of group 1 may."""
        return type(self).may_call is Placing.may_call

    # --- a new request

    def place_request(self, incoming: Incoming, order: str) -> None:
        """Route a new request of a source that may call: an INVITE, a MESSAGE, … order: the trunks that it names."""
        most = self._settings.max_cps
        if most and incoming.method == "INVITE" and limits.is_over(most) and not _is_emergency(incoming.dialled):
            relay.reply_try_later(1)
            calls.turned_away(incoming.method, calls.TRY_LATER)
        elif incoming.method == "REGISTER":  # with the trunk's credentials it would move the carrier's account
            relay.reply_with(f"Allow: {ALLOWED}", 405, "Method Not Allowed")  # RFC 3261 8.2.1
        elif not incoming.dialled:
            relay.reply(400, "Not UTF-8")
        else:
            if incoming.group != CALLERS:
                request.disbelieve_identity()
            if incoming.is_behind_nat:
                nat.mend_request()
            asked = Asked(order, incoming.caller, incoming.dialled)
            found = candidates(self.trunks, asked, self._settings.default_trunk)
            if len(found) == 1 and found[0].needs_no_choice:
                self._send_first(incoming, found)
            else:
                self._choose(incoming, found, is_ordered=bool(order))

    def _choose(self, incoming: Incoming, found: Candidates, is_ordered: bool) -> None:
        """Send a new request over the first of the trunks that can be used. is_ordered: True if its caller has named
        them.
        """
        tag = room.source_tag() if any(trunk.policy.source_tag for trunk in found) else ""
        allowed = selection.open_to(found, tag)
        if usable := standings.serving(selection.usable(allowed)):
            self._send_first(incoming, usable if is_ordered else selection.in_order(usable, randrange))
        elif found and not allowed:
            api.tell(Forbidden(found[0].uuid, api.source()))
            self._turn_down(incoming, calls.FORBIDDEN, found[0].uuid)
        else:
            for trunk in allowed[:1]:
                api.tell(Unusable(trunk.uuid, trunk.fault or "it is not enabled"))
            self._turn_down(incoming, UNUSABLE, allowed[0].uuid if allowed else "")

    def _turn_down(self, incoming: Incoming, word: Word, trunk: str) -> None:
        """Answer a new request that is sent nowhere. trunk: the first one that it found."""
        relay.say(word)
        calls.ended(Attempt(trunk, method=incoming.method), word, "")

    def _send_first(self, incoming: Incoming, trunks: Candidates) -> None:
        """Prepare a new request, and send its first attempt."""
        trunk, plan = self._first_place(trunks, incoming)
        is_moved = False  # failure routes start with where the first attempt was to go, sent or not
        is_tracked, admitted = False, None
        attempt, hop, tries = None, "", 0
        while trunk:
            if fault := self.address(trunk, incoming.dialled, plan.hop):
                api.tell(Unusable(trunk.uuid, fault))
                plan = plan.heard(UNUSABLE)
            else:
                if not is_tracked:
                    dialog.place()
                    if incoming.method == "INVITE" and (plan.hops or plan.trunks):
                        relay.try_for(self._settings.try_seconds, self._settings.ring_seconds)
                is_tracked = True
                is_free = trunk is admitted or not (admitted or trunk.has_limits)
                if is_free or limits.admits(trunk, admitted, incoming.method, incoming.dialled):
                    admitted, hop, tries = trunk, plan.hop, tries + 1
                    attempt = self._attempt(incoming, trunk)
                    if is_moved:
                        attempt = attempt._replace(is_moved=True, tries=tries)
                    if self.send_attempt(attempt, plan, trunk.credentials if self._settings.preemptive else None):
                        return
                    is_moved = True
                    tries -= OR_UDP in plan.hop  # by UDP the same place comes again
                    plan = large.unsent(attempt, plan)
                else:
                    plan = plan._replace(hops=()).heard(FULL)
            trunk, plan = self.next_place(plan, trunk, incoming.dialled)
            moving.forget_address(incoming.dialled)
        if plan.word == FULL:
            relay.make_transaction()  # with whose end that of the tracked call comes
        word = plan.word
        if word == NOTHING and not request.came_over_udp():
            word = UNREACHABLE
        if word != NOTHING:
            relay.say(word)
            calls.ended(attempt or Attempt(trunks[-1].uuid, method=incoming.method), word, hop)

    def _attempt(self, incoming: Incoming, trunk: Trunk) -> Attempt:
        """Return the first attempt of a new request over a trunk, with what its carrier sees of the caller."""
        attempt = self._dialogs.new(incoming, trunk)
        if not trunk.destination:
            attempt = self.bound(attempt, trunk)
        if trunk.has_sender:
            attempt = self.shown(attempt, trunk, incoming.caller, incoming.from_tag)
        return attempt

    def _first_place(self, trunks: Candidates, incoming: Incoming) -> tuple[Trunk | None, Plan]:
        """Return as next_place() does what it would of a plan of these trunks: mostly the first of them."""
        names = tuple(map(_UUID, trunks))
        if incoming.size > self._longest_by_udp and incoming.method == "INVITE":
            return self.next_place(Plan(names, is_large=True), None, incoming.dialled)
        if not standings.are_kept() and (hops := nexthop.of_trunk(self.trunks, trunks[0], incoming.dialled)):
            return trunks[0], Plan(names[1:], hops[1:], hops[0])
        return self.next_place(Plan(names), None, incoming.dialled)

    def bound(self, attempt: Attempt, trunk: Trunk) -> Attempt:
        """Return the attempt over a trunk that names no carrier: nobody may get an answer if it goes elsewhere."""
        return nexthop.bound(attempt, self.trunks.places(trunk), place.next_hop())

    def shown(self, attempt: Attempt, trunk: Trunk, caller: str, tag: str, before: str | None = None) -> Attempt:
        """Return the attempt with what its trunk's carrier sees of the caller. caller, tag: of its own From. before:
        what the dialog keeps of it (sender.py), empty if From stays as it is; None if the request is in no dialog.
        """
        uri, is_private = trunk.sender(caller), bool(before) and sender.is_hidden(before or "")
        if kind := trunk.policy.identity:
            said = tuple([request.header(name) for name in FIELDS])
            claims = Claims(said, request.header("Privacy"), caller, is_private)
            given, is_private = identity.fields(kind, claims, trunk.asserted(claims.known)), claims.is_private
            attempt = attempt._replace(identity="".join([f"{field}\n" for field in given]) or "\n")
        own = "" if sender.is_anonymous(caller) or before == "" else sender.own(request.header("From"), caller)
        named = identity.NOBODY if is_private else uri and sender.shown(own, uri)
        if not (named and own):
            return attempt
        kept = ""
        if attempt.mark and before is None:
            kept = sender.conceal(self._dialogs.key, sender.hidden(own) if is_private else own, attempt.dialog)
        return attempt._replace(sender=f"{named};tag={tag}", own=kept)

    def next_place(self, plan: Plan, current: Trunk | None, dialled: str) -> tuple[Trunk | None, Plan]:
        """Return the trunk to go on with, None if there is none left, and the plan with its next hop. current: the last
        one, whose other hops come first. A name that nobody has tried to resolve yet says no word.
        """
        if not plan.has_room:
            return None, plan
        if plan.hops and current:
            return current, plan._replace(hop=plan.hops[0], hops=plan.hops[1:])
        while plan.trunks:
            trunk = self.trunks.by_uuid(plan.trunks[0])
            plan = plan._replace(trunks=plan.trunks[1:], hops=())
            if trunk is None or not trunk.policy.enabled:
                continue  # since the plan was made
            hops = nexthop.of_trunk(self.trunks, trunk, dialled)
            if hops:
                if standings.are_kept():
                    standings.note_tried(trunk.uuid)
                if plan.is_large:
                    hops = large.of_trunk(self.trunks, trunk, dialled, hops, self._settings)
                return trunk, plan._replace(hop=hops[0], hops=hops[1:])
            if hops is not None or plan.trunks or not request.came_over_udp():
                api.tell(Unreachable(trunk.uuid))
                plan = standings.unreachable(trunk.uuid, plan)
        return None, plan

    def address(self, trunk: Trunk, dialled: str, hop: str) -> str:
        """Address one attempt over this trunk; return why that cannot be, empty if it can."""
        is_written = trunk.domain or trunk.shapes_numbers
        first, by_size, _ = hop.partition(OR_UDP)
        sip_socket = large.leaves_from(self._settings, first) if by_size else trunk.socket
        edit.address_to(trunk.request_uri(dialled) if is_written else "", first, sip_socket)
        if not trunk.next_hop and request.leads_to_us():
            return "auth_proxy and r_domain are empty and the R-URI is ours"
        if trunk.socket and not edit.leaves_from(trunk.socket):
            return "socket is not one that Kamailio listens on"
        return ""

    # --- an attempt

    def send_attempt(self, attempt: Attempt, plan: Plan, credentials: Credentials | None) -> bool:
        """Send an attempt that is no answer to a challenge. Return False if it cannot be sent. credentials: for
        preemptive responses, None if there may be none.
        """
        is_by_tls = plan.hop.endswith(TLS) and attempt.destination != TO_PBX
        if is_by_tls and not self.is_secured(attempt, plan.hop):
            return False
        record = nonces.UNKNOWN
        if credentials:
            record = shared.record(attempt.trunk, attempt.destination)
            if record.held:
                attempt = responses.preemptive(attempt, record, credentials)
        is_heard = attempt.method == "INVITE" and (attempt.sent or not attempt.in_dialog)
        teaches = record.names_next if attempt.in_dialog else self._settings.preemptive
        hears = is_heard or teaches or attempt.number != attempt.cseq or attempt.sender
        is_by_size = OR_UDP in plan.hop
        if (goes_on := plan.goes_on or is_by_size) or attempt.is_moved or is_by_tls:
            relay.keep_plan(plan)
            attempt = attempt._replace(goes_on=goes_on)
        if goes_on:
            relay.leave_the_last_word()
        if is_by_size or (plan.is_large and attempt.is_moved):
            large.wait(plan, self._settings)
        return relay.send(attempt, "REPLY" if hears else "")

    def is_secured(self, attempt: Attempt, hop: str) -> bool:
        """Have the attempt leave by the judged connection to this hop by TLS. Return False if there is none."""
        trunk = self.trunks.by_uuid(attempt.trunk)
        return trunk is not None and secure.leave_by(trunk.wanted.key(hop))

    def trunk_now(self, attempt: Attempt) -> Trunk | None:
        """Return the attempt's trunk as its row is now. The worker that relayed may have seen a change before us."""
        if not attempt.trunk:
            return None
        trunk = self.trunks.by_uuid(attempt.trunk)
        if trunk is None or trunk.destination != attempt.destination:
            self.trunks.look_again()
            trunk = self.trunks.by_uuid(attempt.trunk)
        return trunk
