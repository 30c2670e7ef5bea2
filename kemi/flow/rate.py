"""How many new calls a second one source may place (TRUNKAUTH_MAX_CPS), over all workers."""

from __future__ import annotations

import time

from kemi.outcome import Limited
from kemi.sip import api, shared


def is_over(most: int) -> bool:
    """Count a new call of the source; return True if it is one too many in this second. most: 0 for no limit.

    The log says so once a minute for each source.
    """
    if not most:
        return False
    source, now = api.source(), int(time.time())
    if shared.count_call(source, now) <= most:
        return False
    if shared.count_minute(source, now // 60) == 1:
        api.tell(Limited(source, most))
    return True
