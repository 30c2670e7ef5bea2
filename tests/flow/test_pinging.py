"""Pings of registrars, over the mocked KSR: where they go, and when."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kemi.health.pinging import EVERY, LOOKS_EVERY, Pinging
from kemi.trunks.tables import copied_uacreg
from tests.flow.scene import request
from tests.ksr.mock import MockKSR

UP, DOWN = 1, -99  # what uac_reg_status() answers
COLUMNS = list(copied_uacreg.columns.keys())


def row(proxy: str, socket: str = "") -> tuple[str, ...]:
    values = {"auth_proxy": proxy, "socket": socket}
    return tuple(values.get(name, "x") for name in COLUMNS)


ROWS = {
    "a": row("sip:192.0.2.1"),
    "b": row("sip:192.0.2.1:5060;transport=udp"),  # the same way
    "c": row("sip:[2001:db8::1]:5070;transport=tcp", "tcp:[2001:db8::9]:5060"),
    "down": row("sip:192.0.2.3"),
    "tls": row("sips:192.0.2.4"),
}


@pytest.fixture
def node(ksr: MockKSR, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=1000.0, pinging=Pinging())
    monkeypatch.setattr("kemi.health.pinging.time", SimpleNamespace(monotonic=lambda: found.now))
    ksr.answer("uac.uac_reg_status", lambda uuid: DOWN if uuid == "down" else UP)
    ksr.receive(request())
    return found


def test_each_way_of_registrations_that_are_up_is_pinged(node: SimpleNamespace, ksr: MockKSR) -> None:
    node.pinging.tick(ROWS)
    uris = [value for name, value in ksr.called("pv.sets") if name == "$var(uri)"]
    sockets = [value for name, value in ksr.called("pv.sets") if name == "$var(socket)"]
    assert sorted(zip(uris, sockets, strict=True)) == [
        ("sip:192.0.2.1:5060;transport=udp", ""),
        ("sip:[2001:db8::1]:5070;transport=tcp", "tcp:[2001:db8::9]:5060"),
    ]
    assert ksr.called("route") == [("PING",)] * 2


def test_they_come_again_in_time(node: SimpleNamespace, ksr: MockKSR) -> None:
    one = {"a": ROWS["a"]}
    sent = []
    for _ in range(int(2 * EVERY / LOOKS_EVERY) + 1):
        node.pinging.tick(one)
        sent.append(len(ksr.called("route")))
        node.now += LOOKS_EVERY
    assert sent == [1] * 5 + [2] * 5 + [3]
    node.now -= 1
    node.pinging.tick(one)
    assert len(ksr.called("route")) == 3
