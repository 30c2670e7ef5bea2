"""Requests that we send on our own, and the replies to our OPTIONS, which wait in a table of the htable module
(kamailio.cfg).
"""

from __future__ import annotations

import json
import re

import KSR

from kemi.dialog.own import Request
from kemi.sip import api, secure
from kemi.sip.failure import LONGEST_RETRY_AFTER
from kemi.sip.rpc import run
from kemi.trunks.secure import TLS

_TABLE = "probes"
_LEADING_NUMBER = re.compile(r"\s*([0-9]{1,9})")

_sending: Request | None = None  # by this process, which sees it again in LOCAL_REQUEST


def send(request: Request) -> bool:
    """Send a request, and wait for nothing. Return False if Kamailio does not take it."""
    global _sending  # noqa: PLW0603
    fields = f"From: {request.sender}\r\n{request.fields}"
    _sending = request
    if request.next_hop.endswith(TLS):
        secure.open_as(request.server_name)
    try:
        return run("tm.t_uac_start", *request[:3], request.socket or ".", fields) == 200
    finally:
        _sending = None


def ping(uri: str, sip_socket: str) -> None:
    """Send two line ends there (kamailio.cfg). sip_socket: the sending one, empty for any."""
    KSR.pv.sets("$var(uri)", uri)
    KSR.pv.sets("$var(socket)", sip_socket)
    KSR.route("PING")


def being_sent() -> Request | None:
    """Return the request that send() is sending, None if what Kamailio is about to send is its own."""
    return _sending


def write_sender(request: Request) -> None:
    """Give the request at hand its From again: Kamailio has put a second tag into it (build_uac_req() in
    tm/t_msgbuilder.c).
    """
    KSR.hdr.remove("From")
    KSR.hdr.append(f"From: {request.sender}\r\n")


def hear(handler: str, seconds: int) -> None:
    """Have this handler see the reply to the request at hand, and Kamailio send it no longer than so many seconds."""
    KSR.tm.t_on_reply(handler)
    KSR.tm.t_set_fr(0, 1000 * seconds)


def answer_for(request: Request, handler: str) -> None:
    """Have this handler see the reply to the request at hand, which is kept for it."""
    KSR.pv.sets("$avp(own)", json.dumps(request))
    KSR.tm.t_on_reply(handler)


def kept() -> Request:
    """Return the request of ours that the reply at hand is to."""
    return Request(*json.loads(str(KSR.pv.gete("$avp(own)"))))


def note_reply(status: int) -> None:
    """Keep the final reply at hand for take_reply()."""
    after = _LEADING_NUMBER.match(api.line("hdr(Retry-After)"))
    retry_after = min(int(after[1]), LONGEST_RETRY_AFTER) if after else 0
    secure.note_peer()
    KSR.htable.sht_sets(_TABLE, api.line("ci"), json.dumps([status, retry_after]))


def take_reply(call_id: str) -> tuple[int, int] | None:
    """Return status and Retry-After (0 for none) of the reply with this Call-ID, None if none has come."""
    try:
        text = KSR.htable.sht_get(_TABLE, call_id)
        if not isinstance(text, str):
            return None
        status, retry_after = json.loads(text)
    except ValueError:  # torn, as in shared.py: the next look will see it
        return None
    KSR.htable.sht_rm(_TABLE, call_id)
    return status, retry_after
