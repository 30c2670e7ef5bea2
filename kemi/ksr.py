"""The only importer of KSR: what the routes ask of Kamailio, in SIP's own terms.

Nothing is decided here. KEMI functions answer 1 or more for yes, less for no (src/core/kemi.c); a value that is not
UTF-8 cannot be read at all, which is raised as UnreadableError. Header edits reach the wire with the next relay and are
not seen by later reads of the same message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import KSR

MOST_INVITES = 4  # of a dialog, whose CSeq is remembered
MOST_HEADERS = 32  # challenges read from one reply
LONGEST_BODY = 32767  # bytes that Kamailio converts to hex (pv/pv_trans.c)

_SANITY_CHECKS = (
    17895  # the checks of Kamailio's own default configuration: version, scheme, required headers, CSeq, lengths
)
_SANITY_URIS = 7  # R-URI, From and To

_RACK = re.compile(r"([0-9]{1,10})\s+([0-9]{1,10})\s+(\S+)")

_CREDENTIAL_AVPS = ("auser", "apass", "arealm")


class UnreadableError(ValueError):
    """A value from the wire that is not UTF-8."""


class Relayed(NamedTuple):
    """What later routes have to know of a request that was relayed: over which trunk (l_uuid), which carrier its row
    named, and what the request carried answers to (policy.remembered). The first two are without a line end.
    """

    trunk: str = ""
    carrier: str = ""
    answered: str = ""


# --- what came in


def method() -> str:
    """The request's method."""
    return _text("$rm")


def call_id() -> str:
    """The Call-ID, for log lines; never raises."""
    try:
        return _text("$ci")
    except UnreadableError:
        return "(not UTF-8)"


def header(name: str) -> str:
    """The first header field of this name, as it came in; empty where there is none. Raises UnreadableError."""
    return _text(f"$hdr({name})").strip()


def request_uri() -> str:
    """The R-URI. Raises UnreadableError."""
    return _text("$ru")


def request_domain() -> str:
    """The R-URI's host. Raises UnreadableError."""
    return _text("$rd")


def caller() -> tuple[str, str]:
    """User and domain of From, each empty where it has none. Raises UnreadableError."""
    return _text("$fU"), _text("$fd")


def has_to_tag() -> bool:
    """Whether the request belongs to a dialog, by its own words."""
    return KSR.siputils.has_totag() > 0


def asks_for_us() -> bool:
    """Whether the R-URI is this proxy itself, with no user part."""
    return KSR.is_myself_ruri() and not _text("$rU")


def leads_to_us() -> bool:
    """Whether the R-URI's host is one of our own sockets: relaying there would loop."""
    return KSR.is_myself_ruri()


def source_may_call() -> bool:
    """Whether the source is in the address table, group 1."""
    return KSR.permissions.allow_source_address(1) > 0


def is_sane() -> bool:
    """Whether the request is fit to be routed; if not, it has been answered (400, 483) or dropped."""
    if KSR.maxfwd.process_maxfwd(10) < 0:
        KSR.sl.sl_send_reply(483, "Too Many Hops")
        return False
    return KSR.sanity.sanity_check(_SANITY_CHECKS, _SANITY_URIS) > 0


def is_retransmission() -> bool:
    """Whether the transaction is known already; if so, its last reply has been sent again."""
    return KSR.tm.t_check_trans() == 0


def belongs_to_transaction() -> bool:
    """Whether a CANCEL, or an ACK of a failure, has the transaction that it is about here."""
    return KSR.tm.t_check_trans() > 0


# --- dialogs


def follows_route() -> bool:
    """Loose routing: whether the request carries our own Route, which is taken off (RFC 3261 16.4)."""
    return KSR.rr.loose_route() > 0


def dialog_is_known() -> bool:
    """Whether the request belongs to a dialog that was set up through this Kamailio."""
    return KSR.dialog.is_known_dlg() > 0


def goes_to_callee() -> bool:
    """Whether a request inside a known dialog comes from the side that sent the first INVITE (RFC 3261 12.1)."""
    return _text("$ft") == _text("$dlg(from_tag)") != ""


def is_in_known_dialog() -> bool:
    """Whether this message belongs to a dialog that was set up through this Kamailio; in a reply route as well."""
    return bool(_text("$dlg(from_tag)"))


def track_dialog(trunk: str, carrier: str) -> None:
    """Follow the dialog that this INVITE starts: its CSeq, and the trunk (l_uuid) and carrier that it runs over."""
    KSR.dialog.dlg_manage()
    KSR.pv.sets("$dlg_var(trunk)", f"{trunk}\n{carrier}")


def note_carrier() -> None:
    """Remember the address that this reply came from as the carrier's: the one of its dialog's first INVITE."""
    KSR.pv.sets("$dlg_var(carrier)", _text("$si"))


def goes_to_carrier() -> bool:
    """Whether a request inside a dialog goes to the address that answered the dialog's first INVITE, by its next hop's
    own words: a name may lead anywhere.
    """
    return (_text("$dd") or _text("$rd")) == _text("$dlg_var(carrier)") != ""


def dialog_trunk() -> tuple[str, str]:
    """The trunk (l_uuid) of the request's dialog, and the carrier that its row named; both empty where unknown."""
    trunk, _, carrier = _text("$dlg_var(trunk)").partition("\n")
    return trunk, carrier


def keep_cseq_order() -> None:
    """Make the dialog module's order to raise CSeq, if it gave one, a header that forget_cseq_order() can take off
    again.

    loose_route() adds P-K-CSeq-Refresh to a request of a dialog whose CSeq was raised before (dialog/dlg_cseq.c).
    """
    if not KSR.pv.is_null("$dlg_var(cseq_diff)"):
        KSR.textopsx.msg_apply_changes()


def note_invite_cseq() -> None:
    """Remember by how much the CSeq of the INVITE that goes out now is ahead of the caller's: its ACK and PRACKs name
    it, and by then other requests may have raised CSeq further.
    """
    cseq = _text("$cs")
    others = [f"{other}:{raised}" for other, raised in _raised_invites().items() if other != cseq]
    noted = [*others[1 - MOST_INVITES :], f"{cseq}:{_raised_cseq()}"]
    KSR.pv.sets("$dlg_var(invites)", " ".join(noted))


def correct_ack() -> None:
    """Make the callee's ACK of a success have the CSeq of its INVITE (RFC 3261 13.2.2.4): the dialog module would give
    it that of the last request.
    """
    difference = _raised_cseq()
    if not difference or not goes_to_callee():
        return
    raised = _raised_invites().get(_text("$cs"), 0)
    if difference != raised:
        KSR.textopsx.msg_apply_changes()
        KSR.hdr.remove("P-K-CSeq-Refresh")
        KSR.hdr.append(f"P-K-CSeq-Refresh: {int(_text('$cs')) + raised}\r\n")


def correct_rack() -> None:
    """Make RAck name the INVITE by the CSeq that the callee knows it by (RFC 3262 7.2: response, CSeq number,
    method).
    """
    rack = _RACK.fullmatch(header("RAck"))
    raised = _raised_invites().get(rack[2], 0) if rack else 0
    if rack and raised:
        KSR.hdr.remove("RAck")
        KSR.hdr.append(f"RAck: {rack[1]} {int(rack[2]) + raised} {rack[3]}\r\n")


def _raised_invites() -> dict[str, int]:
    """The caller's CSeq -> by how much it was raised, of the dialog's last INVITEs."""
    pairs = (word.partition(":") for word in _text("$dlg_var(invites)").split())
    return {cseq: int(raised) for cseq, _, raised in pairs}


# --- what goes out


def remove_headers(names: tuple[str, ...]) -> None:
    """Take every header field of these names off the request."""
    for name in names:
        KSR.hdr.remove(name)


def add_record_route() -> None:
    """Stay in the path of the dialog (RFC 3261 16.6, step 4)."""
    KSR.rr.record_route()


def set_request_uri(uri: str) -> None:
    """Set the R-URI."""
    KSR.pv.sets("$ru", uri)


def set_next_hop(uri: str) -> bool:
    """Send to this SIP URI, whatever the R-URI says. False: not a URI that Kamailio can parse."""
    return KSR.setdsturi(uri) > 0


def set_socket(sip_socket: str) -> bool:
    """Send from this socket, `proto:address:port`. False: not one that we listen on."""
    KSR.pv.sets("$fs", sip_socket)
    return _text("$fs") == sip_socket


def relay() -> bool:
    """Relay the request. False: it could not be sent, and nothing was replied."""
    return KSR.tm.t_relay() > 0


def relay_for(relayed: Relayed) -> bool:
    """Relay the request over a trunk, with TRUNKAUTH to deal with failures."""
    KSR.pv.sets("$avp(relayed)", "\n".join(relayed))
    KSR.tm.t_on_failure("TRUNKAUTH")
    return relay()


def listen(reply_route: str) -> None:
    """Have this handler called for every reply to the request, however often it is sent again."""
    KSR.tm.t_on_reply(reply_route)


def change_branch(branch_route: str) -> None:
    """Have this handler called for the message that the next relay sends: what it adds is on that one alone."""
    KSR.tm.t_on_branch(branch_route)


def reply(code: int, reason: str) -> None:
    """Answer the request, within its transaction if there is one. An ACK is never answered."""
    KSR.sl.send_reply(code, reason)


def reply_nothing(_code: int, _reason: str) -> None:
    """Where there is nobody to answer: in the route of a reply."""


def reply_retry_later(seconds: int) -> None:
    """Answer 503 and say when to come again (RFC 3261 20.33)."""
    KSR.hdr.append_to_reply(f"Retry-After: {seconds}\r\n")
    reply(503, "Service Unavailable")


def reply_not_allowed(methods: str) -> None:
    """Answer 405 and name the methods that are served (RFC 3261 8.2.1)."""
    KSR.hdr.append_to_reply(f"Allow: {methods}\r\n")
    reply(405, "Method Not Allowed")


# --- in a failure route


def is_canceled() -> bool:
    """Whether the caller has cancelled."""
    return KSR.tm.t_is_canceled() > 0


def failure_status() -> int:
    """The status of the reply that the failure route is about."""
    status = KSR.pv.get("$T_reply_code")
    return status if isinstance(status, int) else 0


def challenge_fields(name: str) -> Iterator[str]:
    """The fields of this name (Proxy-Authenticate, WWW-Authenticate) in the carrier's reply, in order. Raises
    UnreadableError.
    """
    for index in range(MOST_HEADERS):
        field = _text(f"$T_rpl($(hdr({name})[{index}]))")
        if not field:
            return
        yield field


def relayed() -> Relayed:
    """What relay_for() was given last for this request; all empty where it was relayed without."""
    trunk, _, rest = _text("$avp(relayed)").partition("\n")
    carrier, _, answered = rest.partition("\n")
    return Relayed(trunk, carrier, answered)


def asks_as_carrier(trunks: str, relayed_to: str) -> bool:
    """Whether the reply came from where the trunk's credentials may go: the request was sent there, unless the trunk's
    row names another carrier by now (trunks) than it did then, or when the dialog was set up. Inside a dialog it has to
    come from the address that answered its first INVITE: a Route, or the far end's Contact, may lead elsewhere.
    """
    if trunks != relayed_to:
        return False
    return not has_to_tag() or _text("$T_rpl($si)") == _text("$dlg_var(carrier)") != ""


def was_let_in() -> bool:
    """Whether note_let_in() was called for this request."""
    return bool(_text("$avp(let_in)"))


def has_readable_body() -> bool:
    """Whether body() can give the request's body, which may be empty."""
    size = KSR.pv.get("$bs")
    return not isinstance(size, int) or size <= LONGEST_BODY


def body() -> bytes:
    """The request's body as it goes out. It may be no text, so it is read in hex."""
    return bytes.fromhex(_text("$(rb{s.encode.hexa})"))


def add_credentials(fields: Iterable[tuple[str, str]]) -> None:
    """Add Authorization and Proxy-Authorization fields (name, value), if any, to the resend, and raise its CSeq as a
    UAC does that answers a challenge (RFC 3261 22.2). Without a dialog CSeq stays: nobody would put it right in the
    replies.
    """
    add_fields(fields)
    KSR.pv.sets("$ru", request_uri())  # without a new branch there would be nothing to relay
    if _text("$dlg(from_tag)"):
        difference = _raised_cseq() + 1
        KSR.hdr.append(f"P-K-CSeq-Auth: {int(_text('$cs')) + difference}\r\n")
        KSR.pv.sets("$dlg_var(cseq_diff)", str(difference))


def add_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Add header fields (name, value) to what goes out; in a branch route, to that branch alone."""
    for name, value in fields:
        KSR.hdr.append(f"{name}: {value}\r\n")


def _raised_cseq() -> int:
    """By how much the dialog's CSeq towards the callee is ahead of the caller's (dialog/dlg_cseq.c)."""
    return int(_text("$dlg_var(cseq_diff)") or 0)


def answer_challenge(username: str, password: str, realm: str) -> bool:
    """Add the credentials for the carrier's challenge (uac_auth), which raises CSeq as well; the AVPs that held them
    are empty afterwards.

    realm: the only realm answered, empty for any. False: this Kamailio could not answer.
    """
    try:
        for avp, value in zip(_CREDENTIAL_AVPS, (username, password, realm), strict=True):
            KSR.pv.sets(f"$avp({avp})", value)
        return KSR.uac.uac_auth() > 0
    finally:
        for avp in _CREDENTIAL_AVPS:
            KSR.pv.unset(f"$(avp({avp})[*])")  # an AVP is a stack: without [*] only its newest value goes


def forget_cseq_order() -> None:
    """Take P-K-CSeq-Refresh off the next resend: uac_auth() gives an order of its own, and this one would leave as it
    is.
    """
    KSR.hdr.remove("P-K-CSeq-Refresh")


def reply_instead(code: int, reason: str) -> None:
    """Answer the caller with this, in place of what the carrier said."""
    KSR.tm.t_reply(code, reason)


# --- in a reply route


def reply_status() -> int:
    """The status of the reply."""
    status = KSR.pv.get("$rs")
    return status if isinstance(status, int) else 0


def note_let_in() -> None:
    """Remember that the carrier has let this request in: it rings, or was answered."""
    KSR.pv.sets("$avp(let_in)", "1")


# --- what all workers share: the tables of kamailio.cfg that hold nonces


def nonces_record(key: str) -> str:
    """What is known of a trunk's carrier; empty for nothing. It may be torn, if it is being written."""
    try:
        value = KSR.htable.sht_get("nonces", key)
    except UnicodeDecodeError:
        return ""
    return value if isinstance(value, str) else ""


def set_nonces_record(key: str, record: str) -> None:
    """Keep what is known of a trunk's carrier, until it expires."""
    KSR.htable.sht_sets("nonces", key, record)


def next_nonce_count(counter: str) -> int:
    """1 for the first caller in any process, 2 for the second, …; below 1: it cannot be counted."""
    return KSR.htable.sht_inc("nonce_counts", counter)


def keep_nonce_count(counter: str, seconds: int) -> None:
    """Let a count expire after that long if nobody goes on with it."""
    KSR.htable.sht_setex("nonce_counts", counter, seconds)


# --- Kamailio's own modules


def refresh_registration(uuid: str) -> bool:
    """Make the uac module register the trunk as its row says now, or forget it where it has none."""
    return _rpc("uac.reg_refresh", uuid) == 200 or _rpc("uac.reg_remove", uuid) in (200, 404)


def reload_addresses() -> bool:
    """Make the permissions module read the address table again. False: not now."""
    return _rpc("permissions.addressReload") == 200


def _rpc(method: str, *params: str) -> int:
    """Run an RPC command in this process; the status of its answer."""
    KSR.jsonrpcs.exec(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}))
    code = KSR.pv.get("$jsonrpl(code)")
    return code if isinstance(code, int) else 0


# --- log


def notice(line: str) -> None:
    """A log line for what went as it should."""
    KSR.notice(f"{line}\n")


def warning(line: str) -> None:
    """A log line for what the operator should look at."""
    KSR.warn(f"{line}\n")


def error(line: str) -> None:
    """A log line for a fault."""
    KSR.err(f"{line}\n")


def _text(variable: str) -> str:
    try:
        value = KSR.pv.get(variable)
    except UnicodeDecodeError:
        raise UnreadableError(variable) from None
    return "" if value is None else str(value)
