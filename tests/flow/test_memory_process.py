"""The process that watches memory and TCP connections, over the mocked KSR: what it asks of Kamailio, and what it makes
of the answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

import pytest

from kemi.handlers import Handlers
from kemi.health import memory
from kemi.health.connections import Connection
from kemi.health.memory import Guard, Memory
from kemi.names.file import NamesFile
from kemi.settings import Settings
from tests.flow.scene import PBX, raising, request, resolve_hosts, routes_with
from tests.ksr.mock import MockKSR

MIB = 1024  # in KiB


@pytest.fixture
def watched(pbx: MockKSR) -> Iterator[MockKSR]:
    pbx.receive(request())  # rtimer gives its routes a message of its own
    pbx.world.rpc_code = 200
    yield pbx
    Guard().judge(Memory(1, 1), now=0.0)


def answer(pbx: MockKSR, free: int, connections: Sequence[Connection] = ()) -> None:
    """What Kamailio says of 4096 MiB, whose bytes do not fit its numbers, and of its TCP connections."""
    listed = [
        {"id": one.number, "src_ip": one.source, "src_port": one.source_port, "dst_port": one.port}
        for one in connections
    ]
    results = {
        "core.shmmem": {"total": 4096 * MIB, "free": free, "used": 0, "real_used": 0, "max_used": 0, "fragments": 7},
        "core.tcp_info": {"readers": 4, "opened_connections": len(listed)},
        "core.tcp_list": listed,
    }

    def execute(command: str) -> int:
        pbx.world.rpc_body = json.dumps({"result": results[json.loads(command)["method"]]})
        return 1

    pbx.answer("jsonrpcs.exec", execute)


def test_new_calls_are_refused_while_memory_is_full(watched: MockKSR, routes: Handlers) -> None:
    seen = []
    for free in (512 * MIB, 512 * MIB - 1, 512 * MIB):
        answer(watched, free)
        assert routes.MEMORY(None, None) == 1
        seen.append(memory.is_full())
    assert seen == [False, True, False]
    assert json.loads(watched.called("jsonrpcs.exec")[0][0])["params"] == ["k"]
    line = "outcome=memory-full used-mib=3584 total-mib=4096\n"
    assert watched.log == [("warn", line)]


@pytest.mark.parametrize("code", [0, 500])
def test_without_an_answer_nothing_changes(watched: MockKSR, routes: Handlers, code: int) -> None:
    answer(watched, 1)
    routes.MEMORY(None, None)
    watched.answer("jsonrpcs.exec", 1)
    watched.world.rpc_code, watched.world.rpc_body = code, ""
    routes.MEMORY(None, None)
    assert memory.is_full()


def test_a_fault_is_logged_and_it_goes_on(watched: MockKSR, routes: Handlers) -> None:
    watched.answer("jsonrpcs.exec", raising(ValueError()))
    assert routes.MEMORY(None, None) == 1
    level, line = watched.log[-1]
    assert (level, line.startswith("fault=ValueError@"), line.endswith(" in=MEMORY\n")) == ("err", True, True)


def test_the_connections_of_strangers_are_closed(
    watched: MockKSR, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    routes = routes_with(database, {"TRUNKAUTH_LISTEN": "udp:192.0.2.1:5060 tcp:192.0.2.1:5060"})
    watched.answer("permissions.allow_address", lambda group, host, port: 1 if host == PBX else -1)
    watched.answer("tcpops.tcp_close_connection_id", 1)
    port = 5060
    answer(watched, 512 * MIB, [Connection(1, PBX, 4001, port), Connection(2, "198.51.100.7", 4002, port)])
    for now in (100.0, 104.0, 110.0):  # noqa: B007
        routes.MEMORY(None, None)
    assert watched.called("tcpops.tcp_close_connection_id") == [(2,)]
    assert watched.called("permissions.allow_address") == [
        (1, PBX, 4001), (1, "198.51.100.7", 4002), (2, "198.51.100.7", 4002)
    ]  # fmt: skip
    line = "outcome=connections-closed count=1 source=198.51.100.7\n"
    assert watched.log == [("warn", line)]
    methods = [json.loads(command)["method"] for (command,) in watched.called("jsonrpcs.exec")]
    assert methods.count("core.tcp_list") == 2  # few connections are looked at every 5 s


def test_the_connection_of_a_carrier_that_is_a_next_hop_stays(
    watched: MockKSR, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may bring calls in, and is listed nowhere."""
    carrier = "198.51.100.8"
    file = NamesFile(database.names_file)
    file.open()
    file.keep(file.hops, file.registering, file.places | {f"{carrier} 0"})
    file.close()
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    routes = routes_with(database, {"TRUNKAUTH_LISTEN": "udp:192.0.2.1:5060 tcp:192.0.2.1:5060"})
    watched.answer("permissions.allow_address", lambda group, host, port: -1)
    answer(watched, 512 * MIB, [Connection(2, carrier, 4002, 5060)])
    for now in (100.0, 104.0, 110.0):  # noqa: B007
        routes.MEMORY(None, None)
    resolve_hosts(database)
    assert watched.called("tcpops.tcp_close_connection_id") == []
