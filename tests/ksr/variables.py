"""The pseudo-variables that a routing script of ours may use, over the mock's state.

Reading gives what app_python3 gives: None for null, int or str, UnicodeDecodeError for what is not UTF-8. Kamailio
answers null for a name that it does not know, and True for setting what cannot be set; both hide bugs, so here they
raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.ksr.message import Message, Uri, address, parse_uri
from tests.ksr.state import MisuseError, Route, State

_MOST_HEX = 65536 // 2 - 1

Value = str | int | bytes | None


class UnknownVariableError(MisuseError):
    """A pseudo-variable that the mock does not know. Kamailio would log an error and give null."""


@dataclass(frozen=True)
class Name:
    """A pseudo-variable's name, taken apart: `$(hdr(Via)[1])` is class hdr, inner Via, index 1."""

    kind: str
    inner: str | None = None
    index: int | str = 0


_PLAIN = re.compile(r"\$(?P<kind>[A-Za-z_]+)(?:\((?P<inner>.*)\))?", re.S)
_IN_A_TEXT = re.compile(
    rb"\$T_rpl\(\$\(hdr\([^()]*\)\[\d\]\)\)|\$\([A-Za-z_]+\([^()]*\)\[\*\]\)|\$\([a-z]+\{uri\.[a-z]+\}\)|\$[A-Za-z_]+(?:\([^()]*\))?"
)
_OF_URI = re.compile(r"\$\((?P<name>ru|du)\{uri\.(?P<part>scheme|port)\}\)")
_IN_HEX = re.compile(r"\$\((?P<name>[A-Za-z_]+(?:\(.*\)(?:\[\d+\])?)?)\{s\.encode\.hexa\}\)", re.S)
_INDEXED = re.compile(r"\$\((?P<kind>[A-Za-z_]+)\((?P<inner>.*)\)\[(?P<index>-?\d+|\*)\]\)", re.S)


def parse(text: str) -> Name:
    """Raises UnknownVariableError for what is not a pseudo-variable."""
    if found := _INDEXED.fullmatch(text):
        index = found["index"] if found["index"] == "*" else int(found["index"])
        return Name(found["kind"], found["inner"], index)
    if found := _IN_HEX.fullmatch(text):
        return Name("hex", found["name"])
    if found := _OF_URI.fullmatch(text):
        return Name(f"uri.{found['part']}", found["name"])
    if found := _PLAIN.fullmatch(text):
        return Name(found["kind"], found["inner"])
    raise UnknownVariableError(text)


def read(state: State, text: str) -> str | int | None:
    """What pv.get gives. Raises UnknownVariableError, UnicodeDecodeError."""
    value = _read(state, parse(text), text)
    return value.decode() if isinstance(value, bytes) else value


def _read(state: State, name: Name, text: str) -> Value:
    if state.run.route is Route.REPLY and name.kind not in _IN_A_REPLY:
        raise MisuseError(f"{text} in a reply route: nobody has asked Kamailio what it is there")
    if name.inner is None and name.kind in _PLAIN_READERS:
        return _PLAIN_READERS[name.kind](state)
    if name.inner is not None and name.kind in _INNER_READERS:
        return _INNER_READERS[name.kind](state, name)
    raise UnknownVariableError(text)


# --- reading


def _uri_part(part: str) -> Callable[[State], Value]:
    def read_part(state: State) -> Value:
        uri = state.uri()
        return _part_with_default(uri, part) if uri else None

    return read_part


def _ruri(state: State) -> Value:
    return state.run.ruri if state.uri() or state.version.startswith("6.1") else None


def _party(header: str, part: Callable[[tuple[bytes, bytes, bytes]], bytes | None]) -> Callable[[State], Value]:
    def read_party(state: State) -> Value:
        return part(address(state.message.value(header))) or None

    return read_party


def _user(party: tuple[bytes, bytes, bytes]) -> bytes | None:
    uri = parse_uri(party[0])
    return uri.user if uri else None


def _domain(party: tuple[bytes, bytes, bytes]) -> bytes | None:
    uri = parse_uri(party[0])
    return uri.host if uri else None


def _destination(part: str) -> Callable[[State], Value]:
    """$dd, $dp, $dP: host, port and transport of $du."""

    def read_part(state: State) -> Value:
        uri = parse_uri((state.run.dst_uri or "").encode())
        return _part_with_default(uri, part) if uri else None

    return read_part


def _part_with_default(uri: Uri, part: str) -> Value:
    if part == "transport":
        found = re.search(rb";transport=([^;?>]+)", bytes(uri))
        return found[1] if found else b"UDP"
    return getattr(uri, part) or (b"5060" if part == "port" else None)


def _reply_code(state: State) -> Value:
    return 100 if state.run.route is Route.BRANCH else state.reply_code  # of a branch that has no reply yet


def _status(state: State) -> Value:
    """$rs: of the message itself, so null in failure routes too, where it is the request."""
    return state.reply_code if state.run.route is Route.REPLY else None


def _original_uri(state: State) -> Value:
    return state.request.request_uri


_PLAIN_READERS: dict[str, Callable[[State], Value]] = {
    "ru": _ruri,
    "rU": _uri_part("user"),
    "rd": _uri_part("host"),
    "rp": _uri_part("port"),
    "rP": _uri_part("transport"),
    "ou": _original_uri,
    "du": lambda state: state.run.dst_uri,
    "dd": _destination("host"),
    "dp": _destination("port"),
    "dP": _destination("transport"),
    "fs": lambda state: state.run.socket,
    "fu": _party("From", lambda party: party[0]),
    "tu": _party("To", lambda party: party[0]),
    "fU": _party("From", _user),
    "fd": _party("From", _domain),
    "ft": _party("From", lambda party: party[2]),
    "tt": _party("To", lambda party: party[2]),
    "ci": lambda state: state.message.value("Call-ID") or None,
    "cs": lambda state: state.message.value("CSeq").split()[0],
    "route_uri": lambda state: address(state.request.value("Route"))[0] or None,
    "rm": lambda state: state.request.method,
    "ml": lambda state: len(bytes(state.request)),
    "rb": lambda state: state.request.body or None,
    "bs": lambda state: len(state.request.body),
    "cl": lambda state: (
        int(state.request.value("Content-Length") or -1) if state.request.values("Content-Length") else None
    ),
    "mb": lambda state: bytes(state.request),
    "si": lambda state: state.world.carrier if state.run.route is Route.REPLY else state.source[0],
    "sp": lambda state: state.world.carrier_port if state.run.route is Route.REPLY else state.source[1],
    "proto": lambda state: state.world.transport,
    "Ri": lambda state: state.world.sockets[0].split(":", 1)[1].rsplit(":", 1)[0],
    "Rp": lambda state: int(state.world.sockets[0].rsplit(":", 1)[1]),
    "rs": _status,
    "rr": lambda state: state.reply_reason if state.run.route is Route.REPLY else None,
    "T_reply_code": _reply_code,
    "T_branch_idx": lambda state: len(state.relayed) - (state.run.route is Route.REPLY),
    "T_reply_reason": lambda state: state.reply_reason or None,
}


def _header(message: Message, name: Name) -> Value:
    values = message.values(name.inner or "")
    if isinstance(name.index, str):
        return b",".join(values) if values else None
    return values[name.index] if -len(values) <= name.index < len(values) else None


def _of_reply(state: State, name: Name) -> Value:
    """$T_rpl($x): x of the carrier's reply; null outside failure routes, and where the reply is a local one."""
    inner = parse(name.inner or "")
    if inner.kind not in ({"rs", "rr", "si", "sp", "proto"} if inner.inner is None else {"hdr"}):
        raise UnknownVariableError(f"$T_rpl({name.inner})")
    if state.run.route is not Route.FAILURE or state.reply is None:
        return None
    match inner.kind:
        case "rs":
            return state.reply_code
        case "rr":
            return state.reply_reason
        case "si":
            return state.world.carrier
        case "sp":
            return state.world.carrier_port
        case "proto":
            return "udp"
    return _header(state.reply, inner)


def _avp(state: State, name: Name) -> Value:
    values = state.avps.get(name.inner or "", [])
    if isinstance(name.index, str):
        return ", ".join(map(str, values)) if values else None
    return values[name.index] if 0 <= name.index < len(values) else None


def _of_request(state: State, name: Name) -> Value:
    """$T_req($x): x of the transaction's request, in a reply route."""
    inner = parse(name.inner or "")
    if state.run.route is not Route.REPLY or inner.kind != "hdr":
        raise MisuseError(f"$T_req({name.inner}) in a {state.run.route.value} route: nobody has asked Kamailio")
    return _header(state.request, inner)


def _printed(state: State, name: Name) -> Value:
    """$_s(text): the text, with each variable in it printed."""
    return _IN_A_TEXT.sub(lambda found: _print(state, found[0].decode()), (name.inner or "").encode())


def _print(state: State, text: str) -> bytes:
    name = parse(text)
    value = _read(state, name, text)
    if value is None:  # 5.6 and 6.0 print $route_uri as if it were there
        return b"" if name.kind == "route_uri" and not state.version.startswith("6.1") else b"<null>"
    return value if isinstance(value, bytes) else str(value).encode()


def _in_hex(state: State, name: Name) -> Value:
    """$(x{s.encode.hexa}): the bytes of $x, which may be no text; null where they are too many (pv/pv_trans.c)."""
    inner = name.inner or ""
    value = _read(state, parse(f"$({inner})" if inner.endswith("]") else f"${inner}"), inner)
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    if not isinstance(value, bytes) or len(value) > _MOST_HEX:
        return None
    return value.hex()


def _part_of_uri(part: str) -> Callable[[State, Name], Value]:
    """$(ru{uri.scheme}), $(du{uri.port}): as written, empty if it is not there."""

    def read_part(state: State, name: Name) -> Value:
        uri = parse_uri((state.run.dst_uri or "").encode()) if name.inner == "du" else state.uri()
        return getattr(uri, part) if uri else b""

    return read_part


def _rpc_answer(state: State, name: Name) -> Value:
    """$jsonrpl(code), $jsonrpl(body): the status and the text of the last RPC command's answer; 0 and null before."""
    match name.inner:
        case "code":
            return state.world.rpc_code
        case "body":
            return state.world.rpc_body or None
    raise UnknownVariableError(f"$jsonrpl({name.inner})")


def _selected(state: State, name: Name) -> Value:
    """$sel(via.host): of the first Via."""
    if name.inner != "via.host":
        raise UnknownVariableError(f"$sel({name.inner})")
    sent_by = state.message.value("Via").partition(b" ")[2].partition(b";")[0].strip()
    return re.sub(rb":\d+$", b"", sent_by) or None


_INNER_READERS: dict[str, Callable[[State, Name], Value]] = {
    "hdr": lambda state, name: _header(state.message, name),
    "T_rpl": _of_reply,
    "avp": _avp,
    "dlg_var": lambda state, name: state.dialog_variables().get(name.inner or ""),
    "T_req": _of_request,
    "_s": _printed,
    "hex": _in_hex,
    "uri.scheme": _part_of_uri("scheme"),
    "uri.port": _part_of_uri("port"),
    "sel": _selected,
    "var": lambda state, name: state.script_variables.get(name.inner or "", 0),
    "jsonrpl": _rpc_answer,
}


# What a reply route can read: of the reply itself, and what it shares with the request's routes.
_IN_A_REPLY = frozenset({
    "rs", "rr", "si", "sp", "proto", "_s", "ci", "T_branch_idx", "ft", "rm", "cs", "hdr", "T_reply_code", "T_rpl",
    "T_req", "avp", "dlg_var", "hex",
})  # fmt: skip

# What can be set everywhere. The rest belongs to one run of a request or failure route.
_EVERYWHERE = frozenset({"avp", "dlg_var", "var"})

# --- writing


def _must_be_settable(state: State, name: Name, text: str) -> None:
    if state.run.route in {Route.BRANCH, Route.REPLY} and name.kind not in _EVERYWHERE:
        raise MisuseError(f"{text} is set in a {state.run.route.value} route: nobody has asked Kamailio what that does")


def write(state: State, text: str, value: str | int) -> bool:
    """What pv.sets and pv.seti do. Raises UnknownVariableError; MisuseError for a variable that cannot be set."""
    name = parse(text)
    _must_be_settable(state, name, text)
    if name.kind == "avp" and name.inner:
        _push_avp(state, name, value)
        return True
    if name.kind == "dlg_var" and name.inner:
        if isinstance(value, int):
            return False  # "can't set dlg_var": the module takes strings alone
        state.dialog_variables()[name.inner] = value
        return True
    if name.kind == "var" and name.inner:
        state.script_variables[name.inner] = value
        return True
    if name.inner is None and name.kind in _WRITERS and isinstance(value, str):
        return _WRITERS[name.kind](state, value)
    if name.inner is None and name.kind in _WRITERS:
        raise MisuseError(f"{text} is set with a string")
    _read(state, name, text)  # raises UnknownVariableError
    raise MisuseError(f"{text} cannot be set: Kamailio answers True and does nothing")


def unset(state: State, text: str) -> bool:
    """What pv.unset does. Of an AVP with several values it takes the newest alone."""
    name = parse(text)
    _must_be_settable(state, name, text)
    if name.kind == "avp" and name.inner:
        values = state.avps.get(name.inner, [])
        del values[slice(None) if name.index == "*" else slice(1)]
        return True
    if name.kind == "dlg_var" and name.inner:
        state.dialog_variables().pop(name.inner, None)
        return True
    match name:
        case Name("du", None):
            state.run.dst_uri = None
            return True
        case Name("fs", None):
            state.run.socket = None
            return True
        case Name("rU", None):
            return _set_part("user")(state, None)
        case Name("ru", None):
            return False
    _read(state, name, text)
    raise MisuseError(f"{text} cannot be unset: Kamailio answers True and does nothing")


def _push_avp(state: State, name: Name, value: str | int) -> None:
    """An AVP is a stack: a new value goes on top of the old one, which shows again once the new one is unset."""
    values = state.avps.setdefault(name.inner or "", [])
    if name.index == "*":
        values.clear()
    values.insert(0, value)


def _set_ruri(state: State, value: str) -> bool:
    state.set_uri(value.encode())
    return True


def _set_part(part: str) -> Callable[[State, str | None], bool]:
    def set_part(state: State, value: str | None) -> bool:
        uri = state.uri()
        if uri is None:
            return False
        changed: dict[str, Any] = {part: None if value is None else value.encode()}
        state.set_uri(bytes(replace(uri, **changed)))
        return True

    return set_part


def _set_dst(state: State, value: str) -> bool:
    state.set_dst_uri(value)
    return True


def _set_socket(state: State, value: str) -> bool:
    """A socket that Kamailio does not listen on changes nothing, and the answer is True all the same."""
    if state.listens_on(value):
        state.run.socket = value
    return True


_WRITERS: dict[str, Callable[[State, str], bool]] = {
    "ru": _set_ruri,
    "rU": _set_part("user"),
    "rd": _set_part("host"),
    "rp": _set_part("port"),
    "du": _set_dst,
    "fs": _set_socket,
}
