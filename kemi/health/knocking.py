"""Knocks at places that did not take TCP, so that no large call waits to find out that they still do not: a connection
that is closed at once. The first one that is taken ends it, and large calls go by TCP again.

A refusal takes its time over the network, and Kamailio does not tell tm of it: a call would wait as for a silent place.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from select import POLLOUT, poll
from time import monotonic

from kemi.address import is_address
from kemi.sip import large
from kemi.trunks.places import Place

EVERY = 300.0  # seconds; less than what is noted is kept (trunkauth.inc.cfg)
PATIENCE = 2.0  # seconds for a connection
KEPT_FOR = 86400.0  # seconds since a call was last refused
MOST = 256  # places


@dataclass
class _Door:
    """until: when nobody knocks any more. due: when to knock, or when to give up. knock: the connection under way."""

    until: float
    due: float
    knock: socket.socket | None = None


class Knocking:
    """The places without TCP, and where a connection is being tried."""

    def __init__(self) -> None:
        self._asked = 0
        self._doors: dict[Place, _Door] = {}

    def tick(self) -> None:
        """Knock where it is due, and see to what has become of it."""
        now = monotonic()
        noted, self._asked = large.noted_since(self._asked)
        for there in filter(_can_be_knocked_at, noted):
            if there not in self._doors and len(self._doors) < MOST:
                self._doors[there] = _Door(0.0, now + EVERY)
            if there in self._doors:
                self._doors[there].until = now + KEPT_FOR
        for there, door in list(self._doors.items()):
            if door.knock:
                self._look(there, door, door.knock, now)
            elif door.due <= now < door.until:
                door.due = now + PATIENCE
                door.knock = _knock(there)
            elif now >= door.until:
                del self._doors[there]

    def _look(self, there: Place, door: _Door, knock: socket.socket, now: float) -> None:
        """See whether a place has taken the connection."""
        is_over = _is_over(knock)
        if not is_over and now < door.due:
            return
        is_open = is_over and _is_connected(knock)
        knock.close()
        if is_open:
            large.forget(there)
            del self._doors[there]
        else:
            large.keep_without_tcp(there)
            door.knock, door.due = None, now + EVERY

    def close(self) -> None:
        """Leave all doors."""
        for door in self._doors.values():
            if door.knock:
                door.knock.close()
        self._doors.clear()


def _can_be_knocked_at(there: Place) -> bool:
    """Return True for an address and port: a text may have been read torn, and a URI may say any port."""
    return is_address(there.address) and 0 < there.port < 1 << 16


def _is_over(knock: socket.socket) -> bool:
    """Return True if it is known what has become of it."""
    waiting = poll()
    waiting.register(knock, POLLOUT)
    return bool(waiting.poll(0))


def _is_connected(knock: socket.socket) -> bool:
    try:
        knock.getpeername()
    except OSError:
        return False
    return True


def _knock(there: Place) -> socket.socket | None:
    """Return a connection under way; None if not even that can be had: then the next knock is due soon."""
    try:
        knock = socket.socket(socket.AF_INET6 if ":" in there.address else socket.AF_INET)
    except OSError:
        return None
    knock.setblocking(False)
    try:
        knock.connect_ex((there.address, there.port))
    except OSError:  # a scope that is gone
        knock.close()
        return None
    return knock
