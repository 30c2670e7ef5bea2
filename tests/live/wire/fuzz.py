"""One run of the fuzzer: a throw-away Kamailio with our own routes, made messages, and a good call at the end."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.steps import talk_and_hang_up
from tests.live.wire.ends import Ends, SilentError

QUICK = (("tm", "fr_timer", 2000), ("tm", "wt_timer", 500), ("dialog", "default_timeout", 30))
SECRET = "the-secret-of-the-fuzzer"
MOST_SHOWN = 20
COLUMNS = "l_uuid, from_user, from_domain, identity, probe, max_calls, strip, prefix, number_format, country"
POLICIES = (  # rows of the table trunk
    ("fuzz", "", "", "", 1, 0, 0, "", "as-dialled", ""),
    ("kept", "4930", "", "pai", 0, 50, 0, "", "e164", "DE"),
    ("domain", "$", "pbx.test", "rpid", 0, 0, 1, "+1", "national", "US"),
    ("dialled", "", "h.test", "ppi", 0, 0, 2, "*31*", "e164-plain", ""),
)
# In the log. Not wrong is what Kamailio says of a dialog that goes no usual way, of a transport that no socket has, of
# port 0, of a URI that ends in the name of a parameter, of a status below 100, and of an INVITE that came twice.
_NOT_WRONG = (
    "bogus event|un(?:supported|known) proto|invalid sendto|bad  state|to decide whether to relay|dialog not found"
)
WRONG = re.compile(rf"Traceback|fault=|^(?!.*(?:{_NOT_WRONG})).*(?:CRITICAL:|\bBUG:)|core was|child process")
NO_NAME_SERVER = "nameserver 127.0.0.254\n"


@dataclass(frozen=True)
class Result:
    """counts: of messages, by who sent them. statuses: what the caller got. faults: what was wrong, a line each."""

    version: str
    seed: int
    counts: Counter[str]
    statuses: Counter[int]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        by = ", ".join(f"{number:,} {who}" for who, number in sorted(self.counts.items()))
        got = ", ".join(f"{number:,} {status}" for status, number in sorted(self.statuses.items()))
        lines = [
            f"Kamailio {self.version}, seed {self.seed}: {self.counts.total():,} messages ({by})",
            f"the caller got {got}",
            f"{len(self.faults)} faults",
        ]
        return "\n".join([*lines, *self.faults[:MOST_SHOWN]])


def fuzz(installation: Installation, count: int, seed: int, workspace: Path) -> Result:
    """Send so many made messages to a Kamailio, and then place a call over it."""
    resolv_conf = workspace / "resolv.conf" if os.geteuid() == 0 else None  # made names are asked for otherwise
    if resolv_conf:
        resolv_conf.write_text(NO_NAME_SERVER)
    with Ends(seed) as ends:
        host, port = ends.carrier.address
        proxy = f"sip:{host}:{port}"
        secret = {"auth_username": "u", "auth_password": SECRET}
        rows = (
            {"l_uuid": "fuzz", "auth_proxy": proxy, **secret},
            {"l_uuid": "kept", "auth_proxy": proxy, "r_domain": "carrier.test", **secret},
            {"l_uuid": "domain", "r_domain": f"{host}:{port}", **secret},
            {"l_uuid": "dialled", "realm": "fuzz", **secret},
        )
        also = {"TRUNKAUTH_TRY_SECONDS": "1"}
        options = Options(default_trunk="fuzz", trunks=rows, modparams=QUICK, resolv_conf=resolv_conf, also=also)
        with installation.running(options) as node:
            pbx = "sip:{}:{}".format(*ends.caller.address)
            with node.database.transaction() as execute:
                listed = "INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (2, ?, 32, 0, 'dialled')"
                execute(listed, (host,))
                places = ", ".join("?" * (1 + len(POLICIES[0])))
                for policy in POLICIES:
                    execute(f"INSERT INTO trunk (inbound_uri, {COLUMNS}) VALUES ({places})", (pbx, *policy))
            node.wait_until_looked_at()
            faults = _run(node, ends, count)
            log = node.log()
        faults += [f"with credentials to somebody else: {octets!r}" for octets in ends.stolen]
        faults += sorted({_nameless(line) for line in log.splitlines() if WRONG.search(line)})
        return Result(node.version, seed, ends.counts, ends.statuses, tuple(faults))


def _run(node: Kamailio, ends: Ends, count: int) -> list[str]:
    try:
        ends.run(node.sip, count)
    except SilentError as error:
        state = "alive" if node.program.alive() else "ended"
        last = "\n".join(repr(octets) for octets in ends.sent)
        return [f"{error}; Kamailio is {state}; the last messages:\n{last}\n{node.last_log_lines(30)}"]
    with Scene(node) as scene:
        trunk = scene.trunk()
        talk_and_hang_up(trunk, scene.call(trunk))
    return []


def _nameless(line: str) -> str:
    """Return a line of the log without what differs from fault to fault of one kind."""
    return re.sub(r"^.*?(?=fault=|Traceback)|call-id=.*", "", line)
