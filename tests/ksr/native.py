"""What the native routes of trunkauth.inc.cfg and tls.cfg do to the mock's state, and those of probe.cfg."""

from __future__ import annotations

from collections.abc import Callable

from tests.ksr import behaviours, variables
from tests.ksr.message import Edits, parse
from tests.ksr.state import State


def _cut(state: State) -> int:
    """Another message in the place of the one that came in; edits so far are lost."""
    state.request, state.run.edits = parse(bytes.fromhex(str(state.script_variables["octets"]))), Edits()
    return 1


def _tls_open(state: State) -> int:
    assert isinstance(state.script_variables["name"], str)
    return 1


def _tls_peer(state: State) -> int:
    """What a test has put into the variable `peer` of the world's connection."""
    assert state.reply is not None
    state.tables.put("peers", state.reply.get("Call-ID") or "", state.world.peer)
    return 1


def _tls_look(state: State) -> int:
    number = state.tables.get("secure", str(state.script_variables["secure"])) or 0
    assert isinstance(number, int)
    state.script_variables["conid"] = number if number < 0 or number in state.world.connections else 0
    return 1


def _tls_leave(state: State) -> int:
    _tls_look(state)
    if (number := int(state.script_variables["conid"])) > 0:
        state.connection = number
    return 1


def _tls_any(state: State) -> int:
    state.connection = 0
    return 1


def _arrived(state: State) -> int:
    if behaviours.sanity_check(state, 17895, 7) < 0:
        return 0  # which ends a native route
    if behaviours.process_maxfwd(state, 70) < 0:
        return -1
    return 1 + next((group for group in (2, 1) if state.is_trusted(group)), 0)


def _private(state: State) -> int:
    for name in ("X-Trunk", "Authorization", "Proxy-Authorization"):
        behaviours.hdr_remove(state, name)
    return 1


def _begun(in_path: tuple[bytes, ...], asked: str) -> Callable[[State], int]:
    """A new request. in_path: the methods for which we record our route; asked: who is asked for keepalives."""

    def begin(state: State) -> int:
        _private(state)
        behaviours.hdr_remove(state, "Route")
        if state.request.method in in_path:
            behaviours.record_route(state)
        if state.request.method == b"INVITE":
            state.start_dialog()
            state.keepalive = asked
        return 1

    return begin


def _inside(state: State) -> int:
    return _private(state) if behaviours.loose_route(state) > 0 else -1


def _first(state: State) -> int:
    key, number = str(state.script_variables["dialog"]), variables.read(state, "$cs")
    assert number is not None
    if state.tables.get("sequences", key) is not None:
        return -1
    state.tables.put("sequences", key, number)
    return 1


def _answered(state: State) -> int:
    key = str(state.script_variables["dialog"])
    if state.tables.get("sequences", key) == variables.read(state, "$cs"):
        state.tables.set_expiry("sequences", key, 32)
    return 1


def _forget(state: State) -> int:
    if state.request.method == b"INVITE":
        state.flags.add(1)
    for name in ("auser", "apass", "arealm"):
        variables.unset(state, f"$(avp({name})[*])")
    return 1


def _append(state: State) -> int:
    state.run.edits.at_the_end.append(bytes.fromhex(str(state.script_variables["octets"])))
    return 1


ROUTES: dict[str, Callable[[State], int]] = {
    "ARRIVED": _arrived,
    "PRIVATE": _private,
    "PLACED": _begun((b"INVITE", b"SUBSCRIBE", b"REFER"), "ka-src"),
    "BROUGHT_IN": _begun((b"INVITE",), "ka-dst"),
    "INSIDE": _inside,
    "FIRST": _first,
    "ANSWERED": _answered,
    "FORGET": _forget,
    "APPEND": _append,
    "CUT": _cut,
    "PASS": lambda _state: 1,
    "PING": lambda _state: 1,
    "TLS_OPEN": _tls_open,
    "TLS_VERIFIED": lambda _state: 1,
    "TLS_PEER": _tls_peer,
    "TLS_LOOK": _tls_look,
    "TLS_LEAVE": _tls_leave,
    "TLS_ANY": _tls_any,
}


def route(state: State, name: str) -> int:
    """The routes of kamailio.cfg and tls.cfg, and of probe.cfg, that a script calls."""
    return ROUTES[name](state) if name in ROUTES else -1
