"""Trunks with `max_calls`, over a Kamailio that is killed and started again while calls are up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.harness.agent import Exchange
from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.node import Installation, Options

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

FREED_WITHIN = 30.0  # seconds: a caller is asked within ten
TRUNK = "narrow"


@pytest.fixture
def carrier() -> Iterator[Carrier]:
    """A carrier that outlives a Kamailio."""
    with Carrier(Script(), {}) as found:
        yield found
        assert found.faults == []


def call(pbx: Caller) -> Exchange:
    made = pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", TRUNK)])
    pbx.wait("a final response", lambda: made.final)
    return made


def room(pbx: Caller) -> int:
    """How many calls more the trunk takes; they are hung up at once."""
    calls = [call(pbx)]
    while calls[-1].dialog:
        calls.append(call(pbx))
    calls.pop().expect(503)
    for made in calls:
        made.inside("BYE").expect(200)
    return len(calls)


def test_calls_hold_their_places_over_a_restart_until_they_end(installation: Installation, carrier: Carrier) -> None:
    row = {"l_uuid": TRUNK, "r_domain": "narrow.test", "auth_username": "u", "auth_password": "p-w-o-r-d",
           "auth_proxy": carrier.proxy_uri}  # fmt: skip
    options = Options(trunks=(row,))
    with installation.running(options) as first, Caller(first.sip) as pbx, Caller(first.sip) as other:
        first.database.execute("INSERT INTO trunk (l_uuid, max_calls) VALUES (?, 3)", (TRUNK,))
        first.wait_until_looked_at()
        one, two, three = (call(caller) for caller in (pbx, pbx, other))
        file = first.state / "calls"
        assert room(pbx) == 0
        first.wait_for("three calls are noted", lambda: file.exists() and len(file.read_text().splitlines()) == 3, 5)
        first.program.kill()
        other.forget_calls()  # nobody will hang the third one up, and he is asked in 5 to 10 s
        again = replace(options, trunks=(), state=first.state, sip=first.sip)
        with installation.running(again) as second:
            assert room(pbx) == 0
            one.inside("BYE").expect(200)
            second.wait_for("room for one", lambda: room(pbx) >= 1, 5)
            carrier.in_call(two.request.call_id, "BYE").expect(200)
            second.wait_for("room for two", lambda: room(pbx) >= 2, 5)
            second.wait_for("room for three", lambda: room(pbx) == 3, FREED_WITHIN)
            assert three.dialog
        assert (pbx.faults, other.faults) == ([], [])
