"""Connections by TLS that are too many, or hang, over the mocked KSR."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kemi.health.secured import Links, Secured
from kemi.health.securing import Securing
from kemi.settings import Settings
from kemi.sip import secure
from kemi.trunks.hops import Target
from kemi.trunks.secure import Wanted
from tests.flow.scene import request
from tests.ksr.mock import MockKSR

HERE = {"dst_ip": "192.0.2.1", "dst_port": 40000}


class Kamailio:
    """A Kamailio that nobody answers. connections: number, address and port of the other end."""

    def __init__(self, ksr: MockKSR, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ksr = ksr
        self.now = 1000.0
        self.sent: list[list[str]] = []
        self.connections: list[tuple[int, str, int]] = []
        monkeypatch.setattr("kemi.health.securing.time", SimpleNamespace(monotonic=lambda: self.now))
        ksr.answer("jsonrpcs.exec", self._command)
        ksr.answer("tcpops.tcp_close_connection_id", 1)
        ksr.receive(request())

    def lines(self) -> list[str]:
        return [line for level, line in self.ksr.log if level in ("warn", "notice", "err")]

    def closed(self) -> list[tuple[object, ...]]:
        return self.ksr.called("tcpops.tcp_close_connection_id")

    def _command(self, text: str) -> int:
        asked = json.loads(text)
        self.ksr.world.rpc_code = 200
        if asked["method"] == "core.tcp_list":
            listed = [HERE | {"id": one, "src_ip": there, "src_port": port} for one, there, port in self.connections]
            self.ksr.world.rpc_body = json.dumps({"result": listed})
        else:
            self.sent.append(asked["params"])
        return 1


@pytest.fixture
def kamailio(pbx: MockKSR, monkeypatch: pytest.MonkeyPatch) -> Kamailio:
    return Kamailio(pbx, monkeypatch)


def test_a_connection_that_was_never_judged_and_hangs_is_closed(
    kamailio: Kamailio, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kamailio would find it again by address and port."""
    securing = Securing(settings)
    rows = [Secured("one", Target("2001:db8::7", 0, "tls"), Wanted(""))]
    monkeypatch.setattr(Links, "numbers", lambda _: frozenset({6}))  # of another link to the same place
    there = "2001:DB8:0::7"
    kamailio.connections = [(3, there, 5061), (4, there, 40000), (5, "192.0.2.7", 5061), (6, there, 5061)]
    for misses, closed in ((1, []), (2, [(3,)]), (3, [(3,)]), (4, [(3,)] * 2)):
        securing.tick(rows, {})
        assert len(kamailio.sent) == misses
        kamailio.now += settings.try_seconds
        securing.tick(rows, {})
        assert kamailio.closed() == closed
        kamailio.now += 30


def test_what_is_beyond_the_most_connections_is_told_once(kamailio: Kamailio, settings: Settings) -> None:
    securing = Securing(replace(settings, memory=32))  # 64 connections by TCP
    rows = [Secured(str(one), Target(f"192.0.2.{one}", 0, "tls"), Wanted("")) for one in range(40)]
    for _ in range(3):
        securing.tick(rows, {})
    assert len(kamailio.sent) == 32
    assert kamailio.lines() == ['trunk=32 outcome=tls-failed reason="more connections by TLS than are kept"\n']
    last = rows[-1].links({})[0].key
    assert (
        kamailio.ksr.tables.get("secure", last) == secure.FAILED
    )  # its trunk is passed over, and waited for by nobody
    securing.tick(rows[10:], {})
    assert kamailio.ksr.tables.get("secure", last) is None
    securing.tick(rows[10:] + rows[:10], {})
    assert kamailio.ksr.tables.get("secure", rows[9].links({})[0].key) == secure.FAILED  # it had room before
