"""The mark of a dialog: the parameter of our Record-Route, from which any node with the deployment's key can go on.

The far ends keep it for us in their route sets (RFC 3261 12.1) and send it with every request of the dialog, so it
survives a restart, an upgrade and the end of a node. It holds numbers, no secret, and no name of a trunk. A keyed hash
(BLAKE2, RFC 7693) binds it to the Call-ID and to the tag of the one who sent the first request: it serves no other
dialog, and tells which way a request goes.

Pure: key and time come in.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import NamedTuple

PARAMETER = "ta"  # of our Record-Route
KEY_BYTES = 32
LONGEST_LIFE = 86400  # seconds

# Versions of the form, by is_inbound and is_limited: 2 is that of every mark before there were inbound calls.
_VERSIONS = {(False, False): 2, (True, False): 3, (False, True): 4, (True, True): 5}
_KINDS = {version: kind for kind, version in _VERSIONS.items()}
_FORM = struct.Struct(">BIIIII8s8s")
_SEAL_BYTES = 12
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")  # RFC 4648 5


class Mark(NamedTuple):
    """How a dialog was set up.

    row: the id of the trunk's row. destination: fingerprint() of the destination that it named. pbx: fingerprint() of
    where requests to the PBX go. cseq: of the request that set the dialog up, as its sender wrote it. raised: by how
    much it was raised. since: when, in seconds of the epoch. run: a random number of the Kamailio that sent it, another
    one after each start. is_inbound: True if the trunk's carrier has called, False if the PBX has. is_limited: True if
    the call holds a place of a trunk with `max_calls`.
    """

    row: int
    destination: bytes
    pbx: bytes
    cseq: int
    raised: int
    since: int
    run: int
    is_inbound: bool = False
    is_limited: bool = False


class Direction(Enum):
    """Which way a request inside a dialog goes, seen from the trunk."""

    TO_TRUNK = "to the trunk"
    FROM_TRUNK = "from the trunk"


@lru_cache(maxsize=1024)
def fingerprint(key: bytes, destination: str) -> bytes:
    """Return 8 bytes that change when the destination, or place, changes; nothing can be learned from them."""
    return blake2b(destination.encode(), key=key, digest_size=8, person=b"destination").digest()


def dialog_id(call_id: str, tag: str) -> str:
    """Return a short name of the dialogs of this Call-ID whose requests come from this tag: 32 hex digits."""
    return blake2b(f"{call_id}\n{tag}".encode(), digest_size=16, person=b"dialog").hexdigest()


_SEALED: dict[tuple[bytes, str, str], Mark] = {}  # lately, by this process: the dialog's next requests bring them back
_MOST_SEALED = 1024


def seal(key: bytes, mark: Mark, dialog: str) -> str:
    """Return the parameter's value for a dialog (dialog_id of its first request): letters, digits, `-` and `_`."""
    row, destination, pbx, *numbers, is_inbound, is_limited = mark
    body = _FORM.pack(_VERSIONS[is_inbound, is_limited], row, *numbers, destination, pbx)
    sealed = blake2b(body + dialog.encode(), key=key, digest_size=_SEAL_BYTES, person=b"mark").digest()
    text = b2a_base64(body + sealed, newline=False).translate(_TO_URL)
    value = text.decode().rstrip("=")
    if len(_SEALED) >= _MOST_SEALED:
        _SEALED.clear()
    _SEALED[key, value, dialog] = mark
    return value


def unseal(key: bytes, value: str, dialog: str) -> Mark | None:
    """Return the mark if it is ours and of this dialog, None otherwise."""
    if known := _SEALED.get((key, value, dialog)):
        return known
    try:
        text = a2b_base64(value.encode().translate(_FROM_URL) + b"==")
    except ValueError:
        return None
    body, seal = text[:-_SEAL_BYTES], text[-_SEAL_BYTES:]
    expected = blake2b(body + dialog.encode(), key=key, digest_size=_SEAL_BYTES, person=b"mark").digest()
    if len(body) != _FORM.size or not compare_digest(seal, expected):
        return None
    version, row, cseq, raised, since, run, destination, pbx = _FORM.unpack(body)
    kind = _KINDS.get(version)
    return Mark(row, destination, pbx, cseq, raised, since, run, *kind) if kind else None
