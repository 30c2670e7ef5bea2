"""Our part in a Kamailio of one's own: kamailio/examples/phones, with a registrar, usrloc and auth beside it."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.programs import free_port
from tests.harness import message
from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Carrier, Script
from tests.harness.machine import PROJECT
from tests.harness.message import auth_params
from tests.harness.node import AS_IT_COMES, Installation, Kamailio, Native, Options, settings
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import wait_until_next_hop
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

EXAMPLE = PROJECT / "kamailio/examples"
REALM = "phones.example"
ALICE, BOB = "127.0.0.21", "127.0.0.22"  # in no table
FORGETFUL = (("tm", "wt_timer", 500),)  # milliseconds after which a transaction that has ended is forgotten
CHALLENGED = frozenset({"INVITE", "re-INVITE", "INFO", "UPDATE", "BYE"})
OFFERS = {"uac_auth": Offer(), "our own digest": Offer("SHA-256")}


def example(state: Path, project: Path) -> Path:
    """The example as an operator has it, in the state directory."""
    installed = {
        "/usr/lib/kemi-trunkauth/kemi/kamailio": f"{project}/kamailio", "/etc/kamailio": str(state),
    }  # fmt: skip
    for file in ("phones.cfg", "phones.py"):
        text = (EXAMPLE / file).read_text()
        for there, here in installed.items():
            text = text.replace(there, here)
        (state / file).write_text(text)
        (state / file).chmod(0o644)
    with closing(sqlite3.connect(state / "phones.sqlite")) as phones:
        phones.execute("CREATE TABLE subscriber (username TEXT, domain TEXT, password TEXT)")
        phones.executemany(
            "INSERT INTO subscriber VALUES (?, '', ?)", [(name, f"{name}-pw") for name in ("alice", "bob")]
        )
        phones.commit()
    (state / "phones.sqlite").chmod(0o600)
    os.chown(state / "phones.sqlite", state.stat().st_uid, state.stat().st_gid)
    return state / "phones.cfg"


@pytest.fixture(scope="module")
def running(installation: Installation) -> Iterator[Kamailio]:
    also = {"TRUNKAUTH_TRY_SECONDS": "1"}
    options = Options(config=example, also=also, callers=(), preemptive="off", modparams=FORGETFUL)
    with installation.running(options) as node:
        yield node


@pytest.fixture
def scene(running: Kamailio) -> Iterator[Scene]:
    with Scene(running) as stage:
        yield stage
    running.wait_until_looked_at()  # no worker has this test's trunk for the next one's call of the same phone


class End(Carrier):
    """A phone's end, which is challenged by its registrar, and by nobody else."""

    @property
    def faults(self) -> list[str]:
        with self.changed:
            responses = [each for exchange in self.exchanges.values() for each in exchange.responses]
            asking = [each.first("Proxy-Authenticate") + each.first("WWW-Authenticate") for each in responses]
            own = tuple(f"{each}: " for each, asked in zip(responses, asking, strict=True) if REALM in asked)
            faults = super().faults
        return [fault for fault in faults if not (fault.startswith(own) and fault.endswith("reached this end"))]


@dataclass(frozen=True)
class Phone:
    """A phone, which has the password of its user."""

    user: str
    scene: Scene
    end: Carrier

    def request(self, method: str, uri: str, body: bytes = b"") -> Exchange:
        """Send a request outside a dialog, with the answer to the challenge that it gets."""
        refused = self._send(method, uri, body)
        status = 401 if method == "REGISTER" else 407
        asks, answers = {
            401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization"),
        }[status]  # fmt: skip
        asked = auth_params(refused.expect(status).first(asks))
        return self._send(method, uri, body, (answers, self._answer(method, uri, asked["nonce"])))

    def _send(self, method: str, uri: str, body: bytes, *headers: tuple[str, str]) -> Exchange:
        own = f"sip:{self.user}@{REALM}"
        to = own if method == "REGISTER" else ""
        given = (*headers, ("P-Asserted-Identity", f"<sip:boss@{REALM}>"))
        return self.end.outside(self.scene.kamailio.sip, method, uri, sender=own, to=to, headers=given, body=body)

    def _answer(self, method: str, uri: str, nonce: str) -> str:
        def digest(*parts: str) -> str:
            return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()

        response = digest(digest(self.user, REALM, f"{self.user}-pw"), nonce, digest(method, uri))
        return f'Digest username="{self.user}", realm="{REALM}", nonce="{nonce}", uri="{uri}", response="{response}"'

    def call(self, number: str) -> Exchange:
        return self.request("INVITE", f"sip:{number}@{REALM}", SDP)


def phone(scene: Scene, user: str, host: str) -> Phone:
    """A phone that has registered."""
    end = scene._stack.enter_context(End(Script(), {}, host=host))
    scene.agents.append(end)
    made = Phone(user, scene, end)
    made.request("REGISTER", f"sip:{REALM}").expect(200)
    return made


@pytest.fixture
def alice(scene: Scene) -> Phone:
    return phone(scene, "alice", ALICE)


@pytest.fixture
def bob(scene: Scene) -> Phone:
    return phone(scene, "bob", BOB)


def trunk_asking(scene: Scene, offer: str, **columns: str) -> Trunk:
    """A trunk whose carrier challenges every request."""
    challenge = Challenge(offers=(OFFERS[offer],), requests=CHALLENGED)
    return scene.trunk(Script(challenge), l_username="alice", l_domain=REALM, **columns)


def speak(end: Carrier, call_id: str, *methods: str) -> None:
    for method in methods:
        end.in_call(call_id, method, SDP if method == "INVITE" else b"").expect(200)


def test_a_phone_calls_a_phone(scene: Scene, alice: Phone, bob: Phone) -> None:
    """ACK, INFO, UPDATE and re-INVITE go through, and no header of a trunk is on them."""
    call = alice.call("bob")
    call.expect(200)
    bob.end.expect_acks()
    invite = bob.end.expect("INVITE")
    assert not invite.has("Proxy-Authorization")
    assert ";ta=" not in str(invite.all("Record-Route"))
    for method in ("INFO", "UPDATE", "INVITE"):
        call.inside(method, body=SDP if method == "INVITE" else b"").expect(200)
    speak(bob.end, call.request.call_id, "INFO", "UPDATE", "INVITE", "BYE")
    assert [each.cseq[0] for each in bob.end.received("INFO")] == [2]


@pytest.mark.parametrize("offer", OFFERS)
def test_a_phone_calls_a_trunk(scene: Scene, alice: Phone, offer: str) -> None:
    """It sees no challenge of the carrier's, of a re-INVITE or BYE either; the carrier not who it says that it is."""
    trunk = trunk_asking(scene, offer)
    call = alice.call("5551234")
    call.expect(200)
    trunk.carrier.expect_acks()
    for method in ("INVITE", "INFO", "UPDATE"):
        call.inside(method, body=SDP if method == "INVITE" else b"").expect(200)
    trunk.carrier.expect_acks()
    speak(trunk.carrier, call.request.call_id, "INVITE", "INFO")
    alice.end.expect_acks()
    call.inside("BYE").expect(200)
    kinds = ["INVITE", "re-INVITE", "INFO", "UPDATE", "BYE"]
    assert [(kind, verdict) for kind, _, verdict in trunk.carrier.verdicts] == [
        (kind, verdict) for kind in kinds for verdict in (MISSING, ACCEPTED)
    ]
    assert not trunk.carrier.received("INVITE")[0].has("P-Asserted-Identity")
    assert not any("phones.example" in value for each in trunk.carrier.received("INVITE")
                   for value in each.all("Proxy-Authorization"))  # fmt: skip


def test_a_200_whose_ack_was_lost_comes_again_to_a_phone(scene: Scene, alice: Phone, bob: Phone) -> None:
    """Of another phone, and of a carrier: with the CSeq that the phone has sent."""
    trunk = trunk_asking(scene, "uac_auth")
    calls = {bob.end: alice.call("bob"), trunk.carrier: alice.call("5551234")}
    for end, call in calls.items():
        call.expect(200)
        end.expect_acks()
    scene.kamailio.wait_for(
        "every transaction is forgotten", lambda: re.search(r"current: 0\b", scene.kamailio.rpc("tm.stats")), within=8
    )
    for end, call in calls.items():
        end.accept_again(call.request.call_id)
        assert {each.cseq for each in call.responses} == {(1, "INVITE")}


def test_a_phone_cancels_a_call_over_a_trunk(scene: Scene, alice: Phone) -> None:
    trunk = scene.trunk(Script(Challenge(), final=None), l_username="alice", l_domain=REALM)
    call = alice.call("5551234")
    call.expect(180)
    call.cancel().expect(200)
    call.expect(487)
    trunk.carrier.expect("CANCEL")


@pytest.mark.parametrize("offer", OFFERS)
def test_a_trunk_calls_a_phone(scene: Scene, bob: Phone, offer: str) -> None:
    """The phone's re-INVITE and BYE are challenged by the carrier, and answered for it."""
    trunk = trunk_asking(scene, offer)
    call = called(scene, trunk, "bob")
    call.expect(200)
    bob.end.expect_acks()
    call.inside("INFO").expect(200)
    call.inside("INVITE", body=SDP).expect(200)
    bob.end.expect_acks()
    speak(bob.end, call.request.call_id, "INVITE", "INFO", "BYE")
    assert [(kind, verdict) for kind, _, verdict in trunk.carrier.verdicts] == [
        (kind, verdict) for kind in ("re-INVITE", "INFO", "BYE") for verdict in (MISSING, ACCEPTED)
    ]


def called(scene: Scene, trunk: Trunk, number: str) -> Exchange:
    """A call of the trunk's carrier, once that is known as one."""
    wait_until_next_hop(scene.kamailio, trunk.carrier.address)
    uri = "sip:{}@{}:{}".format(trunk.uuid, *scene.kamailio.sip)
    to = f"sip:{number}@carrier.test"
    return trunk.carrier.outside(scene.kamailio.sip, "INVITE", uri, sender="sip:+494@far.test", to=to, body=SDP)


def test_a_trunk_calls_a_number_that_no_phone_has(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    called(scene, trunk, "nobody").expect(404)


@pytest.mark.parametrize("number", ["bob", "5551234"])
def test_whoever_has_no_password_calls_nobody(scene: Scene, bob: Phone, number: str) -> None:
    trunk = trunk_asking(scene, "uac_auth")
    stranger = scene._stack.enter_context(Carrier(Script(), {}, host="127.0.0.23"))
    wrong = Phone("alice", scene, stranger)
    wrong._send("INVITE", f"sip:{number}@{REALM}", SDP).expect(407)
    stranger.outside(
        scene.kamailio.sip, "INVITE", f"sip:{number}@{REALM}", sender=f"sip:alice@{REALM}", body=SDP,
        headers=[("Proxy-Authorization", wrong._answer("INVITE", "sip:x", "0" * 32))],
    ).expect(407)  # fmt: skip
    assert bob.end.received("INVITE") == trunk.carrier.received("INVITE") == []


def test_a_to_tag_and_a_route_lead_nowhere(scene: Scene) -> None:
    """Of somebody who has not registered, in a dialog that he has made up."""
    carrier = scene.trunk(Script()).carrier
    stranger = scene._stack.enter_context(Carrier(Script(), {}, host="127.0.0.23"))
    host, port = scene.kamailio.sip
    fields = [
        ("Via", stranger.via()), ("Max-Forwards", "70"), ("Route", f"<sip:{host}:{port};lr>"),
        ("From", "<sip:a@b.test>;tag=a"), ("To", "<sip:c@d.test>;tag=c"), ("Call-ID", "made-up"), ("CSeq", "1 MESSAGE"),
    ]  # fmt: skip
    stranger.start(message.request("MESSAGE", carrier.uri, fields), scene.kamailio.sip).expect(481)
    assert carrier.received("MESSAGE") == []


# --- a script that says itself what goes where, and what follows

SCRIPT = """
import os
import KSR
from kemi.handlers import Handlers

class Own(Handlers):
    def ksr_request_route(self, message):
        if self.dialog_is_ours(message) or not KSR.is_INVITE():
            return super().ksr_request_route(message)
        return self.send(str(KSR.pv.gete("$rU")), message)

    def TRUNKAUTH(self, message):
        if not self.challenge(message):
            KSR.tm.t_reply(480, "Said Here")
        return 1

    def may_call(self, message):
        return KSR.pv.gete("$fU") == "known"

def mod_init():
    return Own.from_environment(os.environ)
"""
CONFIG = """#!KAMAILIO
include_file "{project}/kamailio/trunkauth.inc.cfg"
debug=1
log_stderror=yes
listen=TRUNKAUTH_SOCKETS
tcp_children=2
modparam("app_python3", "load", "{state}/own.py")
"""


def own_script(state: Path, project: Path) -> Path:
    """A script that sends a call over the trunk whose name is dialled, and has the last word itself."""
    for name, text in (("own.py", SCRIPT), ("own.cfg", CONFIG.format(project=project, state=state))):
        (state / name).write_text(text)
        (state / name).chmod(0o644)
    return state / "own.cfg"


@pytest.fixture(scope="module")
def sending(installation: Installation) -> Iterator[Kamailio]:
    with installation.running(Options(config=own_script, callers=(), preemptive="off")) as node:
        yield node


@pytest.mark.parametrize("offer", OFFERS)
def test_a_script_sends_over_a_trunk_and_has_its_challenge_answered(sending: Kamailio, offer: str) -> None:
    with Scene(sending) as scene:
        trunk, other = trunk_asking(scene, offer), scene.trunk(Script())
        call = scene.pbx.invite(f"sip:{trunk.uuid}@pbx.test")
        call.expect(200)
        trunk.carrier.expect_acks()
        call.inside("BYE").expect(200)
        kinds = ["INVITE", "BYE"]
        assert [(kind, verdict) for kind, _, verdict in trunk.carrier.verdicts] == [
            (kind, verdict) for kind in kinds for verdict in (MISSING, ACCEPTED)
        ]
        assert other.carrier.trace == []


def test_what_follows_a_refused_challenge_is_the_scripts(sending: Kamailio) -> None:
    with Scene(sending) as scene:
        trunk = scene.trunk(auth_password="not the one")
        call = scene.pbx.invite(f"sip:{trunk.uuid}@pbx.test")
        assert call.expect(480).reason == "Said Here"
        assert trunk.carrier.answers("INVITE") == [407, 407]


def test_a_trunk_that_is_not_there_is_answered(sending: Kamailio) -> None:
    with Scene(sending) as scene:
        assert scene.pbx.invite("sip:nobody@pbx.test").expect(404).reason == "No Trunk"


@pytest.mark.parametrize(("user", "status"), [("known", 200), ("stranger", 481)])
def test_what_the_sender_of_a_call_sends_later_is_for_may_call(sending: Kamailio, user: str, status: int) -> None:
    """But for its end; and no ACK of a failure that we have answered reaches the carrier."""
    with Scene(sending) as scene:
        trunk, ringing = scene.trunk(), scene.trunk(Script(final=None))
        up, other = (
            scene.pbx.invite(f"sip:{each.uuid}@pbx.test", sender=f"sip:{user}@pbx.test") for each in (trunk, ringing)
        )
        up.expect(200)
        trunk.carrier.expect_acks()
        for method in ("INFO", "INVITE"):
            up.inside(method, body=SDP if method == "INVITE" else b"").expect(status)
        up.inside("BYE").expect(200)
        other.expect(180)
        other.cancel().expect(status)
        if status == 481:
            ringing.carrier.pick_up()
        assert other.expect(200 if status == 481 else 480)  # the script's own last word


# --- what is missing


def refusal(native: Native, folder: Path, config: str) -> str:
    """The one line with which it does not start."""
    state, sip = folder / "state", ("127.0.0.1", free_port())
    state.mkdir(mode=0o700)
    (file := folder / "own.cfg").write_text(config.replace("HERE", f"{PROJECT}/kamailio/trunkauth.inc.cfg"))
    environment = {**os.environ, **settings(state, sip, AS_IT_COMES)}
    command = [sys.executable, "-m", "kemi", "run", "-u", str(os.geteuid()), "-f", str(file)]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    [line] = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    return line.replace(str(file), "own.cfg")


@pytest.mark.parametrize(("config", "starts"), [
    ("#!KAMAILIO\n", 'own.cfg lacks loadmodule "app_python3.so", loadmodule "'),
    ('include_file "HERE"\nlisten=TRUNKAUTH_SOCKETS\nmodparam("dialog", "track_cseq_updates", 1)\n',
     'own.cfg lacks modparam("dialog", "track_cseq_updates", 0) in place of 1; '),
    ('include_file "HERE"\nlisten=udp:127.0.0.1:1\n', "TRUNKAUTH_LISTEN: own.cfg does not listen on udp:127.0.0.1:"),
    ('include_file "/nowhere.cfg"\n', 'own.cfg: cannot open included file: "/nowhere.cfg"'),
])  # fmt: skip
def test_what_is_missing_is_named_in_one_line(native: Native, tmp_path: Path, config: str, starts: str) -> None:
    assert refusal(native, tmp_path, config).startswith(starts)
