"""How many new calls a second one source may place, over the mocked KSR."""

from __future__ import annotations

import time

import pytest

from kemi.settings import Settings
from tests.flow.scene import PBX, request, routes_with
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

OVER = Reply(503, "Service Unavailable")


def test_new_calls_beyond_the_limit_503_until_the_second_is_over(
    pbx: MockKSR, database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    routes = pbx.handlers = routes_with(database, {"TRUNKAUTH_MAX_CPS": "2"})
    pbx.trust("192.0.2.11")
    seen = []

    def place(source: str = PBX, method: str = "INVITE") -> None:
        pbx.receive(request(method), source=(source, 5060))
        routes.ksr_request_route(None)
        seen.append([reply.code for reply in pbx.replies])

    for _ in range(4):
        place()
    assert pbx.replies == [OVER]
    assert pbx.replies[0].headers == ("Retry-After: 1",)
    place("192.0.2.11")  # another source has a second of its own
    place(method="MESSAGE")  # and is no call
    now = 1001.0
    place()
    routes.trunks.close()
    assert seen == [[], [], [503], [503], [], [], []]
    line = f"source={PBX} outcome=limited most=2 call-id=call-1\n"
    assert [each for each in pbx.log if "limited" in each[1]] == [("warn", line)]
