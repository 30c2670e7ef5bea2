"""What became of a call, in a few words for a table: from the wire alone.

No socket, no product code, no knowledge of who was in the middle: the same words for whatever did the same. The rules,
of which the first that holds decides:

 1. A caller whom the proxy was not told of got a request through: `relays for anyone`.
 2. Credentials went out for a realm that is not the trunk's: `credentials to any realm`.
 3. A request has no final answer: `loops (N INVITEs)` where the carrier was sent as many as it was to look at, or
    else `no answer`.
 4. A challenge came through to the caller: `407 to the caller`; after the carrier has turned down credentials that were
    made from the right password: `wrong digest`.
 5. Otherwise `answered`, `cancelled` where the carrier saw the CANCEL, or the caller's final status; what went through
    without its credentials being verified is `unchallenged`, because the row shows nothing then. A 503 says after how
    many INVITEs, if there was more than one; and where an end recorded faults, the kind of the first of them follows:
    `answered, CSeq not raised`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.harness.message import MalformedError, Message, auth_params
from tests.harness.verifier import ACCEPTED, WRONG

CREDENTIALS = ("Authorization", "Proxy-Authorization")
CHALLENGED = (401, 407)

# A piece of a fault's text (rules.py, verifier.py) -> its kind; what is not here is shown as it is.
KINDS = {
    "is not greater than": "CSeq not raised",
    "is not 1 more than": "CSeq not raised",
    "of this nonce": "wrong nonce count",
    "is not the R-URI": "wrong digest uri",
    "was not offered": "not what was offered",
    "more than one": "credentials twice",
}


@dataclass(frozen=True)
class Observed:
    """One call on the wire.

    finals: the final response to each request that the caller sent, in order; None for one that never came. received:
    the requests that reached the carrier, retransmissions left out. verdicts: the carrier's, on credentials. faults: of
    the carrier, then of the caller.
    """

    finals: Sequence[Message | None]
    received: Sequence[Message] = ()
    verdicts: Sequence[str] = ()
    faults: Sequence[str] = ()


@dataclass(frozen=True)
class Terms:
    """What was agreed before the call: may this caller call at all, which realm may have credentials, is the password
    the carrier's own, and at which INVITE does the carrier stop answering.
    """

    listed: bool = True
    realm: str = "carrier.test"
    right_password: bool = True
    last_invite: int = 10


def outcome(seen: Observed, terms: Terms) -> str:
    """The words for one call."""
    if seen.received and not terms.listed:
        return "relays for anyone"
    if any(realm != terms.realm for realm in _answered_realms(seen.received)):
        return "credentials to any realm"
    if None in seen.finals:
        invites = _count(seen.received, "INVITE")
        return f"loops ({invites} INVITEs)" if invites >= terms.last_invite else "no answer"
    final = _decisive([each for each in seen.finals if each is not None])
    if final.status in CHALLENGED:
        wrong = terms.right_password and WRONG in seen.verdicts
        return "wrong digest" if wrong else f"{final.status} to the caller"
    return ", ".join([_word(final, seen), *_first_kind(seen.faults)])


def _decisive(finals: Sequence[Message]) -> Message:
    """The first refusal, if there is one: what comes after it is tidying up."""
    return next((each for each in finals if each.status >= 300), finals[-1])


def _word(final: Message, seen: Observed) -> str:
    if final.status < 300:
        return "answered" if ACCEPTED in seen.verdicts else "unchallenged"
    if final.status == 487 and _count(seen.received, "CANCEL"):
        return "cancelled"
    invites = _count(seen.received, "INVITE")
    return f"503 after {invites} INVITEs" if final.status == 503 and invites > 1 else str(final.status)


def _count(received: Iterable[Message], method: str) -> int:
    return sum(each.method == method for each in received)


def _first_kind(faults: Sequence[str]) -> list[str]:
    """The kind of the first fault, in a list that is empty where there is none."""
    if not faults:
        return []
    text = faults[0].partition("]: ")[2] or faults[0]
    return [next((kind for piece, kind in KINDS.items() if piece in text), text.splitlines()[-1])]


def _answered_realms(received: Iterable[Message]) -> Iterable[str]:
    for request in received:
        for header in CREDENTIALS:
            for value in request.all(header):
                try:
                    yield auth_params(value).get("realm", "")
                except MalformedError:
                    continue  # a fault of its own, by the rules
