"""Commands to Kamailio's core and modules, from the processes that are no SIP workers."""

from __future__ import annotations

import json

import KSR

from kemi.memory import Memory


def refresh_registration(uuid: str) -> bool:
    """Make the uac module register the trunk as its row says now, or forget it if it has none."""
    return _run("uac.reg_refresh", uuid) == 200 or _run("uac.reg_remove", uuid) in (200, 404)


def reload_addresses() -> bool:
    """Make the permissions module read the address table again. Return False if it cannot now."""
    return _run("permissions.addressReload") == 200


def shared_memory() -> Memory | None:
    """Return how much shared memory there is; None if Kamailio does not tell."""
    if _run("core.shmmem", "k") != 200:  # in KiB: bytes do not fit the answer's int
        return None
    answer = json.loads(str(KSR.pv.gete("$jsonrpl(body)")))["result"]
    return Memory(answer["total"], answer["free"])


def _run(method: str, *params: str) -> int:
    """Run an RPC command in this process; return the status of its answer."""
    KSR.jsonrpcs.exec(json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}))
    code = KSR.pv.get("$jsonrpl(code)")
    return code if isinstance(code, int) else 0
