"""Numbers as each carrier wants them, over the wire; emergency calls as they were dialled, past the limit."""

from __future__ import annotations

import pytest

from tests.harness.carrier import Script
from tests.harness.message import address
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

EVERY = frozenset({"INVITE", "re-INVITE", "BYE"})
CALLER = "sip:03023125555@pbx.test"


def wanting(scene: Scene, script: Script, **columns: str | int) -> Trunk:
    """A trunk whose row of `trunk` says this."""
    trunk = scene.trunk(script)
    names, places = ", ".join(columns), ", ".join("?" * (1 + len(columns)))
    statement = f"INSERT INTO trunk (l_uuid, {names}) VALUES ({places})"
    scene.kamailio.database.execute(statement, (trunk.uuid, *columns.values()))
    scene.kamailio.wait_until_looked_at()
    return trunk


def users(trunk: Trunk) -> list[str]:
    """The user of each INVITE's R-URI, with its scheme."""
    return [invite.start.split()[1].partition("@")[0] for invite in trunk.carrier.received("INVITE")]


def test_each_carrier_sees_numbers_in_its_own_way(scene: Scene) -> None:
    e164: dict[str, str | int] = {"number_format": "e164", "country": "DE", "from_user": "$", "identity": "pai"}
    national: dict[str, str | int] = {"number_format": "national", "country": "GB", "from_user": "$"}
    first = wanting(scene, Script(Challenge(), ring=False, final=503), **e164)
    second = wanting(scene, Script(Challenge(realm="b", requests=EVERY)), **national)
    third = wanting(scene, Script(Challenge(realm="c", requests=EVERY)), strip=2, prefix="011")
    for order in ((first, second), (first, third)):
        made = scene.pbx.invite(
            "sip:0044-20-79460123;npdi@pbx.test",
            sender=CALLER,
            headers=[("X-Trunk", ", ".join(trunk.uuid for trunk in order))],
        )
        made.expect(200)
        order[-1].carrier.expect_acks()
        made.inside("BYE").expect(200)
    assert set(users(first)) == {"sip:+442079460123;npdi"}
    assert set(users(second)) == {"sip:02079460123;npdi"}
    assert set(users(third)) == {"sip:011442079460123;npdi"}
    for invite in first.carrier.received("INVITE"):
        assert address(invite.first("From")).startswith("sip:+493023125555@")
        assert invite.first("P-Asserted-Identity").startswith("<sip:+493023125555@")
    assert {address(invite.first("From")) for invite in second.carrier.received("INVITE")} == {CALLER}


def test_no_limit_holds_for_an_emergency_call(scene: Scene) -> None:
    columns: dict[str, str | int] = {
        "max_calls": 1,
        "number_format": "e164",
        "country": "DE",
        "strip": 1,
        "prefix": "9",
    }
    trunk = wanting(scene, Script(Challenge()), **columns)
    order = ("X-Trunk", trunk.uuid)
    up = scene.pbx.invite("sip:0100@pbx.test", sender=CALLER, headers=[order])
    up.expect(200)
    scene.pbx.invite("sip:0100@pbx.test", sender=CALLER, headers=[order]).expect(503)
    calls = []
    for uri in ("sip:112@pbx.test", "tel:110", "sip:0110@pbx.test", "urn:service:sos"):
        calls.append(scene.pbx.invite(uri, sender=CALLER, headers=[order]))
        calls[-1].expect(200)
    for call in calls:
        call.inside("BYE").expect(200)
    scene.pbx.invite("sip:0100@pbx.test", sender=CALLER, headers=[order]).expect(503)  # its place is still taken
    up.inside("BYE").expect(200)
    assert list(dict.fromkeys(users(trunk))) == ["sip:9100", "sip:112", "sip:110", "urn:service:sos"]
