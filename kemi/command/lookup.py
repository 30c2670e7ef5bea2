"""Names resolved here and now, as the process that resolves them for calls would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from kemi.names.names import MOST_AT_ONCE
from kemi.names.nameserver import NameServer, NoAnswerError
from kemi.names.resolver import Resolver
from kemi.start.sockets import Socket, reach
from kemi.trunks.hops import Hops, Target, literal


class Found(NamedTuple):
    """A target's hops, by priority; without any, fault says why."""

    hops: Hops
    fault: str = ""


def look_up(targets: Iterable[Target], listen: tuple[Socket, ...]) -> dict[Target, Found]:
    """Resolve targets for a Kamailio that listens there; a target that is an address is its own hop."""
    resolver = Resolver(NameServer(), reach(listen))
    return asyncio.run(_all(resolver, frozenset(targets)))


async def _all(resolver: Resolver, targets: Iterable[Target]) -> dict[Target, Found]:
    limit = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(target: Target) -> tuple[Target, Found]:
        if not target.is_name:
            return target, Found(literal(target)) if target.host else Found((), "no host")
        async with limit:
            try:
                answer = await resolver.resolve(target)
            except NoAnswerError as error:
                return target, Found((), str(error))
        return target, Found(answer.hops, answer.fault)

    return dict(await asyncio.gather(*map(one, targets)))
