"""Picks the trunks of a new request. Pure: facts of the request and a way to look rows up come in, candidates go out.

The rules, of which the first that finds a row decides, whether the row can be used or not:

1. The header X-Trunk names a trunk by its l_uuid. It is an order: the other rules are not asked, even if no row has
   that name.
2. The caller's From user and domain are l_username and l_domain.
3. The caller's From user is l_username, and l_domain is empty.
4. The R-URI's domain is r_domain.
5. The default trunk (TRUNKAUTH_DEFAULT_TRUNK).

An empty value of the request matches no row, and an empty X-Trunk is no order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from kemi import uri
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
        return trunks.by_name(asked.trunk)
    caller = uri.split(asked.caller)
    if user := caller.user:
        found = (caller.host and trunks.by_caller(user, caller.host)) or trunks.by_caller(user, "")
        if found:
            return found
    dialled = uri.split(asked.dialled).host
    if dialled and (found := trunks.by_dialled_domain(dialled)):
        return found
    return trunks.by_name(default) if default else ()


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
