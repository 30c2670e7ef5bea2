"""What this node says of itself over HTTP: metrics, and its health.

Only the process that serves it imports this: SIP workers need neither HTTP nor the library.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST

from kemi import VERSION
from kemi.health import memory, options
from kemi.metrics import counts, freshness
from kemi.metrics.page import Facts, Row, page
from kemi.metrics.rows import StoredTrunk, stored
from kemi.metrics.server import Page, Server
from kemi.sip import registrar, room, rpc, standings
from kemi.sip.registrar import State

if TYPE_CHECKING:
    from kemi.settings import Settings

ANSWER_WITHIN = 1.0  # seconds in which Kamailio answers OPTIONS if it is ready


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve for ever. Raises OSError if the address cannot be had."""
    node = Node(settings)
    pages = {"/metrics": node.metrics, "/health/live": node.live, "/health/ready": node.ready}
    with Server(host, port, pages) as server:
        server.serve_forever()


class Node:
    """Asks Kamailio, the copy and the counters, anew for each page."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def metrics(self) -> Page:
        return Page(HTTPStatus.OK, page(self._facts()), CONTENT_TYPE_LATEST)

    def live(self) -> Page:
        return Page(HTTPStatus.OK, b"live\n")

    def ready(self) -> Page:
        """Kamailio answers 200 to OPTIONS only if calls can be served (docs/calls.md)."""
        first = self._settings.listen[0]
        if not first.is_here:
            return self._standby()
        try:
            answer = options.ask(first.proto, options.reachable(first.host.strip("[]")), first.port, ANSWER_WITHIN)
        except OSError as error:
            answer = str(error)
        if answer.split(" ")[1:2] == ["200"]:
            return Page(HTTPStatus.OK, b"ready\n")
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"Kamailio says: {answer or 'nothing'}\n".encode())

    def _standby(self) -> Page:
        """The address is another node's, and OPTIONS would be too."""
        if rpc.shared_memory() and not memory.is_full() and freshness.age(time.time()) is not None:
            return Page(HTTPStatus.OK, b"ready: standby\n")
        return Page(HTTPStatus.SERVICE_UNAVAILABLE, b"standby: no copy of the database, or memory is full\n")

    def _facts(self) -> Facts:
        found, is_active = stored(self._settings.local_file), self._settings.listen[0].is_here
        build = {"version": VERSION, "kamailio": rpc.version()}
        return Facts(
            totals=counts.totals(),
            rows=[_row(one, registers=one.registers and is_active) for one in found.trunks],
            dialogs=rpc.dialogs(),
            memory=rpc.shared_memory(),
            copy_age=freshness.age(time.time()),
            left_out=found.left_out,
            build=build,
        )


def _row(one: StoredTrunk, *, registers: bool) -> Row:
    is_down = standings.are_kept() and bool(standings.standing(one.uuid).since)
    return Row(
        one.uuid,
        one.is_enabled,
        one.is_usable and not is_down,
        one.max_calls,
        one.max_cps,
        room.calls_up(one.uuid) if one.max_calls else None,
        registrar.state(one.uuid) is State.UP if registers else None,
    )
