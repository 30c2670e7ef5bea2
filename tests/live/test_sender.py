"""From as a carrier wants it, over the wire: each carrier sees its own in all that it gets, and the PBX sees the one
that it wrote (the ends hold replies to it themselves), after a restart too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Script
from tests.harness.message import Message, address
from tests.harness.restarts import Stories
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

EVERY = frozenset({"INVITE", "re-INVITE", "INFO", "BYE", "PRACK"})
OFFERS = {"uac_auth": Offer(), "our own digest": Offer("SHA-256")}
STORIES = Stories()


def named(scene: Scene, script: Script, **columns: str) -> Trunk:
    """A trunk whose From is this."""
    trunk = scene.trunk(script)
    names, places = ", ".join(columns), ", ".join("?" * (1 + len(columns)))
    statement = f"INSERT INTO trunk (l_uuid, {names}) VALUES ({places})"
    scene.kamailio.database.execute(statement, (trunk.uuid, *columns.values()))
    scene.kamailio.wait_until_looked_at()
    return trunk


def call(scene: Scene, *trunks: Trunk, sender: str = "sip:100@pbx.test") -> Exchange:
    order = ("X-Trunk", ", ".join(trunk.uuid for trunk in trunks))
    return scene.pbx.invite("sip:5551234@pbx.test", sender=sender, headers=[order])


def seen(trunk: Trunk) -> set[str]:
    """The URIs of From in all that the carrier got of the caller, ACKs and CANCELs too."""
    requests = [each.message for each in trunk.carrier.trace if not each.sent and not each.message.is_response]
    return {address(each.first("From")) for each in requests}


def parties(message: Message) -> tuple[str, str]:
    return address(message.first("From")), address(message.first("To"))


@STORIES.tell_each(OFFERS)
def a_challenged_call_from_its_invite_to_its_end(scene: Scene, offer: Offer) -> Iterator[None]:
    script = Script(Challenge(requests=EVERY, offers=(offer,)), reliable=True, final=None)
    trunk = named(scene, script, from_user="u4711", from_domain="carrier.test")
    made = call(scene, trunk)
    made.expect(180)
    made.inside("PRACK", headers=[("RAck", f"1 {made.request.cseq[0]} INVITE")]).expect(200)
    trunk.carrier.pick_up()
    trunk.carrier.script = replace(trunk.carrier.script, ring=False, reliable=False, final=200)
    made.expect(200)
    trunk.carrier.expect_acks()
    for method in ("INFO", "INVITE"):
        made.inside(method, body=SDP if method == "INVITE" else b"").expect(200)
    trunk.carrier.expect_acks()
    yield
    made.inside("INFO").expect(200)
    for method in ("INFO", "INVITE"):
        back = trunk.carrier.in_call(made.request.call_id, method, SDP if method == "INVITE" else b"")
        answer = back.expect(200)
        assert parties(answer) == parties(back.request) == ("sip:5551234@pbx.test", "sip:u4711@carrier.test")
    got = [each.message for each in scene.pbx.trace if not each.sent and not each.message.is_response]
    mine = [each for each in got if each.call_id == made.request.call_id]
    assert {address(each.first("To")) for each in mine} == {"sip:100@pbx.test"}
    made.inside("BYE").expect(200)
    assert seen(trunk) == {"sip:u4711@carrier.test"}


@STORIES.tell
def a_200_repeated_after_a_restart_shows_the_caller_its_own(scene: Scene) -> Iterator[None]:
    trunk = named(scene, Script(Challenge()), from_user="u4711", from_domain="carrier.test")
    made = call(scene, trunk)
    made.expect(200)
    trunk.carrier.expect_acks()
    yield
    trunk.carrier.accept_again(made.request.call_id)
    assert {address(each.first("From")) for each in made.responses} == {"sip:100@pbx.test"}
    made.inside("BYE").expect(200)
    assert seen(trunk) == {"sip:u4711@carrier.test"}


@pytest.mark.parametrize("story", STORIES.told)
def test_over_restarts(ended: dict[str, Exception | None], story: str) -> None:
    if fault := ended[story]:
        raise fault


def test_a_cancelled_call_and_a_refused_one(scene: Scene) -> None:
    trunk = named(scene, Script(Challenge(), final=None), from_user="$", from_domain="carrier.test")
    made = call(scene, trunk)
    made.expect(180)
    made.cancel().expect(200)
    made.expect(487)
    trunk.carrier.expect("CANCEL")
    trunk.carrier.turn_down(486)
    call(scene, trunk).expect(486)
    trunk.carrier.expect_acks()
    assert seen(trunk) == {"sip:100@carrier.test"}


def test_each_carrier_sees_its_own(scene: Scene) -> None:
    first = named(scene, Script(Challenge(), ring=False, final=503), from_user="first", from_domain="a.test")
    second = named(scene, Script(Challenge(realm="b", requests=EVERY)), from_user="second", from_domain="b.test")
    third = scene.trunk(Script(Challenge(realm="c")))
    made = call(scene, first, second)
    made.expect(200)
    made.inside("BYE").expect(200)
    other = call(scene, first, third)
    other.expect(200)
    other.inside("BYE").expect(200)
    assert [seen(trunk) for trunk in (first, second, third)] == [
        {"sip:first@a.test"}, {"sip:second@b.test"}, {"sip:100@pbx.test"}
    ]  # fmt: skip


def test_an_anonymous_caller_stays_anonymous(scene: Scene) -> None:
    trunk = named(scene, Script(Challenge()), from_user="u4711", from_domain="carrier.test")
    made = call(scene, trunk, sender="sip:anonymous@anonymous.invalid")
    made.expect(200)
    made.inside("BYE").expect(200)
    assert seen(trunk) == {"sip:anonymous@anonymous.invalid"}


def test_a_private_caller_is_named_in_p_asserted_identity_alone(scene: Scene) -> None:
    first = named(scene, Script(Challenge(), ring=False, final=503), identity="rpid")
    second = named(
        scene, Script(Challenge(requests=EVERY)), identity="pai", from_domain="carrier.test", from_user="u4711"
    )
    said = [("P-Asserted-Identity", "<sip:+4930123@pbx.test>"), ("Privacy", "id")]
    order = ("X-Trunk", f"{first.uuid}, {second.uuid}")
    made = scene.pbx.invite("sip:5551234@pbx.test", headers=[order, *said])
    made.expect(200)
    second.carrier.expect_acks()
    made.inside("INFO").expect(200)
    back = second.carrier.in_call(made.request.call_id, "INFO")
    back.expect(200)
    made.inside("BYE").expect(200)
    for trunk, asserted in ((first, []), (second, ["<sip:+4930123@carrier.test>"])):
        assert seen(trunk) == {"sip:anonymous@anonymous.invalid"}
        for invite in trunk.carrier.received("INVITE"):
            assert invite.all("P-Asserted-Identity") == asserted
            assert (invite.all("Privacy"), invite.has("Remote-Party-ID")) == (["id"], False)
    got = [each.message for each in scene.pbx.trace if not each.sent and each.message.start.startswith("INFO")]
    assert {address(each.first("To")) for each in got} == {"sip:100@pbx.test"}
