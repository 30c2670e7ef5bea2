"""`check`: every setting, socket, row and name, and a line for each fault. Nothing is started, made or changed."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from sqlalchemy import Table

from kemi.command.database import judged, open_source
from kemi.command.lookup import look_up
from kemi.line import word
from kemi.replica.writer import fault_of
from kemi.settings import Settings
from kemi.start import run as start
from kemi.start.sockets import is_running
from kemi.trunks import groups
from kemi.trunks.hops import Target, target_of
from kemi.trunks.rows import Row
from kemi.trunks.tables import address, copied_uacreg, trunk

MOST_NAMED = 3  # trunks of one name
_KINDS = {copied_uacreg.name: "trunks", address.name: "addresses"}


def declare(_parser: argparse.ArgumentParser) -> None:
    """It has no arguments."""


def run(_asked: argparse.Namespace, settings: Settings) -> int:
    """Print what is wrong, and how much was looked at; return 1 if anything is."""
    seen: Counter[str] = Counter()
    count = 0
    for fault in _faults(settings, seen):
        count += 1
        print(fault)
    print("checked:", ", ".join(f"{kind} {number}" for kind, number in seen.items()), f"- faults {count}")
    return 1 if count else 0


def _faults(settings: Settings, seen: Counter[str]) -> Iterator[str]:
    yield from _machine(settings, seen)
    names: dict[Target, list[str]] = {}
    yield from _rows(settings, seen, names)
    yield from _names(settings, seen, names)


def _machine(settings: Settings, seen: Counter[str]) -> Iterator[str]:
    """Yield what would keep Kamailio from its start."""
    try:
        start.check_interpreter()
        if settings.state_dir.exists():
            start.check_private(settings)
    except (start.StartError, PermissionError) as error:
        yield str(error)
    seen["sockets"] = len(settings.listen)
    if is_running(settings.rpc_socket):  # it holds them
        return
    for each in settings.listen:
        try:
            start.check_free(each)
        except start.StartError as error:
            yield str(error)


def _rows(settings: Settings, seen: Counter[str], names: dict[Target, list[str]]) -> Iterator[str]:
    """Yield the faults of rows; note the names that the usable ones lead to."""
    seen["trunks"] = seen["addresses"] = 0
    has_default, known = not settings.default_trunk, set[object]()
    addresses: list[groups.Row] = []
    with open_source(settings) as source:
        for table, verdict in judged(source, settings.rules):
            row = verdict.row
            if kind := _KINDS.get(table.name):
                seen[kind] += 1
            if fault := fault_of(table, verdict):
                subject, outcome, reason = fault
                name, _, value = subject.partition("=")
                yield f"{name}={word(value)} {outcome}: {reason}"
            if table is copied_uacreg:
                known.add(row["l_uuid"])
            elif table is trunk and row["l_uuid"] not in known:
                yield f"trunk={word(str(row['l_uuid']))} has a row in trunk, and none in uacreg"
            if verdict.fault:
                continue
            if table is address:
                addresses.append(groups.Row.of(row))
                continue
            has_default = has_default or (table is copied_uacreg and row["l_uuid"] == settings.default_trunk)
            for target in _targets(table, row):
                names.setdefault(target, []).append(str(row["l_uuid"]))
    if not has_default:
        yield f"TRUNKAUTH_DEFAULT_TRUNK: no usable row of uacreg has l_uuid {settings.default_trunk!r}"
    left_out = groups.left_out(addresses)
    for number, reason in sorted(left_out.items()):
        yield f"address={number} unusable: {reason}"
    if not any(one.group == groups.CALLERS and one.row not in left_out for one in addresses):
        yield f"address: no usable row is in group {groups.CALLERS}, so nobody may call"


def _targets(table: Table, row: Row) -> Iterator[Target]:
    """Yield the targets that are names, of a row of uacreg or trunk."""
    if table is copied_uacreg:
        targets = [target_of(str(row["auth_proxy"]), str(row["r_domain"]))]
    else:
        targets = [target_of(uri.strip(), "") for uri in str(row["inbound_uri"]).split(",")]
    yield from (target for target in targets if target.is_name)


def _names(settings: Settings, seen: Counter[str], names: dict[Target, list[str]]) -> Iterator[str]:
    """Yield the names that cannot be resolved from here."""
    seen["names"] = len(names)
    found = look_up(names, settings.listen)
    for target, trunks in names.items():
        if fault := found[target].fault:
            named = ", ".join(islice(trunks, MOST_NAMED))
            more = f" and {len(trunks) - MOST_NAMED} more" if len(trunks) > MOST_NAMED else ""
            yield f"name={word(target.host)} unresolved: {fault}; trunks: {named}{more}"
