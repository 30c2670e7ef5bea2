"""What From says to a carrier in place of the caller's own (RFC 3261 8.1.1.3), and the caller's own, which the far ends
keep for us as the parameter `tf` of our Record-Route, beside the mark: so what comes back inside the dialog can show it
to the PBX again (12.2), on any node. It is covered by a keyed stream and hash (BLAKE2, RFC 7693), because what a caller
is called at home is none of the carrier's business.

Pure: the key comes in.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest

from kemi import uri

PARAMETER = "tf"
LONGEST = 192  # octets of a caller's own name and URI; of a longer one the name is left out

_FOLD = re.compile(r"\r?\n[ \t]+")
_NAME_ADDR = re.compile(r'((?:"(?:\\.|[^"\\])*"\s*|[^"<>]*))<([^<>]*)>')  # takes linear time: no blank has two places
_HIDDEN = ">"  # begins no From
_SEAL_BYTES = 8
_BLOCK = 64


def own(field: str, caller: str) -> str:
    """Return the caller's own From in one line, without its parameters: its name, and its URI in brackets; empty if it
    cannot be kept. field: as it was written, empty if it cannot be read. caller: its URI.
    """
    named = _NAME_ADDR.match(_FOLD.sub(" ", field))
    whole = named[0] if named and named[2] == caller else f"<{caller}>"
    for each in (whole, f"<{caller}>"):
        if each.isprintable() and len(each.encode()) <= LONGEST:
            return each
    return ""


def shown(own: str, uri: str) -> str:
    """Return the same with another URI."""
    return f"{own.rpartition('<')[0]}<{uri}>"


def is_anonymous(caller: str) -> bool:
    """Return True for the From of a caller who does not want to be known (RFC 3323 4.1.1.3)."""
    parts = uri.split(caller)
    return parts.host.lower() == "anonymous.invalid" or parts.user.lower() == "anonymous"


def hidden(own: str) -> str:
    """Return the caller's own From, to be kept with the note that the carrier was not to see it."""
    return f"{_HIDDEN}{own}"


def is_hidden(kept: str) -> bool:
    """Return True if the carrier was not to see what was kept."""
    return kept.startswith(_HIDDEN)


def conceal(key: bytes, own: str, dialog: str) -> str:
    """Return the parameter's value for a dialog (mark.dialog_id): letters, digits, `-` and `_`."""
    body = _covered(key, own.encode(), dialog)
    return urlsafe_b64encode(_seal(key, body, dialog) + body).decode().rstrip("=")


def reveal(key: bytes, value: str, dialog: str) -> str:
    """Return what was concealed; empty if it is not ours, or of another dialog."""
    try:
        text = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return ""
    seal, body = text[:_SEAL_BYTES], text[_SEAL_BYTES:]
    if not body or not compare_digest(seal, _seal(key, body, dialog)):
        return ""
    return _covered(key, body, dialog).decode()


def of_pbx(kept: str) -> str:
    """Return the caller's own From of what was kept."""
    return kept.removeprefix(_HIDDEN)


def _covered(key: bytes, octets: bytes, dialog: str) -> bytes:
    """Return octets under the stream of a dialog, which takes it off again."""
    blocks = range(-(-len(octets) // _BLOCK))
    stream = b"".join(blake2b(f"{dialog} {n}".encode(), key=key, person=b"sender").digest() for n in blocks)
    return bytes(one ^ other for one, other in zip(octets, stream, strict=False))


def _seal(key: bytes, body: bytes, dialog: str) -> bytes:
    return blake2b(body + dialog.encode(), key=key, digest_size=_SEAL_BYTES, person=b"senders seal").digest()
