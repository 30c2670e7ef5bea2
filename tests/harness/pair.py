"""Two nodes in network namespaces of their own, on one bridge of this machine, over one PostgreSQL, and the address
that is moved between them as keepalived moves it. Takes root.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text

from kemi.start import key
from tests.harness.database import ServerDatabase, trunks_of
from tests.harness.network import Network, run
from tests.harness.node import REGISTERS_EVERY_SECOND, Kamailio, Native, Options

PORT = 5060
PAGES = "http://127.0.0.1:9494"


@dataclass(frozen=True)
class Segment:
    """outside: where PBXs and carriers are. shared: the address that moves. first, second: networks of the nodes."""

    outside: str
    shared: str
    first: Network
    second: Network

    def give(self, node: Network) -> None:
        node.run("ip", "addr", "add", f"{self.shared}/32", "dev", "eth0")
        run("ip", "neigh", "flush", "to", self.shared)  # keepalived announces the address to its neighbours

    def take(self, node: Network) -> None:
        node.run("ip", "addr", "del", f"{self.shared}/32", "dev", "eth0")


@contextlib.contextmanager
def segment() -> Iterator[Segment]:
    """A bridge of this machine, with both nodes behind it."""
    bridge, net = f"ta{secrets.token_hex(3)}", f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(256)}"
    with contextlib.ExitStack() as stack:
        run("ip", "link", "add", bridge, "type", "bridge")
        stack.callback(run, "ip", "link", "del", bridge)
        run("ip", "addr", "add", f"{net}.1/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        nodes = [stack.enter_context(Network()) for _ in range(2)]
        for number, node in enumerate(nodes):
            end = f"{bridge}-{number}"
            run("ip", "link", "add", end, "master", bridge, "type", "veth", "peer", "name", "eth0", "netns", node.name)
            run("ip", "link", "set", end, "up")
            node.run("ip", "addr", "add", f"{net}.{11 + number}/24", "dev", "eth0")
            node.run("ip", "link", "set", "eth0", "up")
            node.run("sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=1")
        yield Segment(f"{net}.1", f"{net}.100", *nodes)


class Pair:
    """The nodes, started one by one. options: of each."""

    def __init__(self, native: Native, database: ServerDatabase, segment: Segment, workspace: Path) -> None:
        self.segment = segment
        self.nodes: dict[Network, Kamailio] = {}
        self._native = native
        self._stack = contextlib.ExitStack()
        key.load(workspace / "key")
        database.list_callers((segment.outside,))
        self._options = Options(
            database=database,
            db_url=database.url.set(host=None, query={"host": _folder_of_sockets(database)}),
            sip=(segment.shared, PORT),
            modparams=REGISTERS_EVERY_SECOND,
            also={"TRUNKAUTH_KEY_FILE": str(workspace / "key"), "TRUNKAUTH_HTTP": "127.0.0.1:9494"},
        )

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start(self, node: Network) -> Kamailio:
        """Start the active node, or the other one beside it."""
        options = replace(self._options, network=node)
        self.nodes[node] = started = self._stack.enter_context(self._native.running(options))
        return started

    def fail_over(self, to: Network) -> Kamailio:
        """Have the other node take the address over. Return it once it is active."""
        there = self.nodes[to]
        before = len(there.log())
        self.segment.give(to)
        there.wait_for_log("outcome=active", within=15, after=before)
        return there

    def switch(self, node: Network, to: Network) -> Kamailio:
        """Move the address between nodes that live."""
        before = len(self.nodes[node].log())
        self.segment.take(node)
        self.nodes[node].wait_for_log("outcome=standby", within=15, after=before)
        return self.fail_over(to)

    def wait_until_copied(self, *uuids: str) -> None:
        """Until every node knows these trunks."""
        for node in self.nodes.values():
            node.wait_for(f"{uuids} in the copy", partial(_holds, node.state / "replica.sqlite", uuids), within=10)
            node.wait_for_workers()

    def page(self, node: Network, path: str = "/health/ready") -> str:
        """What a node says over HTTP; keepalived asks whether it is ready."""
        return node.run("curl", "-sS", "-m", "2", f"{PAGES}{path}")


def _folder_of_sockets(database: ServerDatabase) -> str:
    """Where PostgreSQL has its Unix socket: a namespace does not reach this machine's loopback."""
    engine = create_engine(database.url, poolclass=NullPool)
    with engine.connect() as connection:
        return str(connection.execute(text("SHOW unix_socket_directories")).scalar_one())


def _holds(copy: Path, uuids: Iterable[str]) -> bool:
    held = {value for row in trunks_of(copy) for value in row}
    return all(uuid.encode() in held for uuid in uuids)
