"""The CSeq numbers that a carrier sees: RFC 3261 22.2, 12.2.1.1, 13.2.2.4 and 8.1.1.5, RFC 3262 7.2.

The rules:

1. A number towards a carrier is never used twice: a resend has the one above the highest that was sent so far for this
   Call-ID, From tag and destination; any other request has its caller's, raised by as much as was raised before, or the
   one above the highest if that is more. Another destination starts from the caller's own numbers again.
2. The highest is remembered beyond a failure: a caller who tries again after a 422 counts on from the number that he
   knows, not from the one that the carrier saw; and beyond a BYE while another dialog of the same call, that of a fork,
   counts on.
3. By how much the INVITE that set a dialog up was raised is in the dialog's own mark (mark.py). What was raised later
   is remembered by this Kamailio alone. After a restart, or on another node, that is unknown. No more than 64 requests
   were challenged at once, nor more than one a second, so 64 and the dialog's age in seconds pass them all; with 8 for
   each of the caller's requests since, none of which was sent more often, those too that nodes have added one upon the
   other, whose clocks may differ. If the caller's first number is unknown (a PBX that was called), the former has to
   do. CSeq may have gaps.
4. An ACK of a success has the number of its INVITE, and RAck names its INVITE by it.
5. A number is below 2**31. What would go beyond is refused.

Pure: numbers come in, numbers go out.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

BEYOND = 2**31  # RFC 3261 8.1.1.5
MOST_SENT = 8  # times that one request goes out; no more than 4 of its challenges are answered (auth/session.py)
MOST_AT_ONCE = 64  # requests of a dialog that were challenged
MOST_INVITES = 4  # of a dialog, whose numbers are remembered
MOST_LEGS = 4  # dialogs of a call that are told apart

_RACK = re.compile(r"([0-9]{1,10})[ \t]+([0-9]{1,10})[ \t]+([!-~]+)")


Invites = tuple[tuple[int, int], ...]


class Sequence(NamedTuple):
    """The numbers sent so far for one Call-ID, From tag and destination.

    highest: of any request. invites: (the caller's CSeq, the number of its last attempt) of the last INVITEs. legs: the
    dialogs inside which requests were sent (leg()); there are several if somebody has forked.
    """

    highest: int = 0
    invites: Invites = ()
    legs: tuple[int, ...] = ()


NONE_SENT = Sequence()


class TooHighError(ValueError):
    """A number would reach 2**31."""


def first(sequence: Sequence, base: int) -> int:
    """Return the number of a request's first attempt. base: the caller's CSeq, and by how much it was raised before.
    Raises TooHighError.
    """
    return _checked(max(base, sequence.highest + 1))


def resend(sequence: Sequence, last: int) -> int:
    """Return the number of a request that is sent again; last: of its last attempt. Raises TooHighError."""
    return _checked(max(sequence.highest, last) + 1)


def unknown(since: int | None, age: int) -> int:
    """Return what to add to a number in place of what is not remembered. since: how many numbers the caller has counted
    since the dialog's INVITE, None if he did not send it. age: of the dialog, in seconds.
    """
    return MOST_AT_ONCE + max(age, 0) + MOST_SENT * max(since or 0, 0)


def leg(from_tag: str, to_tag: str) -> int:
    """Return the name of a dialog among those of one call."""
    return crc32(f"{from_tag}\n{to_tag}".encode()) + 1


def noted(sequence: Sequence, method: str, cseq: int, number: int, leg: int = 0) -> Sequence:
    """Return the sequence after this request was sent; cseq: the caller's. leg: 0 if it has none, or is noted."""
    legs = sequence.legs if leg in (0, *sequence.legs) else (*sequence.legs, leg)[-MOST_LEGS:]
    sent = Sequence(max(sequence.highest, number), sequence.invites, legs)
    return with_invite(sent, cseq, number) if method == "INVITE" else sent


def with_invite(sequence: Sequence, cseq: int, number: int) -> Sequence:
    """Return the sequence with the number of an INVITE; cseq: the caller's."""
    invites = dict(sequence.invites)
    invites.pop(cseq, None)
    invites[cseq] = number
    return Sequence(sequence.highest, tuple(invites.items())[-MOST_INVITES:], sequence.legs)


def of_invite(sequence: Sequence, cseq: int, otherwise: int) -> int:
    """Return the number of the INVITE that the caller knows by cseq; otherwise: if it is not remembered."""
    return dict(sequence.invites).get(cseq, otherwise)


def rack_cseq(value: str) -> int | None:
    """Return the caller's CSeq that a RAck value names, None if it is malformed."""
    match = _RACK.fullmatch(value)
    return int(match[2]) if match else None


def rack(value: str, number: int) -> str:
    """Return a well-formed RAck value with this number in place of its CSeq."""
    response, _, method = value.split(None, 2)
    return f"{response} {number} {method}"


def _checked(number: int) -> int:
    if number >= BEYOND:
        raise TooHighError(f"CSeq {number}")
    return number
