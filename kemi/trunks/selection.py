"""Picks the trunks of a new request, and the order to try them in. Pure: facts of the request and a way to look rows up
come in, candidates go out.

The rules, of which the first that finds a row decides, whether the row can be used or not:

1. The header X-Trunk names trunks by their l_uuid: `a, b`. It is an order: the other rules are not asked, even if no
   row has these names, and the trunks are tried as they are named.
2. The caller's From user and domain are l_username and l_domain.
3. The caller's From user is l_username, and l_domain is empty.
4. The R-URI's domain is r_domain.
5. The default trunk (TRUNKAUTH_DEFAULT_TRUNK).

An empty value of the request matches no row, and an empty X-Trunk is no order. Other candidates are tried by priority,
the lower first; of the same priority at random, each as often first as its weight says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple, Protocol

from kemi import uri
from kemi.trunks.hops import drawn
from kemi.trunks.trunk import Trunk

Candidates = tuple[Trunk, ...]

MOST_CANDIDATES = 16


class Asked(NamedTuple):
    """The parts of a new request that select its trunk, as they came from the wire: X-Trunk (empty if there is none),
    the URI of From, and the R-URI.
    """

    trunk: str
    caller: str
    dialled: str


class Trunks(Protocol):
    """Where rows are looked up: TrunkStore."""

    def by_name(self, uuid: str) -> Candidates: ...
    def by_caller(self, user: str, domain: str) -> Candidates: ...
    def by_dialled_domain(self, domain: str) -> Candidates: ...


def candidates(trunks: Trunks, asked: Asked, default: str) -> Candidates:
    """Return the trunks of the first rule that finds any; empty if none does. default: an l_uuid, or empty for none.

    A trunk with a fault is the only one: the rule has found no other.
    """
    if asked.trunk:
        names = [name.strip() for name in asked.trunk.split(",")][:MOST_CANDIDATES]
        named = [trunk for name in dict.fromkeys(names) for trunk in trunks.by_name(name)]
        return usable_or_first(named)
    _, userinfo, host, _ = uri.split(asked.caller)
    if user := userinfo.partition(":")[0]:
        found = (host and trunks.by_caller(user, host)) or trunks.by_caller(user, "")
        if found:
            return found
    dialled = uri.split(asked.dialled).host
    if dialled and (found := trunks.by_dialled_domain(dialled)):
        return found
    return trunks.by_name(default) if default else ()


def open_to(found: Candidates, tag: str) -> Candidates:
    """Return the trunks that a source may use. tag: the source's, of the table address."""
    return tuple([trunk for trunk in found if trunk.policy.source_tag in ("", tag)])


def usable(found: Candidates) -> Candidates:
    """Return the trunks that take new requests."""
    return tuple([trunk for trunk in found if trunk.policy.enabled and not trunk.fault])


def in_order(found: Candidates, below: Callable[[int], int]) -> Candidates:
    """Return trunks by priority, within it at random by weight. below: returns a random number from 0 to its argument
    less one.
    """
    if len(found) < 2:
        return found
    ordered: list[Trunk] = []
    by_priority = sorted(found, key=lambda trunk: trunk.policy.priority)
    for _, same in groupby(by_priority, key=lambda trunk: trunk.policy.priority):
        left = list(same)
        while left:
            ordered.append(left.pop(drawn([trunk.policy.weight for trunk in left], below) if len(left) > 1 else 0))
    return tuple(ordered)


def usable_or_first(trunks: Iterable[Trunk]) -> Candidates:
    """Return the first usable trunks; if there are none, the first that cannot be used: its fault ends the call."""
    usable: list[Trunk] = []
    first: Candidates = ()
    for trunk in trunks:
        if not trunk.fault:
            usable.append(trunk)
        first = first or (trunk,)
        if len(usable) == MOST_CANDIDATES:
            break
    return tuple(usable) or first
