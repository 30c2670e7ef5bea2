"""TCP connections: for the process that watches them, and what a worker has to know of the one that it reads."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

import KSR

from kemi.health.connections import Connection
from kemi.trunks.groups import CALLERS, CARRIERS
from kemi.trunks.places import Place

_OPEN = Path("/proc/self/fd")


def is_listed(one: Connection) -> bool:
    """Return True if the connection's source is in the address table, group 1 or 2."""
    return any(KSR.permissions.allow_address(group, one.source, one.source_port) > 0 for group in (CALLERS, CARRIERS))


def close(one: Connection) -> None:
    """Close a connection; one that is gone already is none."""
    KSR.tcpops.tcp_close_connection_id(one.number)


def end_if_closed(peer: Place) -> None:
    """End the connection to a peer who has closed it: then the next write fails, where it would be lost on its way.

    The worker that handles a reply reads its connection, so it is among its files. Kamailio itself looks for what
    follows the reply, the end of the connection, once that has been handled.
    """
    numbers: list[int] = []
    with suppress(OSError):  # it cannot be listed now
        numbers += [int(each.name) for each in _OPEN.iterdir()]
    for number in numbers:
        with suppress(OSError):  # gone, no connection, or nothing to read
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as held:
                    is_peers = held.getpeername()[:2] == (peer.address, peer.port)
                    if is_peers and not held.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                        held.shutdown(socket.SHUT_RDWR)
