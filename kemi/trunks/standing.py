"""Whether a trunk serves: the rules by which one is left out for a while.

1. A trunk that could not serve 3 attempts in a row is down: it is left out for 30 s, then one call tries. If that fails
   too, it is left out for 30 s more.
2. A carrier that says Retry-After is left out for so long.
3. Whatever it lets pass, it is up.

A trunk that is left out is tried all the same if all others are left out too. Pure: the time comes in.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_FAILURES = 3  # in a row
OUT = 30  # seconds


class Standing(NamedTuple):
    """failures: in a row. since: when it went down, 0 while it is up. until: when it is tried again. Both in seconds of
    the epoch.
    """

    failures: int = 0
    since: int = 0
    until: int = 0


UP = Standing()


def failed(standing: Standing, now: int, retry_after: int) -> Standing:
    """Return the standing after one more attempt that the trunk could not serve."""
    failures = standing.failures + 1
    is_down = failures >= MOST_FAILURES
    until = max(standing.until, now + retry_after, now + OUT if is_down else 0)
    return Standing(failures, standing.since or (now if is_down else 0), until)


def is_out(standing: Standing, now: int) -> bool:
    """Return True if the trunk is left out."""
    return now < standing.until


def tried(standing: Standing, now: int) -> Standing:
    """Return the standing while a call tries if a trunk that was down serves again."""
    return standing._replace(until=now + OUT) if standing.since else standing
