"""Steps that many calls share: how one that was set up goes on, and what a refused one looks like."""

from __future__ import annotations

from tests.live.agent import Exchange
from tests.live.fixtures import Scene, Trunk
from tests.live.message import Message, auth_params
from tests.live.verifier import ANSWER_HEADERS


def talk_and_hang_up(trunk: Trunk, call: Exchange) -> None:
    """The rest of a call that was set up: its ACK reaches the carrier, and then a BYE does."""
    call.expect(200)
    trunk.carrier.expect("ACK")
    call.inside("BYE").expect(200)
    trunk.carrier.expect("BYE")


def refused(call: Exchange) -> None:
    """The one thing that the PBX may see of a carrier that cannot be satisfied."""
    answer = call.expect(503)
    assert answer.reason == "Trunk Authentication Failed"
    assert [each.status for each in call.responses if each.status >= 200] == [503]


def refused_because(scene: Scene, trunk: Trunk, reason: str, call: Exchange) -> None:
    """Refused, with the one line that tells the operator why."""
    refused(call)
    scene.kamailio.wait_for_log(f"refused reason={reason!r} call-id={call.request.call_id}")
    (line,) = (each for each in scene.kamailio.log().splitlines() if "refused" in each and call.request.call_id in each)
    assert f"trunk={trunk.uuid}" in line


def credentials(request: Message) -> dict[str, dict[str, str]]:
    """Parameters of the one set of credentials that a request carries for each header, by header."""
    found = {}
    for header in ANSWER_HEADERS.values():
        if request.has(header):
            (value,) = request.all(header)
            found[header] = auth_params(value)
    return found
