"""Whether a trunk serves: the rules by which one is left out for a while.

1. A trunk that could not serve 3 attempts in a row is down: it is left out for 30 s, then one call tries. If that fails
   too, it is left out for 30 s more.
2. A carrier that says Retry-After is left out for so long.
3. Whatever it lets pass, it is up.
4. A trunk that is probed is down as well after 3 probes in a row that were not answered, until 30 s after the next
   one is due; and up after one that was, but for a Retry-After. Calls and probes are counted each for themselves.

A trunk that is left out is tried all the same if all others are left out too. Pure: the time comes in.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_FAILURES = 3  # in a row
OUT = 30  # seconds


class Standing(NamedTuple):
    """failures: in a row. since: when it went down, 0 while it is up. until: when it is tried again. aside: until when
    its Retry-After leaves it out. All three in seconds of the epoch.
    """

    failures: int = 0
    since: int = 0
    until: int = 0
    aside: int = 0

    @property
    def out_until(self) -> int:
        """When it is left out no longer."""
        return max(self.until, self.aside)


UP = Standing()


def failed(standing: Standing, now: int, retry_after: int) -> Standing:
    """Return the standing after one more attempt that the trunk could not serve."""
    failures = standing.failures + 1
    is_down = failures >= MOST_FAILURES
    until = max(standing.until, now + OUT if is_down else 0)
    return Standing(failures, standing.since or (now if is_down else 0), until, _aside(standing, now, retry_after))


def unanswered(standing: Standing, now: int, in_a_row: int, every: int, retry_after: int) -> Standing:
    """Return the standing after so many probes in a row that were not answered. every: seconds between two."""
    aside = _aside(standing, now, retry_after)
    if in_a_row < MOST_FAILURES:
        return standing._replace(aside=aside)
    until = max(standing.until, now + every + OUT)
    return Standing(max(standing.failures, MOST_FAILURES), standing.since or now, until, aside)


def answered(standing: Standing, now: int) -> Standing:
    """Return the standing after a probe that was answered."""
    return UP if standing.since and now >= standing.aside else standing


def is_out(standing: Standing, now: int) -> bool:
    """Return True if the trunk is left out."""
    return now < standing.out_until


def tried(standing: Standing, now: int) -> Standing:
    """Return the standing while a call tries if a trunk that was down serves again."""
    return standing._replace(until=max(standing.until, now + OUT)) if standing.since else standing


def _aside(standing: Standing, now: int, retry_after: int) -> int:
    return max(standing.aside, now + retry_after if retry_after else 0)
