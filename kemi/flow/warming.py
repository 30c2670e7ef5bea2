"""What a worker does before its first call comes, so that this finds its code and data ready: since the fork, a page is
copied when it is first written to, and in Python even reading counts references.

Everything here is pure. What caches keep of these made-up values nobody asks for.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from functools import cached_property, lru_cache
from types import CellType, CodeType, FunctionType

from kemi import uri
from kemi.auth import codec, nonces, session
from kemi.auth.attempt import Attempt
from kemi.auth.credentials import Credentials
from kemi.auth.digest import Request
from kemi.auth.session import Failure, Resend
from kemi.dialog import mark
from kemi.dialog.mark import KEY_BYTES, Mark
from kemi.line import FORMS
from kemi.outcome import Answered, line_of

TIMES = 8  # from then on the interpreter runs the specialized form of what it runs often (PEP 659)

_OF_A_CALL = tuple(f"kemi.{each}" for each in ("auth", "dialog", "flow", "sip", "trunks", "line", "outcome", "uri"))
_HAS_CODE = (FunctionType, CellType, tuple, property, cached_property, classmethod, staticmethod, type(lru_cache(id)))


def warm_up() -> None:
    """Challenge a call and let the carrier accept it, by each of two algorithms."""
    for _ in range(TIMES):
        for algorithm in ("MD5", "SHA-256"):
            _call(f'Digest realm="carrier.invalid", nonce="n", qop="auth", algorithm={algorithm}')


def copy_pages() -> set[int]:
    """Have the code of a call in pages of this process's own; return the ids of all objects that were met. To meet one
    is to count a reference.
    """
    met: set[int] = set()
    coming: list[object] = []
    for name, module in list(sys.modules.items()):
        if name.startswith(_OF_A_CALL):
            coming += vars(module).values()
    while coming:
        one = coming.pop()
        if id(one) not in met:
            met.add(id(one))
            coming += _within(one)
    return met


def _within(one: object) -> Iterable[object]:
    """Return what belongs to an object of a call's code."""
    if isinstance(one, CodeType):
        return one.co_consts
    if isinstance(one, type):
        return vars(one).values() if one.__module__.startswith(_OF_A_CALL) else ()
    return gc.get_referents(one) if isinstance(one, _HAS_CODE) else ()


def _call(challenge: str) -> None:
    key, name = bytes(KEY_BYTES), mark.dialog_id("call", "tag")
    sealed = mark.seal(key, Mark(1, bytes(8), bytes(8), 1, 0, 0, 0), name)
    mark.unseal(bytes(reversed(key)), sealed, name)
    uri.split("sip:1@carrier.invalid:5060;transport=udp")
    credentials = Credentials("sip:carrier.invalid", "", "user", "password")
    attempt = Attempt("trunk", credentials.destination, "INVITE", name, 1, 1, sealed)
    decision = session.after_failure(Failure(407, (challenge,)), attempt, credentials)
    if isinstance(decision, Resend):
        sent = decision.attempt.sent
        session.responses(sent, credentials).headers(sent, Request("INVITE", "sip:1@carrier.invalid"), "cnonce")
        codec.attempt(codec.attempt_text(decision.attempt))
        record = codec.record(codec.record_text(nonces.accepted(nonces.UNKNOWN, sent, attempt.destination, 0)))
        session.first_request(record, credentials)
        FORMS["logfmt"](line_of(Answered("trunk", decision.challenges[0]), "call"))
