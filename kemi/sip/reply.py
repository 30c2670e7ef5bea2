"""A reply to the request, in a reply route: what it says, and what its caller sees of it."""

from __future__ import annotations

import re

import KSR

from kemi.auth.attempt import Attempt
from kemi.sip import api, edit, relay

_CREDENTIALS = re.compile(rb"^(?:Proxy-)?Authorization[ \t]*:[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)


def status_and_attempt() -> tuple[int, Attempt]:
    """Return the status of the reply, and the transaction's attempt, read at once; of a 100, no attempt."""
    status, _, text = str(KSR.pv.gete("$_s($rs\n$avp(attempt))")).partition("\n")
    return int(status), Attempt() if status == "100" else relay.ATTEMPTS[text]


def header(name: str) -> str:
    """Return the values of all header fields of this name as one list, empty if there is none or it is not UTF-8."""
    try:
        return str(KSR.pv.gete(f"$(hdr({name})[*])"))
    except UnicodeDecodeError:
        return ""


def sent_credentials() -> bytes:
    """Return the header fields with which the INVITE that this reply answers was authenticated."""
    head, _, _ = bytes.fromhex(str(KSR.pv.gete("$(avp(sent){s.encode.hexa})"))).partition(b"\r\n\r\n")
    return b"".join(_CREDENTIALS.findall(head + b"\r\n"))


def restore_party(name: str) -> None:
    """Give the reply From or To as the request had it when it came in, in one line."""
    edit.set_party(name, api.line(f"T_req($hdr({name}))"))


def restore_cseq() -> None:
    """Give the reply the CSeq as the caller wrote it."""
    KSR.hdr.remove("CSeq")
    KSR.hdr.append(f"CSeq: {KSR.pv.gete('$T_req($hdr(CSeq))')}\r\n")
