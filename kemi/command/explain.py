"""`explain`: what the running node would do with a call, or with many, as the database is now and with a change in it.
It places no call, and changes nothing.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from kemi.command.base import Failure
from kemi.command.lookup import look_up
from kemi.command.plan import Call, Plan, plan
from kemi.command.snapshot import snapshot
from kemi.dialog import identity, sender
from kemi.line import quoted
from kemi.settings import Settings
from kemi.trunks.hops import target_of
from kemi.trunks.trunk import DEFAULT, Trunk

_SCHEMES = ("sip:", "sips:", "tel:", "urn:")
_COLUMNS = {"from", "to", "source", "trunk"}


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("sender", metavar="FROM", nargs="?", help="the caller: a number, user@domain or a URI")
    parser.add_argument("dialled", metavar="TO", nargs="?", help="the number or URI that is dialled")
    parser.add_argument("--source", metavar="ADDRESS", default="", help="where it comes from: may it call?")
    parser.add_argument("--trunk", metavar="L_UUID", default="", help="what X-Trunk says")
    parser.add_argument(
        "--calls",
        metavar="FILE.csv",
        type=Path,
        help="many calls: a heading with from, to and, if wanted, source, trunk",
    )
    parser.add_argument(
        "--with",
        metavar="SQL",
        dest="changes",
        action="append",
        default=[],
        help="carry this out in a copy of the database (as SQLite's SQL), and show what it changes",
    )


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Print one plan, or a line for each call."""
    calls = _calls(asked, settings)
    with snapshot(settings) as copy:
        before = [plan(copy, call, settings) for call in calls]
    after = before
    if asked.changes:
        with snapshot(settings, asked.changes) as copy:
            after = [plan(copy, call, settings) for call in calls]
    if asked.calls:
        _print_many(calls, before, after, moves=bool(asked.changes))
        return 0
    print("\n".join(_explained(calls[0], before[0], settings)))
    if asked.changes:
        print("\nwith the change:", *_explained(calls[0], after[0], settings), sep="\n")
    return 0


def _calls(asked: argparse.Namespace, settings: Settings) -> list[Call]:
    """Return the calls to explain. Raises Failure."""
    host = settings.listen[0].address or settings.listen[0].host
    if bool(asked.calls) == bool(asked.sender and asked.dialled):
        raise Failure("explain takes FROM and TO, or --calls", 2)
    if not asked.calls:
        return [Call(_uri(asked.sender, host), _uri(asked.dialled, host), asked.source, asked.trunk)]
    try:
        with asked.calls.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            named = set(reader.fieldnames or ())
            if not {"from", "to"} <= named <= _COLUMNS:
                raise Failure(f"--calls: {asked.calls}: its first line is not from,to or from,to,source,trunk")
            return [_of_line({**dict.fromkeys(_COLUMNS, ""), **line}, asked, host) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"--calls: {error}") from None


def _of_line(line: dict[str, str], asked: argparse.Namespace, host: str) -> Call:
    source, trunk = line["source"] or asked.source, line["trunk"] or asked.trunk
    return Call(_uri(line["from"], host), _uri(line["to"], host), source, trunk)


def _uri(text: str, host: str) -> str:
    """Return a URI as it is, user@domain as a SIP URI, and a number at our own host, as a PBX dials it."""
    if text.lower().startswith(_SCHEMES):
        return text
    return f"sip:{text}" if "@" in text else f"sip:{text}@{host}"


def _explained(call: Call, found: Plan, settings: Settings) -> Iterator[str]:
    yield _line("from", call.sender)
    yield _line("to", call.dialled)
    if call.source:
        by = f"may call: address {found.source}" if found.source is not None else "may not call"
        yield _line("source", f"{call.source} {by}")
    if found.rule:
        yield _line("rule", found.rule)
    for place, trunk in enumerate(found.trunks, start=1):
        order = "" if trunk.policy == DEFAULT else f", priority {trunk.policy.priority}, weight {trunk.policy.weight}"
        yield _line("candidate", f"{place}: {trunk.uuid} (uacreg {trunk.row}{order})")
    for uuid, row, fault in found.out:
        yield _line("out", f"{uuid} (uacreg {row}): {fault}")
    if found.reply:
        yield _line("reply", found.reply)
        return
    yield _line("R-URI", found.request_uri)
    yield from _shown(found.trunks[0], call.sender)
    target = target_of(found.next_hop, "")
    hops, fault = look_up([target], settings.listen)[target]
    addresses = ", ".join(hop.uri.removeprefix("sip:") for hop in hops) or f"503 while it is unresolved: {fault}"
    yield _line("next hop", f"{found.next_hop}: {addresses}")
    yield _line("answers", _answered(found.trunks[0]))


def _shown(trunk: Trunk, caller: str) -> Iterator[str]:
    """Say what the carrier sees of a caller who has written nothing but From."""
    is_shown = not sender.is_anonymous(caller)
    yield _line("From", (is_shown and trunk.sender(caller)) or "as the caller wrote it")
    if kind := trunk.policy.identity:
        claims = identity.Claims((), "", caller)
        fields = identity.fields(kind, claims, trunk.asserted(claims.known))
        yield _line("identity", ", ".join(fields) or "none")


def _answered(trunk: Trunk) -> str:
    """Say whose challenge gets an answer."""
    realm = f"realm {quoted(trunk.realm)}" if trunk.realm else "any realm"
    realm += " of far ends too," if trunk.credentials.answers_far_end else ""
    realm += " of the first that asks," if trunk.credentials.asks_alone else ""
    limits = "" if trunk.destination else ", if the next hop is listed in address, group 2"
    return f"{realm} as {quoted(trunk.auth_username)}{limits}"


def _print_many(calls: list[Call], before: list[Plan], after: list[Plan], *, moves: bool) -> None:
    """Print a line for each call; of a change, for each call that it moves."""
    moved = 0
    for call, old, new in zip(calls, before, after, strict=True):
        if not moves:
            rule = f" by rule {old.rule.partition(':')[0]}" if old.rule else ""
            print(f"{call.sender} {call.dialled}: {old.outcome}{rule}")
        elif _way(old) != _way(new):
            moved += 1
            print(f"{call.sender} {call.dialled}: {old.outcome} -> {new.outcome}")
    print(f"{moved} of {len(calls)} calls move" if moves else f"{len(calls)} calls")


def _way(found: Plan) -> tuple[object, ...]:
    """Return what a change of is a move of the call: the carriers in order, or the reply."""
    return found.reply, found.request_uri, found.next_hop, [trunk.uuid for trunk in found.trunks]


def _line(name: str, text: str) -> str:
    return f"{name:<10} {text}"
