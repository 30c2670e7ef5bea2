"""Texts that workers leave for a process of ours, in a table of the htable module (kamailio.cfg): a ring, so that it
cannot grow.
"""

from __future__ import annotations

import KSR


def put(table: str, size: int, text: str) -> None:
    """Leave a text; of very many, the oldest is lost."""
    number = KSR.htable.sht_inc(table, "last")
    KSR.htable.sht_sets(table, str(number % size), text)


def last(table: str) -> int:
    """Return how many texts have been left; the last of them may still be on its way into the table."""
    value = KSR.htable.sht_get(table, "last")
    return value if isinstance(value, int) else 0


def between(table: str, size: int, first: int, last: int) -> list[str]:
    """Return the texts behind the first number, up to the last one."""
    found = [_text(table, str(number % size)) for number in range(max(first, last - size) + 1, last + 1)]
    return [text for text in found if text]


def _text(table: str, place: str) -> str:
    try:
        return str(KSR.htable.sht_get(table, place) or "")
    except UnicodeDecodeError:  # torn, as in shared.py
        return ""
