"""Trunks with `max_calls`, over a Kamailio that is killed and started again while calls are up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.harness.agent import SDP, Exchange, Served
from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.steps import wait_until_next_hop

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio, pytest.mark.long]

FREED_WITHIN = 30.0  # seconds: a caller is asked within ten
TRUNK = "narrow"


class Forgetful(Carrier):
    """A PBX that knows no call when it is asked for one."""

    def answer(self, served: Served) -> None:
        if served.request.method == "OPTIONS":
            self.respond(served, 481)
        else:
            super().answer(served)


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


def called(carrier: Carrier, kamailio: Kamailio) -> Exchange:
    """A call of the carrier's that is up."""
    host, port = kamailio.sip
    uri, caller = f"sip:{TRUNK}@{host}:{port}", "sip:+4940999@far.test"
    made = carrier.outside(kamailio.sip, "INVITE", uri, sender=caller, to="sip:1@narrow.test", body=SDP)
    made.expect(200)
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
    with (
        installation.running(options) as first,
        Caller(first.sip) as pbx,
        Caller(first.sip) as other,
        Forgetful(Script(), {}) as there,
    ):
        columns = (TRUNK, there.proxy_uri)
        first.database.execute("INSERT INTO trunk (l_uuid, max_calls, inbound_uri) VALUES (?, 5, ?)", columns)
        first.wait_until_looked_at()
        one, two, three = (call(caller) for caller in (pbx, pbx, other))
        wait_until_next_hop(first, carrier.address)
        four, five = (called(carrier, first) for _ in range(2))
        file = first.state / "calls"
        assert room(pbx) == 0
        first.wait_for("five calls are noted", lambda: file.exists() and len(file.read_text().splitlines()) == 5, 5)
        first.program.kill()
        other.forget_calls()  # the third one; as its PBX does the fifth. Both are asked in 5 to 10 s
        again = replace(options, trunks=(), state=first.state, sip=first.sip)
        with installation.running(again) as second:
            assert room(pbx) == 0
            one.inside("BYE").expect(200)
            second.wait_for("room for one", lambda: room(pbx) >= 1, 5)
            carrier.in_call(two.request.call_id, "BYE").expect(200)
            second.wait_for("room for two", lambda: room(pbx) >= 2, 5)
            there.in_call(four.request.call_id, "BYE").expect(200)
            second.wait_for("room for three", lambda: room(pbx) >= 3, 5)
            second.wait_for("room for five", lambda: room(pbx) == 5, FREED_WITHIN)
            assert three.dialog
            (question,) = there.received("OPTIONS")
            assert (question.call_id, question.cseq[0]) == (five.request.call_id, 0)
        assert (pbx.faults, other.faults, there.faults) == ([], [], [])
