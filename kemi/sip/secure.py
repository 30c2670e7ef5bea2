"""Connections by TLS to carriers, whose certificates were judged: the tables and routes of kamailio/tls.cfg.

A connection is asked for by its key (trunks/secure.py). Its number is Kamailio's; PENDING while there is none, FAILED
if there will be none for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import KSR

from kemi.sip.rpc import run

PENDING, FAILED = 0, -1


@dataclass
class _Tls:
    is_on: bool = False


_TLS = _Tls()


def use(is_on: bool) -> None:
    """Use these routes, or none, because Kamailio has no TLS. Called before Kamailio forks."""
    _TLS.is_on = is_on


def look(key: str) -> int:
    """Return the number of a connection that can be used."""
    return _by("TLS_LOOK", key)


def leave_by(key: str) -> bool:
    """Have the request at hand leave by this connection. Return False if it cannot be used any more."""
    return _by("TLS_LEAVE", key) > 0


def leave_by_any() -> None:
    """Forget by which connection an earlier attempt of the request at hand was to leave."""
    if _TLS.is_on:
        KSR.route("TLS_ANY")


def _by(route: str, key: str) -> int:
    KSR.pv.sets("$var(secure)", key)
    KSR.route(route)
    number = KSR.pv.get("$var(conid)")
    return number if isinstance(number, int) else PENDING


# --- for the process that keeps connections


def keep(key: str, number: int) -> None:
    """Tell all processes of a connection."""
    KSR.htable.sht_seti("secure", key, number)


def forget(key: str) -> None:
    """Tell all processes that the connection is being made."""
    KSR.htable.sht_rm("secure", key)


def open_as(name: str | None) -> None:
    """Have the next request that this process sends by TLS open its connection, if it opens one, with this server name
    (RFC 6066 3), empty for none, and take any certificate; None: of a known CA, as all other processes do.
    """
    if not _TLS.is_on:
        return
    if name is None:
        KSR.route("TLS_VERIFIED")
    else:
        KSR.pv.sets("$var(name)", name)
        KSR.route("TLS_OPEN")


def note_peer() -> None:
    """Keep what the connection of the reply at hand has shown, if it is one by TLS, for take_peer()."""
    if _TLS.is_on and KSR.pv.get("$proto") == "tls":
        KSR.route("TLS_PEER")


def take_peer(call_id: str) -> str:
    """Return what the connection of the reply with this Call-ID has shown; empty if it was not one by TLS."""
    shown = KSR.htable.sht_get("peers", call_id)
    KSR.htable.sht_rm("peers", call_id)
    return shown if isinstance(shown, str) else ""


def close(number: int) -> None:
    """Close a connection; one that is gone already is none."""
    KSR.tcpops.tcp_close_connection_id(number)


def reload() -> bool:
    """Have Kamailio read its certificates again."""
    return run("tls.reload") == 200
