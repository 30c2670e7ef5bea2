"""`trunks`: every trunk as the database has it, and as the running Kamailio uses it, if one runs."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kemi.auth import codec
from kemi.command.database import judged, open_source
from kemi.command.rpc import Rpc, RpcError
from kemi.line import quoted, word
from kemi.settings import Settings
from kemi.trunks.standing import Standing, is_out
from kemi.trunks.tables import copied_uacreg, trunk

# Of uac.reg_info's flags (src/modules/uac/uac_reg.c).
_DISABLED, _ONLINE = 1, 4
_NO_RECORD = "404 "


class LastFailure(NamedTuple):
    """The last call that failed over a trunk: what its caller heard, and how many seconds ago."""

    seconds: int
    status: int
    reason: str


class Line(NamedTuple):
    """One trunk. enabled: False if no new call may use it. fault: why it cannot be used, empty if it can. calls: those
    up, of a trunk with max_calls. state: up, full, down or left out. registered: empty if it is not to be. nonce: True
    if the nonce cache has one of its carrier's. lately: its calls of the last five minutes, and how many failed.
    last_failure: of the last day. Without a running Kamailio, what it knows is None or empty.
    """

    trunk: str
    carrier: str
    fault: str
    registers: bool
    enabled: bool = True
    max_calls: int = 0
    calls: int | None = None
    state: str = ""
    registered: str = ""
    nonce: bool | None = None
    lately: tuple[int, int] | None = None
    last_failure: LastFailure | None = None


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="print one object, for programs")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Print the table."""
    lines = _of_database(settings)
    calls: int | None = None
    try:
        with Rpc.connected(settings.rpc_socket) as rpc:
            calls = dict(rpc.ask("dlg.stats_active")[0])["all"]
            nonces = frozenset(name.partition("\n")[0] for name in _entries(rpc, "nonces"))
            known = {table: _entries(rpc, table) for table in ("standings", "inherited", "registers")}
            lines = [_with_state(line, rpc, nonces, known) for line in lines]
            lately, failures = _entries(rpc, "lately"), _entries(rpc, "failures")
            lines = [_with_calls(line, lately, failures) for line in lines]
        state = ""
    except (OSError, RpcError) as error:
        state = f"no running Kamailio: {getattr(error, 'strerror', None) or error}"
    if asked.json:
        found = {"running": not state, "calls": calls, "trunks": list(map(_for_programs, lines))}
        print(json.dumps(found, indent=2))
        return 0
    print(*_table(lines), sep="\n")
    print(state or f"{calls} calls up")
    return 0


def _of_database(settings: Settings) -> list[Line]:
    """Return the rows of uacreg, each with its row of trunk."""
    lines: dict[str, Line] = {}
    with open_source(settings) as source:
        for table, verdict in judged(source, settings.rules):
            row = verdict.row
            name = str(row.get("l_uuid"))
            if table is copied_uacreg:
                carrier = str(row["auth_proxy"] or row["r_domain"] or "")
                registers = bool(row["expires"]) and not (verdict.fault or verdict.unregistered)
                lines[name] = Line(name, carrier, verdict.fault or verdict.unregistered, registers)
            elif table is trunk and name in lines:
                fault = lines[name].fault or verdict.fault
                lines[name] = lines[name]._replace(
                    fault=fault, enabled=row["enabled"] != 0, max_calls=0 if fault else int(str(row["max_calls"]))
                )
    return list(lines.values())


def _with_state(line: Line, rpc: Rpc, nonces: frozenset[str], known: Mapping[str, Mapping[str, str]]) -> Line:
    tracked = int(rpc.ask("dlg.profile_get_size", "trunk", line.trunk)[0]) if line.max_calls else 0
    calls = tracked + int(known["inherited"].get(line.trunk, 0)) if line.max_calls else None
    standing = codec.standing(known["standings"].get(line.trunk, ""))
    return line._replace(
        registered=_registered(rpc, line.trunk, known["registers"]) if line.registers else "",
        nonce=line.trunk in nonces,
        calls=calls,
        state=_state(standing, int(time.time()), is_full=calls is not None and calls >= line.max_calls),
    )


def _with_calls(line: Line, lately: Mapping[str, str], failures: Mapping[str, str]) -> Line:
    failure = codec.failure(failures.get(line.trunk, ""))
    return line._replace(
        lately=codec.lately(lately.get(line.trunk, "")),
        last_failure=failure and LastFailure(int(time.time()) - failure[0], *failure[1:]),
    )


def _for_programs(line: Line) -> dict[str, Any]:
    return {**line._asdict(), "last_failure": line.last_failure and line.last_failure._asdict()}


def _state(found: Standing, now: int, *, is_full: bool) -> str:
    """Say whether calls are sent over a trunk."""
    if found.since:
        return f"down for {now - found.since} s"
    if is_out(found, now):
        return f"left out for {found.out_until - now} s"
    return "full" if is_full else "up"


def _registered(rpc: Rpc, trunk: str, registers: Mapping[str, str]) -> str:
    """Return how the trunk's registration is: registered, trying, refused or off. registers: the table of this name.
    Nothing but the flags is looked at: the answer has the password.
    """
    try:
        flags = dict(rpc.ask("uac.reg_info", "l_uuid", trunk)[0])["flags"]
    except RpcError as error:
        if str(error).startswith(_NO_RECORD):
            return "trying"
        raise
    if flags & _ONLINE:
        return "registered"
    if f"{trunk}\nrefused" in registers:
        return "refused"
    return "off" if flags & _DISABLED else "trying"


def _entries(rpc: Rpc, table: str) -> dict[str, str]:
    """Return what a table of the htable module holds. A key of `nonces` is the trunk, a line end, and its carrier."""
    slots: list[list[tuple[str, Any]]] = rpc.ask("htable.dump", table)
    entries = [dict(entry) for slot in slots for entry in dict(slot)["slot"]]
    return {str(entry["name"]): str(entry["value"]) for entry in entries}


def _table(lines: Sequence[Line]) -> Iterator[str]:
    """Yield the table, with columns as wide as their content."""
    rows = [
        ("TRUNK", "CARRIER", "ENABLED", "STATE", "CALLS", "REGISTERED", "NONCE", "5 MIN", "FAILED", "LAST FAILURE", "")
    ]
    for line in lines:
        registered = line.registered or ("?" if line.registers else "-")
        nonce = {None: "?", True: "yes", False: "no"}[line.nonce]
        carrier = word(line.carrier) if line.carrier else "-"
        calls = f"{'?' if line.calls is None else line.calls}/{line.max_calls}" if line.max_calls else "-"
        enabled, state = "yes" if line.enabled else "no", line.state or "?"
        lately = map(str, line.lately) if line.lately else ("?", "?")
        row = (word(line.trunk), carrier, enabled, state, calls, registered, nonce, *lately, _failure(line), line.fault)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _failure(line: Line) -> str:
    if line.lately is None:
        return "?"
    last = line.last_failure
    return f"{last.status} {_plain(last.reason)}, {last.seconds} s ago" if last else "-"


def _plain(reason: str) -> str:
    """Return a carrier's words as a terminal may show them."""
    return reason if reason.isascii() and reason.isprintable() else quoted(reason)
