"""Calls that carriers bring in: who is one, where they go, and that their dialogs work in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Carrier, Script
from tests.harness.message import address
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import list_carrier, wait_until_next_hop
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

UNLISTED = "127.0.0.20"  # a PBX that may not call
CALLED = "+4930123456"
TAKES_CALLS = Script()
ASKING = frozenset({"REGISTER", "re-INVITE", "INFO", "UPDATE", "REFER", "BYE"})
OFFERS = {"uac_auth": Offer(), "our own digest": Offer("SHA-256")}


@pytest.fixture(scope="module")
def registering(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio that registers at once, and waits a second for a silent PBX."""
    also = {"TRUNKAUTH_TRY_SECONDS": "1"}
    with installation.running(Options(modparams=REGISTERS_EVERY_SECOND, also=also, preemptive="off")) as running:
        yield running


@pytest.fixture
def scene(registering: Kamailio) -> Iterator[Scene]:
    with Scene(registering) as stage:
        yield stage


def pbx(scene: Scene, script: Script = TAKES_CALLS, host: str = "127.0.0.1", transport: str = "udp") -> Carrier:
    """A PBX that takes calls."""
    made = scene._stack.enter_context(Carrier(script, {}, host=host, transport=transport))
    scene.agents.append(made)
    return made


def open_to(scene: Scene, script: Script, *pbxs: Carrier, **columns: Any) -> Trunk:
    """A trunk whose calls these PBXs take."""
    policy = {name: columns.pop(name) for name in ("max_calls", "max_cps") if name in columns}
    trunk = scene.trunk(script, **columns)
    uris = ", ".join(each.proxy_uri for each in pbxs)
    names = ", ".join(("l_uuid", "inbound_uri", *policy))
    places = ", ".join("?" * (2 + len(policy)))
    scene.kamailio.database.execute(
        f"INSERT INTO trunk ({names}) VALUES ({places})", (trunk.uuid, uris, *policy.values())
    )
    scene.kamailio.wait_until_looked_at()
    wait_until_next_hop(scene.kamailio, trunk.carrier.address)
    return trunk


def registered(trunk: Trunk) -> str:
    """The Contact with which the trunk is registered."""
    return trunk.carrier.wait(
        "a REGISTER that is answered",
        lambda: (
            next((address(each.first("Contact")) for each in trunk.carrier.received("REGISTER")[-1:]), "")
            if 200 in trunk.carrier.answers("REGISTER")
            else ""
        ),
    )


def contact(scene: Scene, trunk: Trunk) -> str:
    """The Contact with which the trunk would be registered."""
    host, port = scene.kamailio.sip
    return f"sip:{trunk.uuid}@{host}:{port}"


def called(scene: Scene, carrier: Carrier, uri: str, method: str = "INVITE") -> Exchange:
    """A request of a carrier's to this R-URI."""
    return carrier.outside(
        scene.kamailio.sip, method, uri, sender="sip:+4940999@far.test", to=f"sip:{CALLED}@carrier.test",
        body=SDP if method == "INVITE" else b"",
    )  # fmt: skip


def up(scene: Scene, carrier: Carrier, there: Carrier, uri: str) -> Exchange:
    """A carrier's call that is answered."""
    call = called(scene, carrier, uri)
    call.expect(200)
    there.expect_acks()
    return call


def registration(scene: Scene) -> dict[str, str | int]:
    return {
        "l_username": "4930123", "l_domain": "pbx.test", "r_username": "4930123", "r_domain": "carrier.test",
        "expires": 60,
    }  # fmt: skip


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("host", ["127.0.0.1", UNLISTED], ids=["a listed PBX", "a PBX that may not call"])
def test_registered_then_called_and_the_pbx_speaks(scene: Scene, offer: str, host: str) -> None:
    """re-INVITE, INFO, REFER and BYE of the PBX are challenged, and it sees its own CSeqs and no challenge."""
    there = pbx(scene, host=host)
    asking = Script(Challenge(requests=ASKING - {"REGISTER"}, offers=(OFFERS[offer],)))
    trunk = open_to(scene, asking, there, **registration(scene))
    call = up(scene, trunk.carrier, there, registered(trunk))
    invite = there.expect("INVITE")
    assert (invite.uri, invite.cseq[0]) == (f"sip:{CALLED}@{there.proxy_uri.removeprefix('sip:')}", 1)
    assert not invite.has("Proxy-Authorization")
    for method in ("INVITE", "INFO", "REFER", "INVITE", "BYE"):
        there.in_call(call.request.call_id, method, SDP if method == "INVITE" else b"").expect(200)
    kinds = ["re-INVITE", "INFO", "REFER", "re-INVITE", "BYE"]
    assert [(kind, verdict) for kind, _, verdict in trunk.carrier.verdicts] == [
        (kind, verdict) for kind in kinds for verdict in (MISSING, ACCEPTED)
    ]


def test_the_carrier_speaks_and_hangs_up(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(Challenge(requests=ASKING)), there)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    for method in ("INVITE", "INFO", "UPDATE", "BYE"):
        call.inside(method, body=SDP if method == "INVITE" else b"").expect(200)
    assert [each.cseq[0] for each in there.received("BYE")] == [5]
    assert trunk.carrier.verdicts == []


@pytest.mark.parametrize(("carrier", "there"), [("tcp", "tcp"), ("tcp", "udp"), ("udp", "tcp")])
def test_over_tcp(scene: Scene, carrier: str, there: str) -> None:
    """A carrier that is in no group connects from any port of its next hop's address."""
    place = pbx(scene, transport=there)
    trunk = open_to(scene, Script(Challenge(requests=ASKING)), place, host="127.0.0.9", transport=carrier)
    for ends in ("carrier", "PBX"):
        call = up(scene, trunk.carrier, place, contact(scene, trunk))
        if ends == "carrier":
            call.inside("BYE").expect(200)
        else:
            place.in_call(call.request.call_id, "INFO").expect(200)
            place.in_call(call.request.call_id, "BYE").expect(200)
    assert {verdict for *_, verdict in trunk.carrier.verdicts} == {MISSING, ACCEPTED}


def test_a_next_hop_that_is_in_no_group_may_send_more_than_a_stranger(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(), there, host="127.0.0.10")
    for _ in range(25):
        called(scene, trunk.carrier, contact(scene, trunk), "MESSAGE").expect(200)


def test_a_carrier_cancels(scene: Scene) -> None:
    there = pbx(scene, Script(final=None))
    trunk = open_to(scene, Script(), there)
    call = called(scene, trunk.carrier, contact(scene, trunk))
    call.expect(180)
    call.cancel().expect(200)
    call.expect(487)
    there.expect("CANCEL")


def test_a_reliable_180_and_its_prack(scene: Scene) -> None:
    there = pbx(scene, Script(reliable=True, final=None))
    trunk = open_to(scene, Script(), there)
    call = called(scene, trunk.carrier, contact(scene, trunk))
    call.expect(180)
    call.inside("PRACK", headers=[("RAck", "1 1 INVITE")]).expect(200)
    there.pick_up()
    call.expect(200)
    there.expect_acks()
    there.in_call(call.request.call_id, "BYE").expect(200)


def test_a_message_comes_in(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(), there)
    called(scene, trunk.carrier, contact(scene, trunk), "MESSAGE").expect(200)
    assert there.expect("MESSAGE").uri.startswith(f"sip:{CALLED}@")


def test_two_carriers_and_two_pbxs(scene: Scene) -> None:
    """By the contact, and by the number; nobody gets another one's calls."""
    here, there = pbx(scene), pbx(scene)
    one = open_to(scene, Script(Challenge(requests=ASKING)), here, l_username="4930111")
    two = open_to(scene, Script(Challenge(requests=ASKING, realm="two")), there, l_username="4940222")
    host, port = scene.kamailio.sip
    calls = [
        (one, here, up(scene, one.carrier, here, contact(scene, one))),
        (two, there, up(scene, two.carrier, there, f"sip:4940222@{host}:{port}")),
    ]
    assert [each.uri.partition("@")[0] for each in (*here.received("INVITE"), *there.received("INVITE"))] == [
        f"sip:{CALLED}", "sip:4940222"
    ]  # fmt: skip
    for trunk, place, call in calls:
        place.in_call(call.request.call_id, "BYE").expect(200)
        assert [verdict for *_, verdict in trunk.carrier.verdicts] == [MISSING, ACCEPTED]
    for uri in (contact(scene, one), f"sip:4930111@{host}:{port}"):
        assert called(scene, two.carrier, uri).expect(404).reason == "No Route For This Number"


def test_a_carrier_that_is_spoofed_by_another_port_gets_nowhere(scene: Scene) -> None:
    """127.0.0.1 may call here, so it is taken for a caller, whose call goes to the carrier; another address is 403."""
    there = pbx(scene)
    trunk = open_to(scene, Script(), there)
    for host, expected in (("127.0.0.1", 404), ("127.0.0.9", 403)):
        with Carrier(Script(), {}, host=host) as stranger:
            called(scene, stranger, contact(scene, trunk)).expect(expected)
    assert not there.received("INVITE")
    assert not trunk.carrier.received("INVITE")


def test_what_a_carrier_sends_never_goes_out(scene: Scene) -> None:
    """Its machine may call, and a rule would find its trunk."""
    trunk = open_to(scene, Script(), pbx(scene))
    called(scene, trunk.carrier, f"sip:0900123@{trunk.domain}").expect(404)
    assert not trunk.carrier.received("INVITE")


def test_a_carrier_whose_row_has_a_fault_stays_one(scene: Scene) -> None:
    """And may not call over another trunk, which its address, that of a listed PBX, would let it."""
    other, faulty = scene.trunk(), scene.trunk()
    scene.change_row(faulty, auth_password="")
    usable = scene.trunk()
    wait_until_next_hop(scene.kamailio, usable.carrier.address)
    called(scene, faulty.carrier, f"sip:{CALLED}@{other.domain}").expect(404)
    assert not other.carrier.received("INVITE")


@pytest.mark.usefixtures("listed")
def test_a_machine_of_group_2_finds_its_trunk_by_its_tag(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(), there)
    with Carrier(Script(), {}, host="127.0.0.9") as machine:
        list_carrier(scene.kamailio, *machine.address, trunk.uuid)
        host, port = scene.kamailio.sip
        for _ in range(25):  # more than a source that is not listed may send
            called(scene, machine, f"sip:+49301@{host}:{port}", "MESSAGE").expect(200)
        call = up(scene, machine, there, f"sip:+49301@{host}:{port}")
        assert there.received("INVITE")[-1].uri.startswith("sip:+49301@")
        there.in_call(call.request.call_id, "BYE").expect(200)


def test_the_next_pbx_takes_a_call_that_the_first_does_not(scene: Scene) -> None:
    first, second = pbx(scene, Script(ring=False, final=503)), pbx(scene)
    trunk = open_to(scene, Script(Challenge(requests=ASKING)), first, second)
    call = up(scene, trunk.carrier, second, contact(scene, trunk))
    second.in_call(call.request.call_id, "BYE").expect(200)
    silent, third = pbx(scene, Script(silent=True)), pbx(scene)
    other = open_to(scene, Script(Challenge(requests=ASKING)), silent, third)
    call = up(scene, other.carrier, third, contact(scene, other))
    call.inside("BYE").expect(200)
    busy = open_to(scene, Script(), pbx(scene, Script(ring=False, final=486)), third)
    called(scene, busy.carrier, contact(scene, busy)).expect(486)


def test_a_pbx_that_asks_for_credentials_gets_none(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(), there)
    asking = Carrier(Script(Challenge()), {trunk.user: trunk.password})
    with asking:
        statement = "UPDATE trunk SET inbound_uri = ? WHERE l_uuid = ?"
        scene.kamailio.database.execute(statement, (asking.proxy_uri, trunk.uuid))
        scene.kamailio.wait_until_looked_at()
        called(scene, trunk.carrier, contact(scene, trunk)).expect(503)
        assert [verdict for *_, verdict in asking.verdicts] == [MISSING]


def test_a_full_trunk_takes_no_call_in_until_one_ends(scene: Scene) -> None:
    there = pbx(scene)
    trunk = open_to(scene, Script(), there, max_calls=1)
    call = up(scene, trunk.carrier, there, contact(scene, trunk))
    called(scene, trunk.carrier, contact(scene, trunk)).expect(503)
    outbound = scene.call(trunk)
    outbound.expect(503)
    there.in_call(call.request.call_id, "BYE").expect(200)
    up(scene, trunk.carrier, there, contact(scene, trunk)).inside("BYE").expect(200)


def test_a_call_that_its_carrier_sends_back_reaches_the_pbx(scene: Scene) -> None:
    """As a call of its own, as carriers do."""
    there = pbx(scene)
    trunk = open_to(scene, Script(final=None), there)
    out = scene.call(trunk)
    out.expect(180)
    back = up(scene, trunk.carrier, there, contact(scene, trunk))
    trunk.carrier.pick_up()
    out.expect(200)
    trunk.carrier.expect("ACK")
    out.inside("BYE").expect(200)
    there.in_call(back.request.call_id, "BYE").expect(200)
