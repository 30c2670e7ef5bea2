"""Who starts nothing: strangers, and whoever knows a dialog without being one of its ends, as a carrier's machines do.

The attacker aims at a victim that has no part in any call. It must see nothing, whatever the attacker knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import randrange

import pytest

from tests.harness import message
from tests.harness.agent import Exchange
from tests.harness.caller import Caller
from tests.harness.carrier import Carrier, Script
from tests.harness.dialog import Dialog
from tests.harness.scene import Scene, Trunk
from tests.harness.verifier import Challenge

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

CARRIER, STRANGER, VICTIM = "127.0.0.7", "127.0.0.8", "127.0.0.9"  # none of them is listed
METHODS = ["INVITE", "BYE", "NOTIFY", "MESSAGE", "INFO", "REFER", "SUBSCRIBE", "PUBLISH", "UPDATE", "PRACK", "TEST"]
EVERY_REQUEST = frozenset({"INVITE", "REGISTER", "INFO", "BYE"})


@pytest.fixture
def victim() -> Iterator[Carrier]:
    with Carrier(Script(), {}, host=VICTIM) as carrier:
        yield carrier


@dataclass(frozen=True)
class Call:
    """A call that is up, over a trunk whose carrier is not listed. by_caller, by_callee: what each end knows of it."""

    scene: Scene
    trunk: Trunk
    exchange: Exchange

    @property
    def by_caller(self) -> Dialog:
        assert self.exchange.dialog
        return replace(self.exchange.dialog)

    @property
    def by_callee(self) -> Dialog:
        return replace(self.trunk.carrier.dialogs[self.exchange.request.call_id])

    def goes_on(self) -> None:
        """Both ends can still use it, and it ends."""
        self.exchange.inside("INFO").expect(200)
        self.trunk.carrier.in_call(self.exchange.request.call_id, "INFO").expect(200)
        self.exchange.inside("BYE").expect(200)


@pytest.fixture
def up(scene: Scene) -> Call:
    trunk = scene.trunk(Script(Challenge(requests=EVERY_REQUEST)), host=CARRIER)
    exchange = scene.call(trunk)
    exchange.expect(200)
    trunk.carrier.expect_acks()
    return Call(scene, trunk, exchange)


def somebody(scene: Scene, is_listed: bool) -> Caller:
    """A sender who is listed, or one whom nobody has heard of: of a known one no more than 20 requests are answered."""
    return scene.caller(host="127.0.0.1" if is_listed else f"127.1.{randrange(256)}.{randrange(1, 255)}")


def made_up(scene: Scene, target: str) -> Dialog:
    """A dialog that never was, with a Route to us."""
    host, port = scene.kamailio.sip
    ends = ("<sip:a@nowhere.test>;tag=a", "<sip:b@nowhere.test>;tag=b")
    return Dialog(message.new_tag(), *ends, target, (f"<sip:{host}:{port};lr>",), cseq=1)


def all_passed(sender: Caller) -> None:
    """Wait until what this end has sent before is dealt with: one worker reads the socket."""
    host, port = sender.proxy
    sender.request("OPTIONS", f"sip:{host}:{port}").expect(200)


def acknowledges(sender: Caller, dialog: Dialog) -> None:
    """Send an ACK in the dialog, and wait until it is dealt with."""
    dialog.cseq -= 1
    sender.inside(dialog, "ACK")
    all_passed(sender)


def starts_nothing(sender: Caller, dialog: Dialog, victim: Carrier) -> None:
    """Every method gets 481, and ACK silence; nothing is sent, and no transaction made."""
    for method in METHODS:
        sender.inside(dialog, method).expect(481)
    acknowledges(sender, dialog)
    assert not victim.trace


def transactions(scene: Scene) -> int:
    """How many this Kamailio has made."""
    (total,) = (line.split()[1] for line in scene.kamailio.rpc("tm.stats").splitlines() if "created:" in line)
    return int(total)


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_dialog_that_never_was(scene: Scene, victim: Carrier, is_listed: bool) -> None:
    before = transactions(scene)
    starts_nothing(somebody(scene, is_listed), made_up(scene, victim.uri), victim)
    dialog = made_up(scene, victim.uri)
    routed = replace(dialog, routes=(*dialog.routes, f"<{victim.uri};lr>"))
    starts_nothing(somebody(scene, is_listed), routed, victim)
    assert transactions(scene) == before


@pytest.mark.parametrize("is_listed", [False, True])
def test_a_name_in_a_dialog_that_never_was_is_looked_up_nowhere(scene: Scene, victim: Carrier, is_listed: bool) -> None:
    starts_nothing(somebody(scene, is_listed), made_up(scene, "sip:b@stranger.test"), victim)
    assert "stranger.test" not in scene.kamailio.rpc("htable.dump", "wanted_names")


@pytest.mark.parametrize("host", [STRANGER, CARRIER])
@pytest.mark.parametrize("end", ["caller", "callee"])
def test_who_knows_a_call_sends_nothing_elsewhere_in_it(up: Call, victim: Carrier, host: str, end: str) -> None:
    """Call-ID, tags and mark, as its carrier does, from anywhere; by R-URI, and by a Route behind ours."""
    sender = up.scene.caller(host=host)
    known = up.by_caller if end == "caller" else up.by_callee
    before = transactions(up.scene)
    starts_nothing(sender, replace(known, target=victim.uri), victim)
    starts_nothing(sender, replace(known, routes=(*known.routes, f"<{victim.uri};lr>")), victim)
    assert transactions(up.scene) == before
    up.goes_on()


def test_who_knows_a_call_sends_nothing_in_its_callers_name(up: Call, victim: Carrier) -> None:
    """Not even to the carrier itself."""
    starts_nothing(somebody(up.scene, is_listed=False), up.by_caller, victim)
    assert up.trunk.carrier.received("INFO") == []
    up.goes_on()


def test_a_name_that_the_callers_side_has_not_given_is_looked_up_nowhere(up: Call, victim: Carrier) -> None:
    starts_nothing(up.scene.caller(host=CARRIER), replace(up.by_callee, target="sip:b@callee.test"), victim)
    assert "callee.test" not in up.scene.kamailio.rpc("htable.dump", "wanted_names")
    up.goes_on()


def test_an_ack_with_no_mark_goes_nowhere_while_its_invite_is_known(up: Call, victim: Carrier) -> None:
    """For seconds after a call was answered, its INVITE's transaction is there, and its ACK fits it."""
    sender = somebody(up.scene, is_listed=False)
    host, port = sender.proxy
    assert up.exchange.request.cseq == (1, "INVITE")
    acknowledges(sender, replace(up.by_caller, target=victim.uri, routes=(f"<sip:{host}:{port};lr>",), cseq=1))
    assert not victim.trace
    up.goes_on()


def test_a_request_passes_ourselves_no_oftener_than_a_call_does(scene: Scene) -> None:
    """However many Routes to us it brings, and although our own address is among the callers'."""
    trunk = scene.trunk(Script(), host=CARRIER)
    exchange = scene.call(trunk)
    exchange.expect(200)
    trunk.carrier.expect_acks()
    known = trunk.carrier.dialogs[exchange.request.call_id]
    before = transactions(scene)
    somebody(scene, is_listed=False).inside(replace(known, routes=known.routes * 60), "INFO").expect(482)
    assert transactions(scene) - before <= 2
    exchange.inside("BYE").expect(200)


def test_a_caller_who_has_not_said_where_he_is_lends_his_call_to_nobody(scene: Scene, victim: Carrier) -> None:
    """Two places that cannot be read are not the same one."""
    trunk = scene.trunk(Script(), host=CARRIER)
    scene.pbx.contact = "tel:+49401234"
    exchange = scene.call(trunk)
    exchange.expect(200)
    trunk.carrier.expect_acks()
    known = replace(trunk.carrier.dialogs[exchange.request.call_id], target=f'{victim.uri};transport="udp"')
    starts_nothing(somebody(scene, is_listed=False), known, victim)
    exchange.inside("BYE").expect(200)


def test_another_machine_of_the_carrier_reaches_the_caller(up: Call) -> None:
    sender = somebody(up.scene, is_listed=False)
    sender.inside(up.by_callee, "INFO").expect(200)
    sender.inside(replace(up.by_callee, cseq=1), "BYE").expect(200)


@pytest.mark.parametrize("name", [False, True])
def test_a_callers_contact_that_is_not_listed_is_reached_in_its_calls(scene: Scene, name: bool) -> None:
    """A PBX that sends from one address and is called at another, which may be a name."""
    trunk = scene.trunk(Script(), host=CARRIER)
    with Carrier(Script(), {}, host="127.0.0.1" if name else VICTIM) as elsewhere:
        contact = f"sip:pbx@localhost:{elsewhere.address[1]}" if name else elsewhere.uri
        pbx = scene.caller()
        pbx.contact = contact
        call = pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
        call.expect(200)
        trunk.carrier.expect_acks()
        call_id = call.request.call_id

        def reached() -> bool:  # the first request to a name is dropped
            trunk.carrier.in_call(call_id, "INFO")
            return bool(elsewhere.received("INFO"))

        scene.kamailio.wait_for("an INFO at the Contact", reached, within=5)
        call.inside("BYE").expect(200)


def test_register_is_never_relayed(up: Call) -> None:
    """With the trunk's credentials it would move the carrier's account."""
    refusal = up.exchange.inside("REGISTER").expect(405)
    assert "INVITE" in refusal.first("Allow")
    carriers = up.trunk.carrier.in_call(up.exchange.request.call_id, "REGISTER")
    final = up.trunk.carrier.wait("a refusal", lambda: carriers.final)
    assert final.status in (403, 405)  # 405 once it is known as a carrier, by its trunk's next hop
    somebody(up.scene, is_listed=False).inside(up.by_caller, "REGISTER").expect(403)
    assert up.trunk.carrier.received("REGISTER") == []
    up.goes_on()


def test_a_stranger_cancels_no_call(scene: Scene) -> None:
    """Who knows its branch, as the carrier does."""
    trunk = scene.trunk(Script(final=None), host=CARRIER)
    call = scene.call(trunk)
    call.expect(180)
    stranger = somebody(scene, is_listed=False)
    replace(call, agent=stranger).cancel().expect(481)
    trunk.carrier.pick_up()
    call.expect(200)
    call.inside("BYE").expect(200)


def test_the_far_end_cancels_its_own_re_invite(up: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pbx, carrier, call_id = up.scene.pbx, up.trunk.carrier, up.exchange.request.call_id
    with monkeypatch.context() as patched:
        patched.setattr(pbx, "answer", lambda served: pbx.respond(served, 180))
        again = carrier.in_call(call_id, "INVITE")
        again.expect(180)
        again.cancel().expect(200)
        again.expect(487)
    up.goes_on()


def test_a_cancel_of_nothing_is_481(scene: Scene) -> None:
    scene.pbx.request("CANCEL", "sip:5551234@pbx.test").expect(481)
    somebody(scene, is_listed=False).request("CANCEL", "sip:5551234@pbx.test").expect(481)


def test_a_reply_goes_back_where_its_request_came_from(scene: Scene, victim: Carrier) -> None:
    """Whatever Via says: maddr and a sent-by that is not the sender's lead nowhere (RFC 3261 18.2.2 allows maddr)."""
    stranger = somebody(scene, is_listed=False)
    host, port = victim.address
    for via in (f"{host}:{port}", f"{STRANGER}:5060;maddr={host}", f"victim.test:{port}"):
        lines = (
            f"INFO sip:{VICTIM} SIP/2.0",
            f"Via: SIP/2.0/UDP {via};branch={message.new_branch()}",
            "Max-Forwards: 70",
            "From: <sip:a@nowhere.test>;tag=a",
            "To: <sip:b@nowhere.test>;tag=b",
            f"Call-ID: {message.new_tag()}",
            "CSeq: 1 INFO",
            "Content-Length: 0",
        )
        stranger.send_bytes(("\r\n".join(lines) + "\r\n\r\n").encode(), stranger.proxy)
    all_passed(stranger)
    assert not victim.trace
    scene.agents.remove(stranger)  # replies to what it did not send as its own
