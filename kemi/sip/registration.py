"""The REGISTERs that the uac module sends, and the replies that it is about to see."""

from __future__ import annotations

import KSR

from kemi.auth.attempt import CHALLENGES, OTHER_KIND
from kemi.sip.failure import MOST_FIELDS


def is_register() -> bool:
    """Return True if the request that Kamailio sends on its own is a REGISTER."""
    return KSR.is_REGISTER()


def hold_back() -> None:
    """Do not send the request at hand."""
    KSR.set_drop()


def screen_replies(handler: str) -> None:
    """Let this handler see the replies to the request at hand before the uac module does."""
    KSR.tm.t_on_reply(handler)


def reply_status() -> int:
    """Return the status of the reply."""
    status = KSR.pv.get("$rs")
    return status if isinstance(status, int) else 0


def account() -> str:
    """Return the URI that is being registered, as the reply repeats it."""
    return str(KSR.pv.gete("$hdr(To)")).partition(">")[0].lstrip("<")


def challenge(status: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the reply's challenge fields of the status's kind in order, and those of the other kind, as
    failure.facts() does. Octets that are not UTF-8 are surrogates (PEP 383).
    """
    return _fields(CHALLENGES[status].challenge), _fields(CHALLENGES[OTHER_KIND[status]].challenge)


def _fields(name: str) -> tuple[str, ...]:
    found: list[str] = []
    while len(found) < MOST_FIELDS and (field := _field(f"hdr({name})[{len(found)}]")) is not None:
        found.append(field)
    return tuple(found)


def _field(variable: str) -> str | None:
    try:
        field = KSR.pv.get(f"$({variable})")
    except UnicodeDecodeError:
        return bytes.fromhex(str(KSR.pv.gete(f"$({variable}{{s.encode.hexa}})"))).decode(errors="surrogateescape")
    return None if field is None else str(field)


def replace(name: str, field: str) -> bool:
    """Put one field in place of all of this name. Return False if the uac module would still see the old ones."""
    KSR.hdr.remove(name)
    KSR.hdr.append(f"{name}: {field}\r\n")
    return KSR.textopsx.msg_apply_changes() > 0


def refuse(code: int, reason: str) -> None:
    """Make the reply a failure that is no challenge; a success cannot be made one."""
    KSR.textopsx.change_reply_status(code, reason)
