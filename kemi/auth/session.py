"""Decides how a request is authenticated, from its first attempt to its last: RFC 3261 22.2 and 22.3, RFC 7616 3.3.

The rules:

1. A failure other than 401 and 407 is passed on, but for those of rule 9, and for a 403 to preemptive responses that
   nobody asked for: the request is sent again without them, unless the carrier has already let it pass (it rang), or
   speaks of a limit.
2. A caller who has cancelled gets 487 and no new attempt.
3. A challenge is answered only for the carrier that the trunk's row names, then as now. A Route, a Contact, or the
   dialled domain over a row that names no carrier may lead elsewhere: the answer has to go to a place of that carrier,
   and in a dialog the challenge has to come from one (trunks/places.py). That is address, port and transport of the
   row's next hop, of the peer that answered the dialog's first INVITE, or of a row of `address` with the trunk's name.
4. A preemptive response that is challenged again says nothing about the credentials: nonces expire. The nonce cache
   forgets it, and the challenge counts as the first one.
5. Everything else about a challenge is this table; the first line that holds decides. "Ours" is a challenge whose
   realm is the row's, or any realm if the row names none. "Usable" is one whose algorithm is known, for whose hash the
   row has a secret, and whose qop can be computed: none, auth, or auth-int if the body can be read. Two challenges are
   "the same" if kind and realm are equal. The kind is told by the header field, not by the status: a 401 with
   Proxy-Authenticate is answered by Proxy-Authorization. A proxy that has forked puts the challenges of all branches
   into one reply, of both kinds (RFC 3261 16.7, step 7).

       the reply, and what this request was challenged with     decision
       -------------------------------------------------------  ----------------------------------------------------
       no field is a Digest challenge                           refuse: no digest challenge, or the fault in it
       none is ours                                             refuse: realm not the trunk's
       none of ours is as this carrier asks                     refuse: not as the trunk's carrier asks
       none of ours is usable                                   refuse: no secret, algorithm or qop for it
       4 challenges of this request were answered, over all
         of its trunks                                          refuse: too many challenges; no fault of a trunk's
                                                                  that asks after others have, and not again
       the same was answered before; the new one is not stale,
         nor has another nonce after the old one was proven     refuse: credentials refused
       otherwise                                                resend, with the response to the strongest of ours of
                                                                each kind and realm (RFC 3261 22.3)

6. The strongest is SHA-512-256, then SHA-256, then MD5, each before its -sess form; of equals the carrier's first.
7. The resend also carries a fresh response to every other challenge that was answered before: a proxy that let the
   request pass asks for its credentials again. Preemptive responses of a kind that is answered and another realm are
   left out: whoever asked has not taken them, and may read no further than the first.
8. A carrier asks by the kinds and realms that it has accepted answers to; the first contact is free. After it, the same
   realm by another kind is a far end's; so is another realm behind a server that let this request pass, or by another
   kind, as long as a challenge of its own kinds in the same reply can be answered. A row may say that its carrier asks
   alone (`asks_alone`): then that holds at the first contact too, for whoever asks after the first in the same request,
   or by the other kind in the same reply. A row that has a realm may answer far ends too (`answers_far_end`): some
   carriers pass on what machines of theirs ask.
9. A request outside a dialog goes on to the next hop of its trunk, or to the next trunk, if there is one: when nothing
   came in time (an INVITE alone: another request would come twice), on the statuses of TRUNKAUTH_NEXT_ON, on a 403 that
   speaks of a limit, and in place of a refusal by the table. Not once its caller was told that it rings.

A new nonce without `stale` does not earn a retry, although some clients retry once: nearly every server sends a new
nonce with each challenge, so it tells a wrong password from an expired nonce no better than the old nonce would, and
each retry brings the carrier's lock-out nearer. A preemptive response can have expired, hence rule 4.

Pure: no I/O, no clock, no state. Facts come in, a decision goes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from kemi.auth import nonces, resend
from kemi.auth.attempt import CHALLENGES, OTHER_KIND, Attempt, Responses, Sent
from kemi.auth.challenge import Challenge, ChallengeError, parse
from kemi.auth.credentials import Credentials
from kemi.auth.nonces import Record
from kemi.auth.plain import suits_uac_auth
from kemi.auth.resend import Asked, Posed
from kemi.trunks.plan import SERVICE_UNAVAILABLE, TIMEOUT

FORBIDDEN = 403
# Any other status is passed on, but for those of TRUNKAUTH_NEXT_ON.
CONCERNS = frozenset({*CHALLENGES, FORBIDDEN, TIMEOUT, SERVICE_UNAVAILABLE})


class Failure(NamedTuple):
    """A final reply to an attempt.

    fields: the values of its challenge fields of the status's kind in order: WWW-Authenticate of a 401,
    Proxy-Authenticate of a 407. others: those of the other kind. is_cancelled: True if the caller has cancelled.
    is_carriers: False if it came, in a dialog, from a place that is not the carrier's. can_read_body: False if the
    request's body is too long. asked: how this carrier asks; empty if that is not known. is_silent: True if nothing
    came in time. says_limit: True if it says that the carrier has no room for one call more. over: the transport of a
    challenge, empty if that is not known.
    """

    status: int
    fields: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    is_cancelled: bool = False
    is_carriers: bool = True
    can_read_body: bool = True
    asked: Asked = frozenset()
    is_silent: bool = False
    says_limit: bool = False
    over: str = ""


class PassOn(NamedTuple):
    """Pass the failure on to the caller."""


class Cancelled(NamedTuple):
    """End the request with 487: its caller has cancelled."""


class Refuse(NamedTuple):
    """End the request with 503.

    reason: for the operator. challenge: the one refused, if any. rejected: preemptive responses that it rejected.
    """

    reason: str
    challenge: Challenge | None = None
    rejected: tuple[Sent, ...] = ()

    @property
    def is_nobodys(self) -> bool:
        """True if it is no fault of the trunk's."""
        return self.reason in (resend.SPENT, resend.NO_ROOM)


class Resend(NamedTuple):
    """Send the request again.

    attempt: with the responses that it is to carry. challenges: those that are answered, one of each kind and realm;
    none if nothing was asked. is_plain: True if uac_auth() may be given the challenge (plain.py). rejected: the
    preemptive responses that the failure rejected.
    """

    attempt: Attempt
    challenges: tuple[Challenge, ...] = ()
    is_plain: bool = False
    rejected: tuple[Sent, ...] = ()

    @property
    def challenge(self) -> Challenge | None:
        """The first that is answered, None if nothing was asked."""
        return self.challenges[0] if self.challenges else None

    @property
    def suits_uac_auth(self) -> bool:
        """True if uac_auth() would answer just so, on every version from 5.6 to 6.1: it always sends nc=00000001."""
        return self.is_plain and len(self.attempt.sent) == 1 and self.attempt.sent[0].nc == 1


class NextTrunk(NamedTuple):
    """Send the request to the next place of its plan. refusal: of a challenge, None if there was none to answer."""

    refusal: Refuse | None = None


Decision = PassOn | Cancelled | Refuse | Resend | NextTrunk


class Preemptive(NamedTuple):
    """Responses that a request can carry before it is challenged. counters: of their nonces, in the same order."""

    sent: tuple[Sent, ...]
    counters: tuple[str, ...]
    responses: Responses


def first_request(record: Record, credentials: Credentials) -> Preemptive | None:
    """Return the responses that a new request carries, None if the nonce cache or the row has none for it."""
    ready = _READY.get(credentials)
    if ready is None or ready[0] is not record:
        ready = _READY[credentials] = (record, _preemptive(record, credentials))
    return ready[1]


def responses(sent: Sequence[Sent], credentials: Credentials) -> Responses:
    """Return the responses to these challenges, each of which the credentials can answer."""
    _, ready = _READY.get(credentials, (None, None))
    if ready and [one[1] for one in ready.sent] == [one[1] for one in sent]:
        return ready.responses
    made = tuple([credentials.response(one.challenge) for one in sent])
    return Responses(made, any(response.covers_body for response in made))


def after_reply(record: Record, attempt: Attempt, proves: bool, next_nonces: Mapping[int, str], now: float) -> Record:
    """Return the carrier's nonce record after it let an attempt pass; the same object if it taught nothing.

    proves: True if this is the request's first such reply, and one for which the carrier checked the responses.
    next_nonces: status -> the nonce that an Authentication-Info named for it. now: seconds of the epoch.
    """
    if proves:
        record = nonces.accepted(record, attempt.sent, attempt.destination, now)
    for used in attempt.sent:
        if nonce := next_nonces.get(used.status):
            record = nonces.replaced(record, used, attempt.destination, nonce, now)
    return record


def after_failure(
    failure: Failure, attempt: Attempt, credentials: Credentials | None, next_on: frozenset[int] = frozenset()
) -> Decision:
    """Decide about a final reply, or its absence. credentials: those of the attempt's trunk as its row is now, None
    without a row. next_on: statuses on which the next trunk is tried.
    """
    rejected = _rejected(failure, attempt) if attempt.sent and not failure.says_limit else ()
    leaves = failure.is_silent or failure.says_limit or failure.status in next_on
    if not (rejected or leaves or failure.status in CHALLENGES):
        return PassOn()
    if failure.is_cancelled:
        return Cancelled()
    may_go_on = attempt.goes_on and not attempt.is_accepted and (attempt.method == "INVITE" or not failure.is_silent)
    if failure.status in CHALLENGES:
        decision = _about_challenge(failure, attempt, credentials, rejected)
        return NextTrunk(decision) if may_go_on and isinstance(decision, Refuse) else decision
    if rejected:
        return Resend(attempt._replace(sent=()), rejected=rejected)
    return NextTrunk() if may_go_on else PassOn()


def _about_challenge(
    failure: Failure, attempt: Attempt, credentials: Credentials | None, rejected: tuple[Sent, ...]
) -> Refuse | Resend:
    """Decide about a challenge. rejected: the preemptive responses that it rejects."""
    if credentials is None:
        return Refuse("no trunk that may answer", rejected=rejected)
    if not (failure.is_carriers and credentials.destination == attempt.destination):  # rule 3
        return Refuse("not asked by the trunk's carrier", rejected=rejected)
    decision = _answer(failure, attempt, credentials)
    return decision._replace(rejected=rejected) if rejected else decision


def _rejected(failure: Failure, attempt: Attempt) -> tuple[Sent, ...]:
    """Return the preemptive responses that a challenge of their kind, or a 403, rejects (rules 1 and 4)."""
    preemptive = tuple([one for one in attempt.sent if not one.challenged])
    if failure.status == FORBIDDEN:
        return preemptive if len(preemptive) == len(attempt.sent) and not attempt.is_accepted else ()
    by_status = failure.fields or not failure.others
    is_rejected = any(by_status if one.status == failure.status else failure.others for one in preemptive)
    return preemptive if is_rejected else ()


def _answer(failure: Failure, attempt: Attempt, credentials: Credentials) -> Refuse | Resend:
    """Decide about a challenge of the trunk's carrier (rules 5 to 7)."""
    posed, fault = _read(failure)
    if not posed:
        return Refuse(fault or "no digest challenge")
    ours = [(kind, challenge) for kind, challenge in posed if credentials.are_for(challenge)]
    if not ours:
        return Refuse("realm not the trunk's", posed[0][1])
    known = resend.known(failure.asked, attempt.sent, credentials)
    asked = resend.of_carrier(ours, attempt.sent, known, credentials.asks_alone)
    if not asked:
        return Refuse("not as the trunk's carrier asks", ours[0][1])
    can_read = failure.can_read_body
    usable = [(kind, challenge) for kind, challenge in asked if credentials.can_answer(challenge, can_read)]
    if not usable:
        return Refuse("no secret, algorithm or qop for it", asked[0][1])
    if failure.fields and failure.others:
        usable = resend.of_its_kinds(usable, known, credentials.asks_alone)
    chosen = resend.strongest(usable) if len(usable) > 1 else usable
    if refusal := resend.refusal(chosen, attempt):
        return Refuse(*refusal)
    sent = resend.carried(chosen, attempt.sent)
    is_first = chosen == posed[:1] and chosen[0][0] == failure.status
    is_plain = is_first and suits_uac_auth(failure.fields[0], credentials)
    answered = attempt.answered + len(chosen)
    challenges = tuple([challenge for _, challenge in chosen])
    return Resend(attempt._replace(sent=sent, answered=answered, by_uac_auth=False), challenges, is_plain)


def _read(failure: Failure) -> tuple[list[Posed], str]:
    """Return the challenges of all readable fields, those of the status's kind first, and the first fault in the
    others.
    """
    posed: list[Posed] = []
    fault = ""
    for kind, fields in ((failure.status, failure.fields), (OTHER_KIND[failure.status], failure.others)):
        for text in fields:
            try:
                for challenge in parse(text):
                    posed.append((kind, challenge))
            except ChallengeError as error:
                fault = fault or f"a challenge with {error}"
    return posed, fault


def _preemptive(record: Record, credentials: Credentials) -> Preemptive | None:
    held = resend.of_first(record.held) if credentials.asks_alone else record.held
    usable = [
        (one, counter)
        for one, counter in zip(record.held, record.counters, strict=True)
        if one in held
        and credentials.are_for(one.challenge)
        and credentials.can_answer(one.challenge, can_read_body=True)
    ]
    if not usable:
        return None
    sent, counters = zip(*usable, strict=True)
    return Preemptive(sent, counters, responses(sent, credentials))


# Responses that are ready for the next request. They go with the row's Credentials: no secret outlives its row.
_READY: WeakKeyDictionary[Credentials, tuple[Record, Preemptive | None]] = WeakKeyDictionary()
