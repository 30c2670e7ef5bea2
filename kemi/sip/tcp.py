"""TCP connections, for the process that watches them."""

from __future__ import annotations

import KSR

from kemi.health.connections import Connection
from kemi.sip.place import CALLERS


def may_call(one: Connection) -> bool:
    """Return True if the connection's source is in the address table, group 1."""
    return KSR.permissions.allow_address(CALLERS, one.source, one.source_port) > 0


def close(one: Connection) -> None:
    """Close a connection; one that is gone already is none."""
    KSR.tcpops.tcp_close_connection_id(one.number)
