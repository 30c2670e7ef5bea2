"""What all workers share, in tables of the htable module (kamailio.cfg): the nonce cache, how carriers ask, the CSeqs
sent so far, the credentials that ACKs repeat, what sources have sent. A key is a hash, or parts of a row with a line
end between them. A text that is being written may be read torn, and then it may be no UTF-8: it counts as none.
"""

from __future__ import annotations

from collections.abc import Callable

import KSR

from kemi.auth import codec
from kemi.auth.nonces import UNKNOWN, Record
from kemi.auth.resend import Asked
from kemi.dialog.cseq import NONE_SENT, Sequence, noted, with_invite


def record(trunk: str, destination: str) -> Record:
    """Return the record of a trunk and destination."""
    try:
        value = KSR.htable.sht_get("nonces", f"{trunk}\n{destination}")
    except UnicodeDecodeError:  # torn
        return UNKNOWN
    return codec.record(value) if isinstance(value, str) else UNKNOWN


def set_record(trunk: str, destination: str, record: Record) -> None:
    """Keep the record of a trunk and destination until it expires."""
    KSR.htable.sht_sets("nonces", f"{trunk}\n{destination}", codec.record_text(record))


def asked(trunk: str, destination: str) -> Asked:
    """Return how the carrier of a trunk and destination asks."""
    try:
        value = KSR.htable.sht_get("asked", f"{trunk}\n{destination}")
    except UnicodeDecodeError:  # torn
        return frozenset()
    return codec.asked(value) if isinstance(value, str) else frozenset()


def set_asked(trunk: str, destination: str, asked: Asked) -> None:
    """Keep how the carrier of a trunk and destination asks."""
    KSR.htable.sht_sets("asked", f"{trunk}\n{destination}", codec.asked_text(asked))


def next_count(counter: str) -> int:
    """Return 1 for the first caller in any process, 2 for the second, …; below 1 if it cannot be counted."""
    return KSR.htable.sht_inc("nonce_counts", counter)


def keep_count(counter: str, seconds: int) -> None:
    """Let a count expire after that long without use."""
    KSR.htable.sht_setex("nonce_counts", counter, seconds)


def count_call(source: str, second: int) -> int:
    """Count a new call of a source; return how many it has placed in this second."""
    return KSR.htable.sht_inc("calls", f"{source} {second}")


def note_failure(trunk: str, now: int, status: int, reason: str) -> None:
    """Note the last call that failed over a trunk; now: seconds of the epoch."""
    KSR.htable.sht_sets("failures", trunk, codec.failure_text(now, status, reason))


def set_lately(trunk: str, calls: int, failed: int) -> None:
    """Keep how many calls a trunk has had in the last minutes, and how many of them failed."""
    KSR.htable.sht_sets("lately", trunk, codec.lately_text(calls, failed))


def count_minute(source: str, minute: int) -> int:
    """Return 1 for the first call of a source that is over its limit in this minute, 2 for the second, …"""
    return KSR.htable.sht_inc("limited", f"{source} {minute}")


def sequence(key: str) -> Sequence:
    """Return the CSeqs sent so far."""
    try:
        value = KSR.htable.sht_get("sequences", key)
    except UnicodeDecodeError:  # torn
        return NONE_SENT
    return codec.sequence(value) if isinstance(value, str) else NONE_SENT


def next_number(key: str, method: str, cseq: int, choose: Callable[[Sequence], tuple[int, int]], leg: int = 0) -> int:
    """Choose the CSeq of a request, and for how many seconds it is noted; 0: as long as the table keeps its entries. No
    other worker chooses meanwhile. cseq: the caller's. leg: as noted() has it.
    """
    KSR.htable.sht_lock("sequences", key)
    try:
        before = sequence(key)
        number, seconds = choose(before)
        KSR.htable.sht_sets("sequences", key, codec.sequence_text(noted(before, method, cseq, number, leg)))
        if seconds:
            KSR.htable.sht_setex("sequences", key, seconds)
    finally:
        KSR.htable.sht_unlock("sequences", key)
    return number


def is_first_invite(key: str) -> bool:
    """Note the INVITE at hand, which goes out with its caller's CSeq, and return True, if nothing was noted before."""
    KSR.pv.sets("$var(dialog)", key)
    return KSR.route("FIRST") > 0


def forget_first_invite_soon(key: str) -> None:
    """Forget the INVITE that the reply at hand answers, if no more than that was noted (is_first_invite)."""
    KSR.pv.sets("$var(dialog)", key)
    KSR.route("ANSWERED")


def note_invite(key: str, cseq: int, number: int, seconds: int) -> None:
    """Note the number of an INVITE that was sent before a restart; cseq: the caller's."""
    KSR.htable.sht_lock("sequences", key)
    try:
        KSR.htable.sht_sets("sequences", key, codec.sequence_text(with_invite(sequence(key), cseq, number)))
        KSR.htable.sht_setex("sequences", key, seconds)
    finally:
        KSR.htable.sht_unlock("sequences", key)


def forget_soon(key: str, alone: Sequence, seconds: int) -> None:
    """Forget CSeqs in so many seconds, if no more than these were sent."""
    KSR.htable.sht_lock("sequences", key)
    try:
        if sequence(key) == alone:
            KSR.htable.sht_setex("sequences", key, seconds)
    finally:
        KSR.htable.sht_unlock("sequences", key)


def keep_credentials(key: str, number: int, fields: bytes) -> None:
    """Keep the credentials of an INVITE for its ACK, for as long as its 2xx may come again; number: the CSeq that the
    carrier saw. Octets that are not UTF-8 are stored as if they were Latin-1.
    """
    KSR.htable.sht_sets("acks", f"{key}/{number}", fields.decode("latin-1"))


def credentials(key: str, number: int) -> bytes:
    """Return the credentials that the INVITE of this ACK had, empty if it had none."""
    try:
        return str(KSR.htable.sht_get("acks", f"{key}/{number}") or "").encode("latin-1")
    except UnicodeError:  # torn
        return b""


def forget_sequence(key: str, seconds: int) -> None:
    """Forget the CSeqs of a dialog that has ended, in so many seconds."""
    KSR.htable.sht_setex("sequences", key, seconds)
