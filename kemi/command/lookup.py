"""Names resolved here and now, as the process that resolves them for calls would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from kemi.names.names import DOES_NOT_EXIST, MOST_AT_ONCE
from kemi.names.nameserver import NameServer, NoAnswerError
from kemi.names.resolver import Resolver
from kemi.start.sockets import Socket, kinds, transports
from kemi.trunks.hops import Hops, Target, literal


class Found(NamedTuple):
    """A target's hops, by priority; without any, fault says why."""

    hops: Hops
    fault: str = ""


def look_up(targets: Iterable[Target], listen: tuple[Socket, ...]) -> dict[Target, Found]:
    """Resolve targets for a Kamailio that listens there; a target that is an address is its own hop."""
    resolver = Resolver(NameServer(), transports(listen), kinds(listen))
    return asyncio.run(_all(resolver, frozenset(targets)))


async def _all(resolver: Resolver, targets: Iterable[Target]) -> dict[Target, Found]:
    limit = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(target: Target) -> tuple[Target, Found]:
        if not target.is_name:
            return target, Found(literal(target)) if target.host else Found((), "no host")
        async with limit:
            try:
                hops = (await resolver.resolve(target)).hops
            except NoAnswerError as error:
                return target, Found((), str(error))
        return target, Found(hops, "" if hops else DOES_NOT_EXIST)

    return dict(await asyncio.gather(*map(one, targets)))
