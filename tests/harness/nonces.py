"""How a carrier deals with its nonces (RFC 7616 3.3 and 3.5): for how long one serves, and what it does afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

LIFE = 30.0  # seconds of the carrier's own clock


@dataclass(frozen=True)
class Use:
    """A request that carries a nonce. by: the caller's own request, which its resends have in common."""

    by: str
    count: int
    at: float


@dataclass
class Life:
    """What has become of a nonce since it was issued.

    issued_to: the caller's request that was challenged with it first. counts: every nc that came with it, whoever
    turned the request down. judged: the requests that came as far as the verifier; highest: the highest nc of these.
    """

    issued_to: str
    issued_at: float
    counts: list[int] = field(default_factory=list)
    judged: int = 0
    highest: int = 0
    forgotten: bool = False


FOR_EVER, ONCE, ONE_REQUEST, A_WHILE, WHILE_COUNTED_UP = (
    "for ever", "once", "for one request", "for 30 s", "while nc grows",
)  # fmt: skip

STILL_SERVES: Final[Mapping[str, Callable[[Life, Use], bool]]] = {
    FOR_EVER: lambda life, use: True,
    ONCE: lambda life, use: life.judged == 0,
    ONE_REQUEST: lambda life, use: use.by == life.issued_to,  # and for what that is sent again as
    A_WHILE: lambda life, use: use.at < life.issued_at + LIFE,
    WHILE_COUNTED_UP: lambda life, use: use.count > life.highest,
}


@dataclass(frozen=True)
class Nonces:
    """A carrier's ways with nonces.

    serve: for how long one does. says_stale: the challenge to one that does not any more has stale=true. shared: all
    challenges have the same one, for as long as it serves. named: each 2xx names the next one. unasked: the status that
    refuses credentials which this request was not asked for; 0 for none. in_order: nc is the number of the use; where
    many requests are on their way at once they overtake each other, and nc is only never the same.
    """

    serve: str = FOR_EVER
    says_stale: bool = False
    shared: bool = False
    named: bool = False
    unasked: int = 0
    in_order: bool = True

    def __str__(self) -> str:
        return f"{self.serve}{', stale' if self.says_stale else ''}"
