"""The responses that attempts carry: made, counted, and what replies teach about their nonces.

The rules stand in auth/session.py and auth/nonces.py; the nonce cache lies in shared memory (sip/shared.py).
"""

from __future__ import annotations

import os
import time

from kemi.auth import nonces, session
from kemi.auth.attempt import CHALLENGES, ELSEWHERE, Attempt, Sent
from kemi.auth.challenge import next_nonce
from kemi.auth.credentials import Credentials
from kemi.auth.digest import Request
from kemi.auth.nonces import Record
from kemi.auth.resend import learned
from kemi.metrics import counts
from kemi.outcome import BackedOff
from kemi.sip import api, body, relay, reply, shared

CNONCE_BYTES = 16


def preemptive(attempt: Attempt, record: Record, credentials: Credentials) -> Attempt:
    """Return the attempt with the preemptive responses that the record has for it, if any."""
    ready = session.first_request(record, credentials)
    if ready is None or (ready.responses.covers_body and not body.can_read_body()):
        return attempt
    sent = []
    for one, counter in zip(ready.sent, ready.counters, strict=True):
        count = shared.next_count(counter) if counter else 1
        if count < 1:
            return attempt
        sent.append(one._replace(nc=count))
    return attempt._replace(sent=tuple(sent))


def counted(attempt: Attempt) -> Attempt:
    """Return a resend with nonce counts that no other request has: a carrier may give several calls one nonce."""
    sent = list(attempt.sent)
    for place, one in enumerate(sent):
        counter = nonces.counter(attempt.destination, one)
        count = shared.next_count(counter) if counter else 0
        if count == 1:
            shared.keep_count(counter, nonces.COUNT_UNPROVEN)
        if count > one.nc:
            sent[place] = one._replace(nc=count)
    return attempt if tuple(sent) == attempt.sent else attempt._replace(sent=tuple(sent))


def add_to_branch(attempt: Attempt, credentials: Credentials) -> None:
    """Add the attempt's responses to the branch at hand alone.

    An R-URI that is not UTF-8 gets none: the request goes as it would have gone without.
    """
    responses = session.responses(attempt.sent, credentials)
    try:
        covered = body.covered_by_digest(attempt.method, responses.covers_body)
    except UnicodeDecodeError:
        relay.keep(attempt._replace(sent=()))
    else:
        relay.add_to_branch(responses.headers(attempt.sent, covered, os.urandom(CNONCE_BYTES).hex()))


def own_fields(attempt: Attempt, credentials: Credentials, uri: str) -> list[str]:
    """Return the header fields that carry the attempt's responses, in a request of ours, which has no body."""
    sent = counted(attempt).sent
    made = session.responses(sent, credentials)
    return made.headers(sent, Request(attempt.method, uri), os.urandom(CNONCE_BYTES).hex())


def forget(attempt: Attempt, rejected: tuple[Sent, ...]) -> None:
    """Take rejected preemptive responses out of the nonce cache; back off from a carrier that keeps rejecting them."""
    if not attempt.in_dialog:  # where not every reply is heard
        counts.count_preemptive(attempt.trunk, counts.TURNED_DOWN)
    before = shared.record(attempt.trunk, attempt.destination)
    after = nonces.rejected(before, rejected, time.time())
    if after is not before:
        shared.set_record(attempt.trunk, attempt.destination, after)
        if after.rejected >= nonces.MOST_REJECTED:
            api.tell(BackedOff(attempt.trunk, nonces.BACK_OFF))


def learn(status: int, attempt: Attempt) -> Attempt:
    """Learn from the first 18x or 2xx that the carrier accepts the attempt's nonces, and from a 2xx its next ones.
    Return the attempt, which is accepted then.

    By the time of a later reply, the carrier may have rejected the same nonce elsewhere. Few carriers check preemptive
    responses in an OPTIONS, or inside a dialog.
    """
    if not attempt.destination:
        return attempt
    is_first = not attempt.is_accepted
    if is_first:
        attempt = attempt._replace(is_accepted=True)
        for one in attempt.sent:
            if not one.challenged and not attempt.in_dialog:
                counts.count_preemptive(attempt.trunk, counts.ACCEPTED)
                break
    checks_all = attempt.method != "OPTIONS" and not attempt.in_dialog
    proves = is_first and (checks_all or any(one.challenged for one in attempt.sent))
    named = _next_nonces(attempt) if status >= 200 else {}
    if not (proves or named):
        return attempt
    before = shared.record(attempt.trunk, attempt.destination)
    after = session.after_reply(before, attempt, proves, named, time.time())
    if after is not before:
        shared.set_record(attempt.trunk, attempt.destination, after)
        for counter in filter(None, after.counters if proves else ()):
            shared.keep_count(counter, nonces.COUNT_KEPT)
    return attempt


def note_asked(attempt: Attempt) -> None:
    """Note how the carrier asks: it has accepted the answers to its challenges (session.py, rule 8)."""
    if attempt.is_accepted or attempt.destination == ELSEWHERE:
        return
    for one in attempt.sent:
        if one.challenged:
            before = shared.asked(attempt.trunk, attempt.destination)
            shared.set_asked(attempt.trunk, attempt.destination, learned(before, attempt.sent))
            return


def _next_nonces(attempt: Attempt) -> dict[int, str]:
    """Return status -> the nonce that the reply names for the next response to such a challenge (RFC 7616 3.5).

    A proxy that asked alone may say Authentication-Info, as Kamailio does: nobody else has a nonce to name.
    """
    infos = {one.status: reply.header(CHALLENGES[one.status].info) for one in attempt.sent}
    if 401 not in infos and not infos[407]:
        infos[407] = reply.header(CHALLENGES[401].info)
    return {status: nonce for status, info in infos.items() if info and (nonce := next_nonce(info))}
