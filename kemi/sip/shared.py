"""The nonce cache that all workers share: two tables of the htable module (kamailio.cfg)."""

from __future__ import annotations

import KSR

from kemi.auth import codec
from kemi.auth.nonces import UNKNOWN, Record


def record(trunk: str, destination: str) -> Record:
    """Return the record of a trunk and destination."""
    try:
        value = KSR.htable.sht_get("nonces", _key(trunk, destination))
    except UnicodeDecodeError:  # torn: it is being written
        return UNKNOWN
    return codec.record(value) if isinstance(value, str) else UNKNOWN


def set_record(trunk: str, destination: str, record: Record) -> None:
    """Keep the record of a trunk and destination until it expires."""
    KSR.htable.sht_sets("nonces", _key(trunk, destination), codec.record_text(record))


def next_count(counter: str) -> int:
    """Return 1 for the first caller in any process, 2 for the second, …; below 1 if it cannot be counted."""
    return KSR.htable.sht_inc("nonce_counts", counter)


def keep_count(counter: str, seconds: int) -> None:
    """Let a count expire after that long without use."""
    KSR.htable.sht_setex("nonce_counts", counter, seconds)


def _key(trunk: str, destination: str) -> str:
    return f"{trunk}\n{destination}"  # neither has a line end
