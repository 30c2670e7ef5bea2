"""Picks the trunks of a new request. Pure: facts of the request and a way to look rows up come in, candidates go out.

The rules, of which the first that finds a usable row decides:

1. The header X-Trunk names a trunk by its l_uuid.
2. The caller's From user and domain are l_username and l_domain.
3. The caller's From user is l_username, and l_domain is empty.
4. The R-URI's domain is r_domain.
5. The default trunk (TRUNKAUTH_DEFAULT_TRUNK).

An empty value of the request matches no row.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kemi import uri
from kemi.trunks.trunk import Trunk

Candidates = tuple[Trunk, ...]


class Asked(NamedTuple):
    """The parts of a new request that select its trunk, as they came from the wire: X-Trunk (empty if there is none),
    the URI of From, and the R-URI.
    """

    trunk: str
    caller: str
    dialled: str


class Trunks(Protocol):
    """Where rows are looked up: TrunkStore."""

    def by_uuid(self, uuid: str) -> Trunk | None: ...
    def by_caller(self, user: str, domain: str) -> Candidates: ...
    def by_dialled_domain(self, domain: str) -> Candidates: ...


def candidates(trunks: Trunks, asked: Asked, default: str) -> Candidates:
    """Return the usable trunks of the first rule that finds one, by id; empty if none does. default: an l_uuid, or
    empty for none.
    """
    if asked.trunk and (named := trunks.by_uuid(asked.trunk)):
        return (named,)
    caller = uri.split(asked.caller)
    if user := caller.user:
        found = (caller.host and trunks.by_caller(user, caller.host)) or trunks.by_caller(user, "")
        if found:
            return found
    dialled = uri.split(asked.dialled).host
    if dialled and (found := trunks.by_dialled_domain(dialled)):
        return found
    named = trunks.by_uuid(default) if default else None
    return (named,) if named else ()
