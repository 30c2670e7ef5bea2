"""TCP connections, for the process that watches them."""

from __future__ import annotations

import KSR

from kemi.health.connections import Connection
from kemi.trunks.groups import CALLERS, CARRIERS


def is_listed(one: Connection) -> bool:
    """Return True if the connection's source is in the address table, group 1 or 2."""
    return any(KSR.permissions.allow_address(group, one.source, one.source_port) > 0 for group in (CALLERS, CARRIERS))


def close(one: Connection) -> None:
    """Close a connection; one that is gone already is none."""
    KSR.tcpops.tcp_close_connection_id(one.number)
