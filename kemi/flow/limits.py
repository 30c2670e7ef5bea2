"""How many calls there may be, over all workers: new ones a second of one source (TRUNKAUTH_MAX_CPS) or over one trunk
(`max_cps`), and those that are up over one (`max_calls`).
"""

from __future__ import annotations

import time

from kemi.outcome import Limited, TrunkFull
from kemi.sip import api, room, shared
from kemi.trunks.trunk import Trunk


def is_over(most: int) -> bool:
    """Count a new call of the source; return True if it is one too many in this second. The log says so once a minute
    for each source.
    """
    source, now = api.source(), int(time.time())
    if shared.count_call(source, now) <= most:
        return False
    if shared.count_minute(source, now // 60) == 1:
        api.tell(Limited(source, most))
    return True


def admits(trunk: Trunk, before: Trunk | None, method: str, dialled: str) -> bool:
    """Count a new request, and return False if the trunk has no room for it; an emergency call is not counted.
    before: the one that has it so far.
    """
    policy = trunk.policy
    if before and before.policy.max_calls and before.counts(method, dialled):
        room.leave_call(before.uuid)
    if (policy.max_cps or policy.max_calls) and trunk.numbers.is_emergency(dialled):
        return True
    if policy.max_cps and not room.take_second(trunk.uuid, int(time.time()), policy.max_cps):
        reason = f"more than {policy.max_cps} new calls a second"
    elif policy.max_calls and method == "INVITE" and not room.take_call(trunk.uuid, policy.max_calls):
        reason = f"{policy.max_calls} calls are up"
    else:
        return True
    api.tell(TrunkFull(trunk.uuid, reason))
    return False
