"""Who calls, as a carrier wants it asserted: P-Asserted-Identity (RFC 3325), P-Preferred-Identity, or Remote-Party-ID
(draft-ietf-sip-privacy-04). What the PBX says in such fields is believed, because it is listed; none is passed on
beside ours. Of a caller who wants privacy (RFC 3323) the identity goes into P-Asserted-Identity alone, with
`Privacy: id`.

Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kemi.dialog import sender
from kemi.dialog.sender import is_anonymous

NONE, PAI, PPI, RPID = "none", "pai", "ppi", "rpid"
KINDS = (NONE, PAI, PPI, RPID)
FIELDS = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")  # the first that is there is believed
NOBODY = '"Anonymous" <sip:anonymous@anonymous.invalid>'  # RFC 3323 4.1.1.3

_URI = re.compile(r"(?:\"(?:\\.|[^\"\\])*\"|[^\"<,])*<((?:sips?|tel):[^<>\s,\"]{1,192})>", re.IGNORECASE)
_BARE = re.compile(r"\s*((?:sips?|tel):[^<>\s,;\"]{1,192})", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")  # a token of RFC 3261 25.1
_HIDING = frozenset({"id", "user"})


class Claims(NamedTuple):
    """The caller's own fields, as written, empty if there is none. said: by FIELDS. caller: the URI of From.
    was_private: True if the request that began the dialog was.
    """

    said: tuple[str, ...]
    privacy: str
    caller: str
    was_private: bool = False

    @property
    def is_private(self) -> bool:
        """True if the caller does not want to be known to the called party."""
        return self.was_private or not _HIDING.isdisjoint(self.wishes) or is_anonymous(self.caller)

    @property
    def wishes(self) -> list[str]:
        """The words of Privacy, in lower case."""
        return _WORD.findall(self.privacy.lower())

    @property
    def known(self) -> str:
        """The URI that the caller is known by here; empty if it has none."""
        for field in self.said:
            if found := _URI.match(field) or _BARE.match(field):
                return found[1] if found[1].isprintable() else ""
        return "" if is_anonymous(self.caller) else self.caller


def fields(kind: str, claims: Claims, asserted: str) -> tuple[str, ...]:
    """Return the fields for a carrier, without their CRLF. kind: of KINDS. asserted: the URI, as the trunk has it."""
    if not asserted or kind == NONE or (claims.is_private and kind != PAI):
        return ()
    if kind == RPID:
        return (f"Remote-Party-ID: <{asserted}>;party=calling;screen=yes;privacy=off",)
    if kind == PPI:
        return (f"P-Preferred-Identity: <{asserted}>",)
    named = f"P-Asserted-Identity: <{asserted}>"
    wishes = claims.wishes
    if not claims.is_private or "id" in wishes:
        return (named,)
    return named, f"Privacy: {';'.join([*(word for word in wishes if word != 'none'), 'id'])}"


def told(kept: str, uri: str) -> str:
    """Return what a carrier was told of a caller. kept: what the dialog keeps of his own From (sender.py). uri: of From
    as the trunk's row has it; empty if it says nothing.
    """
    return sender.shown(sender.of_pbx(kept), uri) if uri and not sender.is_hidden(kept) else NOBODY
