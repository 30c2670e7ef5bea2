"""Replies that match no transaction: what they say, and to whom they would go (tm's on_sl_reply in kamailio.cfg)."""

from __future__ import annotations

import re
from typing import NamedTuple

import KSR

from kemi.address import is_address
from kemi.dialog.mark import PARAMETER
from kemi.dialog.sender import PARAMETER as SENDER
from kemi.trunks.groups import CALLERS

_FACTS = "$rs\n$rm\n$ci\n$ft\n$tt\n$cs\n$(hdr(Record-Route)[*])\n$(hdr(Via)[*])"  # read at once
_LINES = 8
_MARK = re.compile(rf";{PARAMETER}=([A-Za-z0-9_-]{{1,100}})(?:;{SENDER}=([A-Za-z0-9_-]{{1,300}}))?(?=[;>])")
_MOST_MARKS = 4  # that are looked at
_SECOND_VIA = re.compile(
    r"[^,]*,\s*SIP\s*/\s*2\.0\s*/\s*(?P<transport>\w+)\s+(?P<host>\[[^\]]*\]|[^\s:;,]+)(?:\s*:\s*(?P<port>[0-9]{1,5}))?(?P<rest>[^,]*)"
)
_PORT = re.compile(r"[0-9]{1,5}")
_CSEQ = re.compile(r"[0-9]{1,10}")
_VIA_PARAMETER = re.compile(r";\s*(\w+)\s*=\s*([^\s;]+)")


class Stray(NamedTuple):
    """A reply. status, method, call_id, from_tag, to_tag, cseq: as it says. marks: the values of our parameter in its
    Record-Routes; own: of the first one beside them (dialog/sender.py). host, port, transport: where its second Via
    leads, empty if it leads nowhere that is plain.
    """

    status: int
    method: str
    call_id: str
    from_tag: str
    to_tag: str
    cseq: int
    marks: tuple[str, ...]
    own: str
    host: str
    port: int
    transport: str


def stray() -> Stray | None:
    """Return the reply at hand, None if it is malformed."""
    lines = str(KSR.pv.gete(f"$_s({_FACTS})")).split("\n")
    if len(lines) != _LINES or not (lines[0].isdecimal() and _CSEQ.fullmatch(lines[5])):
        return None
    status, method, call_id, from_tag, to_tag, cseq, routes, vias = lines
    found = _MARK.findall(routes)[:_MOST_MARKS]
    marks, own = tuple(mark for mark, _ in found), next((own for _, own in found if own), "")
    return Stray(int(status), method, call_id, from_tag, to_tag, int(cseq), marks, own, *second_via(vias))


def second_via(vias: str) -> tuple[str, int, str]:
    """Return where the second of these Vias leads, as Kamailio takes it (RFC 3261 18.2.2, RFC 3581 4)."""
    match = _SECOND_VIA.match(vias)
    if not match:
        return "", 0, ""
    parameters = {name.lower(): value for name, value in _VIA_PARAMETER.findall(match["rest"])}
    if "maddr" in parameters:
        return "", 0, ""
    port = parameters.get("rport", "")
    host = parameters.get("received") or match["host"]
    number = int(port if _PORT.fullmatch(port) else match["port"] or 5060)
    return host.strip("[]"), number, match["transport"].lower()


def goes_to_a_caller(reply: Stray) -> bool:
    """Return True if the reply goes to an address of the table, group 1."""
    return is_address(reply.host) and KSR.permissions.allow_address(CALLERS, reply.host, reply.port) > 0


def drop(_code: int = 0, _reason: str = "") -> None:
    """Do not pass the reply at hand on."""
    KSR.set_drop()
