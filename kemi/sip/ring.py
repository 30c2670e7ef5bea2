"""Texts that workers leave for a process of ours, in a table of the htable module (kamailio.cfg): a ring, so that it
cannot grow.
"""

from __future__ import annotations

import KSR


def put(table: str, size: int, text: str) -> None:
    """Leave a text; of very many, the oldest is lost."""
    number = KSR.htable.sht_inc(table, "last")
    KSR.htable.sht_sets(table, str(number % size), text)


def since(table: str, size: int, number: int) -> tuple[list[str], int]:
    """Return the texts that were left since this number, and the number to go on with."""
    value = KSR.htable.sht_get(table, "last")
    last = value if isinstance(value, int) else 0
    texts = [KSR.htable.sht_get(table, str(n % size)) for n in range(max(number, last - size) + 1, last + 1)]
    return [text for text in texts if isinstance(text, str)], last
