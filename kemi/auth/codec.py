"""The text forms of all that is stored in AVPs and shared tables.

Each is a JSON list that starts with the form's version, but for the CSeq of one INVITE, which is a number, so it is
ASCII without line ends whatever the wire brought. Text of another version, or damaged text, decodes to the empty
value: the process that reads may be older or newer than the one that wrote, and a lost nonce record costs one
challenge.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import Challenge
from kemi.auth.nonces import UNKNOWN, Record
from kemi.auth.resend import Asked
from kemi.dialog.cseq import Sequence
from kemi.trunks.plan import Plan, Word
from kemi.trunks.standing import UP, Standing

VERSION = 4

LONGEST_REASON = 200
_MOST_DIGITS = 10  # of a CSeq

# The two functions in C that JSONDecoder and JSONEncoder call, without the Python around them.
_decode: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_chunks: Any = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, None, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True
)


def _encode(*values: object) -> str:
    """Encode a form: its version, and these values. Tuples are lists."""
    return "".join(_chunks((VERSION, *values), 0))


def attempt_text(attempt: Attempt) -> str:
    """Encode an attempt."""
    return "".join(_chunks((VERSION, *attempt), 0))


def attempt(text: str) -> Attempt:
    """Decode an attempt."""
    values = _values(text)
    if values is None:
        return Attempt()
    *flat, sent = values
    return Attempt._make([*flat, tuple([_sent(one) for one in sent])])


def plan_text(plan: Plan) -> str:
    """Encode a plan."""
    return _encode(*plan)


def plan(text: str) -> Plan:
    """Decode a plan."""
    values = _values(text)
    if values is None:
        return Plan()
    trunks, hops, hop, word, *others = values
    return Plan(tuple(trunks), tuple(hops), hop, Word(*word), *others)


def standing_text(standing: Standing) -> str:
    """Encode a trunk's standing."""
    return _encode(*standing)


def standing(text: str) -> Standing:
    """Decode a trunk's standing."""
    values = _values(text) if text else None
    return UP if values is None else Standing(*values)


def record_text(record: Record) -> str:
    """Encode a nonce record, with a checksum: htable gives out text that it may be changing (ht_cell_pkg_copy() in
    htable/ht_api.c).
    """
    text = _encode(record.held, record.counters, record.rejected, record.since, record.names_next)
    return f"{_checksum(text)} {text}"


@lru_cache(maxsize=256)
def record(text: str) -> Record:
    """Decode a nonce record; the same text gives the same object."""
    checksum, _, rest = text.partition(" ")
    values = _values(rest) if checksum == _checksum(rest) else None
    if values is None:
        return UNKNOWN
    held, counters, *others = values
    return Record(tuple([_sent(one) for one in held]), tuple(counters), *others)


@lru_cache(maxsize=256)
def asked_text(asked: Asked) -> str:
    """Encode how a carrier asks."""
    return _encode(sorted(asked))


@lru_cache(maxsize=256)
def asked(text: str) -> Asked:
    """Decode how a carrier asks."""
    values = _values(text) if text else None
    return frozenset((kind, realm) for kind, realm in values[0]) if values else frozenset()


def sequence_text(sequence: Sequence) -> str:
    """Encode the CSeq numbers sent so far."""
    return "".join(_chunks((VERSION, *sequence), 0))


@lru_cache(maxsize=256)
def sequence(text: str) -> Sequence:
    """Decode the CSeq numbers sent so far. A number alone is of one INVITE with its caller's (route FIRST in
    trunkauth.inc.cfg).
    """
    if text.isdecimal() and len(text) <= _MOST_DIGITS:
        return Sequence(int(text), ((int(text), int(text)),))
    values = _values(text)
    if values is None:
        return Sequence()
    highest, invites, legs = values
    return Sequence(highest, tuple([(cseq, number) for cseq, number in invites]), tuple(legs))


def failure_text(since: int, status: int, reason: str) -> str:
    """Encode a trunk's last failure: when, and what the caller heard."""
    return _encode(since, status, reason[:LONGEST_REASON])


def failure(text: str) -> tuple[int, int, str] | None:
    """Decode a trunk's last failure."""
    values = _values(text) if text else None
    return None if values is None else (values[0], values[1], values[2])


def lately_text(calls: int, failed: int) -> str:
    """Encode how many calls a trunk has had in the last minutes, and how many of them failed."""
    return _encode(calls, failed)


def lately(text: str) -> tuple[int, int]:
    """Decode them."""
    values = _values(text) if text else None
    return (0, 0) if values is None else (values[0], values[1])


def _values(text: str) -> list[Any] | None:
    """Return the values behind the version, None if it is another one or the text is damaged."""
    try:
        version, *values = _decode(text, 0)[0] if text else (0,)
    except (ValueError, TypeError, StopIteration):
        return None
    return values if version == VERSION else None


def _sent(values: list[Any]) -> Sent:
    status, (realm, nonce, opaque, algorithm, qop, stale), *others = values
    return Sent(status, Challenge(realm, nonce, opaque, algorithm, tuple(qop), stale), *others)


def _checksum(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
