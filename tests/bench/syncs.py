"""What a call notices of a sync: how long it takes to be set up while the rows of a table are copied, against quiet."""

from __future__ import annotations

import contextlib
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from kemi.start import schema
from lab.demo import REALM, TRUNK, free_addresses, start_carrier
from tests.bench.replica import fill_server
from tests.db import servers
from tests.harness.database import ServerDatabase
from tests.harness.endpoint import Address
from tests.harness.message import address, parse
from tests.harness.node import Kamailio, Native, Options

CALLS = 300  # in quiet, before and after; at least as many in all while syncs run
CHANGED = 100_000
WITHIN = 120.0  # seconds for one sync


@dataclass(frozen=True)
class Setup:
    """Seconds from the INVITE to the 200 that the PBX gets, challenge included, while this goes on."""

    name: str
    calls: int
    median: float
    worst: float


def setup_during_syncs(calls: int = CALLS, changed: int = CHANGED) -> list[Setup]:
    """In quiet, and while so many rows are copied, again and again: one call after the other, through a Kamailio whose
    copy follows a server's table, to the lab's carrier.
    """
    with servers.postgresql() as server, tempfile.TemporaryDirectory() as workspace, contextlib.ExitStack() as stack:
        carrier, password = free_addresses(1)[0], secrets.token_hex(8)
        far = start_carrier(Path(workspace), carrier, TRUNK, password)
        stack.callback(far.end)
        far.wait_until_it_answers(carrier)
        database = ServerDatabase(server.url, gives_notice=True)
        database.list_callers(("127.0.0.1",))
        database.insert_trunk({
            "l_uuid": TRUNK, "r_domain": REALM, "realm": REALM, "auth_proxy": f"sip:{carrier}",
            "auth_username": TRUNK, "auth_password": password,
        })  # fmt: skip
        nodes = Path(workspace) / "nodes"
        nodes.mkdir()
        with Native(nodes).running(Options(database=database)) as node:
            node.wait_for("the first copy", lambda: _syncs(node), WITHIN)
            over = _after_another_sync(node)
            fill_server(server.url, changed, first=1_000_001)
            node.wait_for("the copy of what is there to be changed", over, WITHIN)
            with contextlib.closing(Pbx(node.sip, TRUNK)) as pbx:
                _calls_until(pbx, _after(calls))  # until everything is warm
                quiet = _calls_until(pbx, _after(calls))
                syncing: list[float] = []
                while len(syncing) < calls:
                    over = _after_another_sync(node)
                    _change(database)
                    syncing += _calls_until(pbx, over)
                quiet += _calls_until(pbx, _after(calls))
    measured = (("quiet", quiet), (f"{changed:,} rows are copied", syncing))
    return [Setup(name, len(times), statistics.median(times), max(times)) for name, times in measured]


def _change(database: ServerDatabase) -> None:
    """One commit that changes every row but the trunk's."""
    engine = schema.open_database(database.url)
    with engine.connect() as connection:
        connection.execute(text("UPDATE uacreg SET flags = flags + 1 WHERE id > 1000000"))
    engine.dispose()


def _after_another_sync(node: Kamailio) -> Callable[[], bool]:
    done = _syncs(node)
    return lambda: _syncs(node) > done


def _syncs(node: Kamailio) -> int:
    return node.log().count("outcome=database-copied")


def _after(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


def _calls_until(pbx: Pbx, is_over: Callable[[], bool]) -> list[float]:
    """The setup time of each call until it is over."""
    deadline = time.monotonic() + WITHIN
    times = []
    while not is_over():
        assert time.monotonic() < deadline, f"not over within {WITHIN:g} s"
        times.append(pbx.call())
    return times


class Pbx:
    """A caller that does as little as can be, so that what is measured is the proxy: one call after the other."""

    def __init__(self, proxy: Address, trunk: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(proxy)
        self._socket.settimeout(WITHIN)
        self._own = "{}:{}".format(*self._socket.getsockname())
        self._trunk = trunk

    def close(self) -> None:
        self._socket.close()

    def call(self) -> float:
        """Set up a call and tear it down; returns the seconds from INVITE to 200."""
        call_id = secrets.token_hex(8)
        started = time.perf_counter()
        self._send("INVITE", 1, call_id, "sip:1@x.test", "", f"X-Trunk: {self._trunk}\r\n")
        answer = self._final(call_id)
        taken = time.perf_counter() - started
        accepted = parse(answer)
        contact, to_tag = address(accepted.first("Contact")), f";tag={accepted.to_tag}"
        routes = "".join(f"Route: {route}\r\n" for route in accepted.all("Record-Route"))
        self._send("ACK", 1, call_id, contact, to_tag, routes)
        self._send("BYE", 2, call_id, contact, to_tag, routes)
        self._final(call_id)
        return taken

    def _send(self, method: str, cseq: int, call_id: str, uri: str, to_tag: str, more: str) -> None:
        self._socket.send(
            (
                f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self._own};branch=z9hG4bK{secrets.token_hex(8)}\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:pbx@x.test>;tag={call_id}\r\nTo: <sip:1@x.test>{to_tag}\r\n"
                f"Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:pbx@{self._own}>\r\n"
                f"{more}Content-Length: 0\r\n\r\n"
            ).encode()
        )

    def _final(self, call_id: str) -> bytes:
        """The final response of the call's pending request, which has to be a success."""
        while True:
            message = self._socket.recv(65535)
            status = message.split(b" ", 2)[1]
            if call_id.encode() in message and not status.startswith(b"1"):
                assert status == b"200", message
                return message
