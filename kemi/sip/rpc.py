"""Commands to Kamailio's core and modules, from the processes that are no SIP workers."""

from __future__ import annotations

import json
from typing import Any

import KSR

from kemi.address import normalised
from kemi.health.connections import Connection
from kemi.health.memory import Memory


def refresh_registration(uuid: str) -> bool:
    """Make the uac module register the trunk as its row says now, or forget it if it has none."""
    return run("uac.reg_refresh", uuid) == 200 or run("uac.reg_remove", uuid) in (200, 404)


def register(is_wanted: bool) -> None:
    """Make the uac module send REGISTERs, or none."""
    run("uac.reg_active", int(is_wanted))


def keep_name(name: str, address: str, seconds: int) -> None:
    """Have Kamailio know an address of a name for so many seconds: it asks no name server."""
    run("dns.add_aaaa" if ":" in address else "dns.add_a", name, seconds, address, 0)


def forget_name(name: str, address: str) -> None:
    """Have Kamailio forget what keep_name() told it."""
    run("dns.delete_aaaa" if ":" in address else "dns.delete_a", name)


def reload_addresses() -> bool:
    """Make the permissions module read the address table again. Return False if it cannot now."""
    return run("permissions.addressReload") == 200


def shared_memory() -> Memory | None:
    """Return how much shared memory there is; None if Kamailio does not tell."""
    if run("core.shmmem", "k") != 200:  # in KiB: bytes do not fit the answer's int
        return None
    answer = _result()
    return Memory(answer["total"], answer["free"])


def dialogs() -> dict[str, int]:
    """Return how many dialogs there are in each state; none if Kamailio does not tell."""
    if run("dlg.stats_active") != 200:
        return {}
    return {state: number for state, number in _result().items() if state != "all"}


def version() -> str:
    """Return Kamailio's version, empty if it does not tell."""
    return str(_result()).split()[1] if run("core.version") == 200 else ""


def count_of_connections() -> int:
    """Return how many TCP connections there are, to carriers too."""
    if run("core.tcp_info") != 200:
        return 0
    return int(_result()["opened_connections"])


def connections() -> list[Connection]:
    """Return all TCP connections; none if Kamailio does not tell."""
    if run("core.tcp_list") != 200:
        return []
    return [
        Connection(one["id"], normalised(one["src_ip"]), one["src_port"], one["dst_port"]) for one in _result() or ()
    ]


def _result() -> Any:
    return json.loads(str(KSR.pv.gete("$jsonrpl(body)")))["result"]


def run(method: str, *params: str | int) -> int:
    """Run an RPC command in this process; return the status of its answer."""
    KSR.jsonrpcs.exec(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}))
    code = KSR.pv.get("$jsonrpl(code)")
    return code if isinstance(code, int) else 0
