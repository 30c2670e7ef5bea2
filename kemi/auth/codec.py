"""The text forms of all that is stored in AVPs, dialog variables and shared tables.

Each is a JSON list that starts with the form's version, so it is ASCII without line ends whatever the wire brought.
Text of another version, or damaged text, decodes to the empty value: the process that reads may be older or newer than
the one that wrote, and a lost nonce record costs one challenge.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import Challenge
from kemi.auth.nonces import UNKNOWN, Record

VERSION = 1

_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
_quoted = json.encoder.encode_basestring_ascii
_BOOL = ("false", "true")


class Route(NamedTuple):
    """The way of a dialog: the trunk (l_uuid) and the destination that its row named when the dialog was set up."""

    trunk: str = ""
    destination: str = ""


def attempt_text(attempt: Attempt) -> str:
    """Encode an attempt. It is spelled out because every request pays for it: _encode() takes five times as long."""
    trunk, destination, method, in_dialog, is_tracked, is_accepted, by_uac_auth, sent = attempt
    return (
        f"[{VERSION},{_quoted(trunk)},{_quoted(destination)},{_quoted(method)},{_BOOL[in_dialog]},{_BOOL[is_tracked]}"
        f",{_BOOL[is_accepted]},{_BOOL[by_uac_auth]},[{','.join([_sent_text(one) for one in sent])}]]"
    )


def attempt(text: str) -> Attempt:
    """Decode an attempt."""
    values = _values(text)
    if values is None:
        return Attempt()
    *flat, sent = values
    return Attempt._make([*flat, tuple([_sent(one) for one in sent])])


def record_text(record: Record) -> str:
    """Encode a nonce record, with a checksum: htable gives out text that it may be changing (ht_cell_pkg_copy() in
    htable/ht_api.c).
    """
    text = _encode([VERSION, record.held, record.counters, record.rejected, record.since, record.names_next])
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
def route_text(route: Route) -> str:
    """Encode a dialog's route."""
    return _encode([VERSION, *route])


@lru_cache(maxsize=256)
def route(text: str) -> Route:
    """Decode a dialog's route."""
    values = _values(text)
    return Route() if values is None else Route(*values)


def invites_text(invites: dict[int, int]) -> str:
    """Encode a dialog's INVITEs: the caller's CSeq -> by how much it was raised (cseq.py)."""
    return _encode([VERSION, *invites.items()])


def invites(text: str) -> dict[int, int]:
    """Decode a dialog's INVITEs."""
    values = _values(text) if text else None
    return {} if values is None else dict(values)


def _values(text: str) -> list[Any] | None:
    """Return the values behind the version, None if it is another one or the text is damaged."""
    try:
        version, *values = _decode(text)[0] if text else (0,)
    except (ValueError, TypeError):
        return None
    return values if version == VERSION else None


def _sent_text(one: Sent) -> str:
    status, challenge, nc, retries, proven, challenged = one
    return f"[{status},{_challenge_text(challenge)},{nc},{retries},{_BOOL[proven]},{_BOOL[challenged]}]"


@lru_cache(maxsize=256)
def _challenge_text(challenge: Challenge) -> str:
    realm, nonce, opaque, algorithm, qop, stale, escaped = challenge
    return (
        f"[{_quoted(realm)},{_quoted(nonce)},{_or_null(opaque)},{_or_null(algorithm)}"
        f",[{','.join(map(_quoted, qop))}],{_BOOL[stale]},{_BOOL[escaped]}]"
    )


def _or_null(value: str | None) -> str:
    return "null" if value is None else _quoted(value)


def _sent(values: list[Any]) -> Sent:
    status, (realm, nonce, opaque, algorithm, qop, stale, escaped), *others = values
    return Sent(status, Challenge(realm, nonce, opaque, algorithm, tuple(qop), stale, escaped), *others)


def _checksum(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
