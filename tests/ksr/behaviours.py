"""What each KEMI function does to the mock's state, in one table at the end.

The table holds what our routing script calls, and has been asked of a live Kamailio (questions.txt). A function that is
not in it raises, unless a test says what it answers. Arguments have been checked already.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.ksr import variables
from tests.ksr.message import Edits, address
from tests.ksr.state import Route, State, with_value

Result = str | int | None
Behaviour = Callable[..., Result]

LEVELS = ("dbg", "info", "notice", "warn", "err")


def _yes(answer: object) -> int:
    return 1 if answer else -1


def _set_dst_uri(state: State, uri: str) -> bool:
    state.set_dst_uri(uri)
    return True


# --- pv and hdr


def _pv_gete(state: State, name: str) -> Result:
    value = variables.read(state, name)
    return "" if value is None else value


def _hdr_is_present(state: State, name: str) -> int:
    return _yes(state.message.values(name))


def _hdr_append(state: State, text: str) -> int:
    state.run.edits.at_the_end.append(text.encode())
    return 1


def _set_flag(state: State, number: int) -> bool:
    state.flags.add(number)
    return True


def _hdr_append_to_reply(state: State, text: str) -> int:
    state.reply_headers.append(text.removesuffix("\r\n"))
    return 1


def hdr_remove(state: State, name: str) -> int:
    state.run.edits.remove(state.message, name)
    return 1  # whether there was one or not


def _msg_apply_changes(state: State) -> int:
    """The edits so far are in the request, as if it had come in so."""
    state.request, state.run.edits = state.run.edits.apply(state.request, state.request.start_line), Edits()
    return 1


def _hdr_replace(state: State, name: str, text: str) -> int:
    hdr_remove(state, name)
    return _hdr_append(state, text)


# --- replies and transactions


def _send_reply(state: State, code: int, reason: str) -> int:
    return state.answer(code, reason)


def _t_reply(state: State, code: int, reason: str) -> int:
    return state.answer(code, reason) if state.has_transaction else -1


def _t_check_trans(state: State) -> int:
    if state.run.route is Route.FAILURE:
        return 1
    return 0 if state.has_transaction else state.world.transaction_known


def _arm(route: Route) -> Behaviour:
    def arm(state: State, name: str) -> int:
        state.armed.pop(route, None)
        if name:
            state.armed[route] = name
        return 1

    return arm


def _t_set_fr(state: State, until_final: int, until_any: int) -> int:
    return _yes(until_final >= 0 and until_any >= 0)


def _t_set_disable_internal_reply(state: State, disable: int) -> int:
    state.replies_itself = not disable
    return 1


# --- checks on the way in


def process_maxfwd(state: State, limit: int) -> int:
    """Counts down in the buffer itself, so this change is seen at once, padded with a space where a digit went."""
    value = state.request.value("Max-Forwards")
    if not value:
        state.run.edits.at_the_end.append(b"Max-Forwards: %d\r\n" % limit)
        return 2
    if not value.strip().isdigit():
        return -2
    if int(value) <= 0:
        return -1
    state.request = with_value(state.request, b"Max-Forwards", b"%*d" % (len(value), int(value) - 1))
    return 1


def sanity_check(state: State, _checks: int, _uris: int) -> int:
    length = state.request.value("Content-Length")
    return _yes(state.world.sane and (not length or int(length) == len(state.request.body)))


def _sanity_reply(state: State) -> int:
    """The answer that sanity_check keeps back (modparam noreply). An ACK gets none."""
    state.answer(400, "Bad Request")
    return 1


def _has_totag(state: State) -> int:
    return _yes(address(state.message.value("To"))[2])


def _allow_source_address_group(state: State) -> int:
    return next((group for group in sorted(state.world.trusted) if state.is_trusted(group)), -1)


# --- routes and dialogs


def loose_route(state: State) -> int:
    if state.world.loose_route in {1, -3}:
        state.run.edits.remove(state.request, "Route")
        state.run.dst_uri = state.world.route_leads_to
    return state.world.loose_route


def _add_rr_param(state: State, parameter: str) -> int:
    state.run.edits.route_parameters.append(parameter.encode())
    return 1


def record_route(state: State) -> int:
    if state.run.edits.record_route is not None:
        return -1
    state.run.edits.record_route = b"sip:%s;lr" % state.world.sockets[0].split(":", 1)[1].encode()
    return 1


# --- the tables that all processes share


def _sht_get(state: State, table: str, key: str) -> Result:
    return state.tables.get(table, key)


def _sht_set(state: State, table: str, key: str, value: str | int) -> int:
    return state.tables.put(table, key, value)


def _sht_inc(state: State, table: str, key: str) -> int:
    return state.tables.increment(table, key)


def _sht_setex(state: State, table: str, key: str, seconds: int) -> int:
    return state.tables.set_expiry(table, key, seconds)


def _sht_lock(state: State, table: str, key: str) -> int:
    return state.tables.lock(table, key)


def _sht_unlock(state: State, table: str, key: str) -> int:
    return state.tables.unlock(table, key)


def _sht_rm(state: State, table: str, key: str) -> int:
    return state.tables.remove(table, key)


# --- uac_auth


_PARSABLE = re.compile(r"digest\s(?!.*algorithm\s*=\s*\"?(?!md5\b(?!-)))", re.I | re.S)


def _uac_auth(state: State) -> int:
    """What modules/uac/auth.c can do, and no more: the first challenge, MD5, the AVPs' credentials, an exact realm."""
    challenge = _first_challenge(state)
    credentials = [variables.read(state, f"$avp({name})") for name in ("auser", "apass", "arealm")]
    user, password, realm = credentials
    if challenge is None or not state.world.uac_answers or not (user and password):
        return -1
    offered = dict(re.findall(r'(\w+)\s*=\s*"?([^",]*)"?', challenge))
    if offered.get("algorithm", "MD5").upper() != "MD5" or (realm and realm != offered.get("realm")):
        return -1
    field = {401: "Authorization", 407: "Proxy-Authorization"}[state.reply_code]
    uri = state.branch_uri.decode()
    _hdr_append(
        state,
        f'{field}: Digest username="{user}", realm="{offered.get("realm")}", nonce="{offered.get("nonce")}", '
        f'uri="{uri}", response="{"0" * 32}", algorithm=MD5\r\n',
    )
    state.set_uri(state.branch_uri)
    return 1


def _first_challenge(state: State) -> str | None:
    field = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}.get(state.reply_code)
    if field is None or state.reply is None or state.run.route is not Route.FAILURE:
        return None
    values = [value.decode("utf-8", "replace") for value in state.reply.values(field)]
    if not state.version.startswith("6.1"):
        del values[1:]  # 6.1 takes the first that it can parse, the others the first or none
    return next(filter(_PARSABLE.match, values), None)


TABLE: dict[str, Behaviour] = {
    **{level: lambda state, _line: 0 for level in LEVELS},
    "setflag": _set_flag,
    "is_myself_ruri": lambda state: state.is_own(state.uri()),
    "is_myself_suri": lambda state: state.is_own(state.source_uri()),
    "is_REGISTER": lambda state: state.request.method == b"REGISTER",
    "is_OPTIONS": lambda state: state.request.method == b"OPTIONS",
    "setdsturi": _set_dst_uri,
    "force_rport": lambda state: True,
    "pv.get": variables.read,
    "pv.gete": _pv_gete,
    "pv.is_null": lambda state, name: variables.read(state, name) is None,
    "pv.sets": variables.write,
    "pv.seti": variables.write,
    "pv.unset": variables.unset,
    "hdr.is_present": _hdr_is_present,
    "hdr.append": _hdr_append,
    "hdr.remove": hdr_remove,
    "hdr.rmappend": _hdr_replace,
    "hdr.append_to_reply": _hdr_append_to_reply,
    "sl.send_reply": _send_reply,
    "sl.sl_send_reply": _send_reply,
    "tm.t_reply": _t_reply,
    "tm.t_relay": lambda state: state.relay(),
    "tm.t_on_failure": _arm(Route.FAILURE),
    "tm.t_on_branch": _arm(Route.BRANCH),
    "tm.t_on_reply": _arm(Route.REPLY),
    "tm.t_check_trans": _t_check_trans,
    "tm.t_set_fr": _t_set_fr,
    "tm.t_set_disable_internal_reply": _t_set_disable_internal_reply,
    "tm.t_is_canceled": lambda state: _yes(state.world.cancelled),
    "tm.t_branch_timeout": lambda state: _yes(state.local_reply),
    "maxfwd.process_maxfwd": process_maxfwd,
    "sanity.sanity_check": sanity_check,
    "sanity.sanity_reply": _sanity_reply,
    "siputils.has_totag": _has_totag,
    "permissions.allow_source_address": lambda state, group: _yes(state.is_trusted(group)),
    "permissions.allow_source_address_group": _allow_source_address_group,
    "rr.loose_route": loose_route,
    "rr.record_route": record_route,
    "rr.add_rr_param": _add_rr_param,
    "dialog.dlg_manage": lambda state: _yes(state.start_dialog()),
    "dialog.dlg_set_property": lambda state, name: _yes(name in {"ka-src", "ka-dst", "timeout-noreset"}),
    "dialog.is_known_dlg": lambda state: _yes(state.known_dialog is not None),
    "dialog.dlg_reset_property": lambda state, name: _yes(name in {"ka-src", "ka-dst", "timeout-noreset"}),
    "textopsx.msg_apply_changes": _msg_apply_changes,
    "uac.uac_auth": _uac_auth,
    "jsonrpcs.exec": lambda state, command: _yes(command.startswith("{")),  # $jsonrpl is for a test to say
    "htable.sht_get": _sht_get,
    "htable.sht_sets": _sht_set,
    "htable.sht_seti": _sht_set,
    "htable.sht_inc": _sht_inc,
    "htable.sht_setex": _sht_setex,
    "htable.sht_rm": _sht_rm,
    "htable.sht_lock": _sht_lock,
    "htable.sht_unlock": _sht_unlock,
}  # fmt: skip

# What was asked in the routes in which most of the table has no business: in the others everything was.
_ANYWHERE = frozenset({
    *LEVELS,
    *(path for path in TABLE if path.startswith(("htable.", "pv."))),
    "hdr.is_present", "siputils.has_totag",
})  # fmt: skip
ASKED_IN = {
    Route.BRANCH: _ANYWHERE | {"route", "hdr.append", "hdr.remove", "dialog.is_known_dlg", "rr.add_rr_param"},
    Route.REPLY: _ANYWHERE | {"route", "hdr.append", "hdr.remove", "dialog.dlg_reset_property"},
}
