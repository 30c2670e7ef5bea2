"""Steps that many calls share: how one that was set up goes on, and what a refused one looks like."""

from __future__ import annotations

import contextlib
import sqlite3

from kemi.line import word
from tests.harness.agent import Exchange
from tests.harness.carrier import Script
from tests.harness.endpoint import Address
from tests.harness.message import Message, auth_params
from tests.harness.node import Kamailio
from tests.harness.nonces import Nonces
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import ANSWER_HEADERS, KEEPING, Challenge

EVERY_KIND = frozenset({"INVITE", "re-INVITE", "INFO", "BYE"})


def asking(scene: Scene, nonces: Nonces = KEEPING, *, status: int = 407, **how: object) -> Trunk:
    """A trunk whose carrier asks for credentials with every request, and has these ways with its nonces. It does not
    ring: what one worker learns from a 180 could come after what another one learns from the 200.
    """
    challenge = Challenge(status, requests=EVERY_KIND, nonces=nonces, **how)  # type: ignore[arg-type]
    return scene.trunk(Script(challenge, ring=False))


def verdicts(trunk: Trunk, kind: str = "INVITE") -> list[str]:
    """The carrier's verdicts on requests of a kind, in order."""
    return [verdict for each, _, verdict in trunk.carrier.verdicts if each == kind]


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
    scene.kamailio.wait_for_log(f"reason={word(reason)} call-id={call.request.call_id}")
    lines = scene.kamailio.log().splitlines()
    (line,) = (each for each in lines if "outcome=refused" in each and call.request.call_id in each)
    assert f"trunk={trunk.uuid}" in line


def credentials(request: Message) -> dict[str, dict[str, str]]:
    """Parameters of the one set of credentials that a request carries for each header, by header."""
    found = {}
    for header in ANSWER_HEADERS.values():
        if request.has(header):
            (value,) = request.all(header)
            found[header] = auth_params(value)
    return found


def place(scene: Scene, trunk: str) -> Exchange:
    """A call over the trunk of this l_uuid, once it has its final response; one that was answered is hung up."""
    call = scene.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk)])
    scene.pbx.wait(f"a final response to {call.request}", lambda: call.final)
    if call.final and call.final.status == 200:
        call.inside("BYE").expect(200)
    return call


def status(scene: Scene, trunk: str) -> int:
    """How a call over the trunk of this l_uuid ends."""
    final = place(scene, trunk).final
    assert final
    return final.status


def wait_until(scene: Scene, trunk: str, expected: int, within: float, *, before: tuple[int, ...] = (404,)) -> None:
    """Until calls over the trunk of this l_uuid end with this status, whichever worker takes them: the others look at
    the file a moment later. before: what they may end with until then.
    """

    def found() -> bool:
        seen = status(scene, trunk)
        assert seen in (expected, *before), f"{trunk}: {seen} came\n{scene.kamailio.last_log_lines()}"
        return seen == expected

    scene.kamailio.wait_for(f"{expected} to a call over {trunk}", found, within)
    scene.kamailio.wait_until_looked_at()


def all_end_with(scene: Scene, trunk: str, expected: int, count: int = 12) -> None:
    """So many calls at once, more than there are workers, end with this status, whoever was the first to look."""
    scene.kamailio.wait_until_looked_at()
    invite = scene.pbx.invite
    calls = [invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk)]) for _ in range(count)]
    for call in calls:
        call.expect(expected)
        if expected == 200:
            call.inside("BYE").expect(200)


def carriers_of(kamailio: Kamailio) -> list[tuple[str]]:
    """Addresses of group 2 in the copy."""
    with contextlib.closing(sqlite3.connect(kamailio.state / "replica.sqlite", timeout=5)) as connection:
        return connection.execute("SELECT ip_addr FROM address WHERE grp = 2").fetchall()


def list_carrier(kamailio: Kamailio, host: str, port: int, tag: str) -> None:
    """List a carrier, for the tests that use the fixture `listed`."""
    statement = "INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES (2, ?, 32, ?, ?)"
    kamailio.database.execute(statement, (host, port, tag))
    kamailio.wait_for("the copy of the address", lambda: carriers_of(kamailio), within=5)
    kamailio.wait_for_workers()


def policy(scene: Scene, trunk: Trunk, **columns: int | str) -> None:
    """A row of the table trunk."""
    names, places = ", ".join(columns), ", ".join("?" * (1 + len(columns)))
    scene.kamailio.database.execute(
        f"INSERT INTO trunk (l_uuid, {names}) VALUES ({places})", (trunk.uuid, *columns.values())
    )
    scene.kamailio.wait_until_looked_at()


def wait_until_next_hop(kamailio: Kamailio, carrier: Address) -> None:
    """Until every worker knows the carrier by its row's next hop."""
    place = f"{carrier[0]} {carrier[1]}"
    kamailio.wait_for("the next hop is known", lambda: _is_next_hop(kamailio, place), within=5)
    kamailio.wait_for_workers()


def _is_next_hop(kamailio: Kamailio, place: str) -> bool:
    with contextlib.closing(sqlite3.connect(kamailio.state / "names.sqlite", timeout=5)) as connection:
        return bool(connection.execute("SELECT 1 FROM next_hop WHERE place = ?", (place,)).fetchone())
