"""The proxy for itself: its OPTIONS, loops, junk, a silent carrier, registration, the RPC socket, the log."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.verifier import ACCEPTED, MISSING, Challenge

pytestmark = pytest.mark.once

ONE_SECOND = (("tm", "fr_timer", 1000),)


@pytest.fixture(scope="module")
def impatient(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio that waits one second for a carrier, not thirty."""
    with installation.running(Options(modparams=ONE_SECOND)) as running:
        yield running


def test_options_to_the_proxy_is_200(scene: Scene) -> None:
    host, port = scene.kamailio.sip
    scene.pbx.request("OPTIONS", f"sip:{host}:{port}").expect(200)


def test_a_request_with_no_hops_left_is_483(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    headers = [("X-Trunk", trunk.uuid)]
    scene.pbx.request("INVITE", "sip:5551234@pbx.test", headers=headers, max_forwards=0).expect(483)
    assert not trunk.carrier.trace


def test_a_carrier_that_is_silent_is_408(impatient: Kamailio) -> None:
    with Scene(impatient) as scene:
        trunk = scene.trunk(Script(silent=True))
        scene.call(trunk).expect(408)
        trunk.carrier.expect("INVITE")


def test_a_carrier_that_falls_silent_is_408_whatever_the_call_carries(impatient: Kamailio) -> None:
    with Scene(impatient) as scene:
        trunk = scene.trunk(Script(challenge=Challenge(), silent=True))
        scene.accept_one(trunk)
        scene.call(trunk).expect(408)
        assert trunk.carrier.expect("INVITE").has("Proxy-Authorization")
        assert trunk.carrier.answers("INVITE") == []


def junk(via: str) -> dict[str, bytes]:
    """Requests that are wrong in one way each."""
    lines = [
        b"INVITE sip:1@nowhere.test SIP/2.0",
        f"Via: {via}".encode(),
        b"Max-Forwards: 70",
        b"From: <sip:100@pbx.test>;tag=a",
        b"To: <sip:1@nowhere.test>",
        f"Call-ID: junk-{via[-8:]}".encode(),
        b"CSeq: 1 INVITE",
        b"Content-Length: 0",
    ]

    def changed(old: bytes, new: bytes) -> bytes:
        return b"\r\n".join(line.replace(old, new) for line in lines) + b"\r\n\r\n"

    return {
        "no CSeq": changed(b"CSeq: 1 INVITE", b"Subject: none"),
        "CSeq of another method": changed(b"1 INVITE", b"1 BYE"),
        "no From": changed(b"From: <sip:100@pbx.test>;tag=a", b"Subject: none"),
        "no Call-ID": changed(b"Call-ID", b"Subject"),
        "no To": changed(b"To: <sip:1@nowhere.test>", b"Subject: none"),
        "From that is not UTF-8": changed(b"sip:100@", b"sip:\xff\xfe@"),
        "X-Trunk that is not UTF-8": changed(b"Max-Forwards", b"X-Trunk: \xff\xfe\r\nMax-Forwards"),
        "Call-ID that is not UTF-8": changed(b"Call-ID: ", b"Call-ID: \xff\xfe"),
        "R-URI that is not UTF-8": changed(b"INVITE sip:1@", b"INVITE sip:\xff\xfe@"),
        "R-URI without a scheme": changed(b"INVITE sip:1@nowhere.test", b"INVITE nowhere"),
        "Content-Length beyond the body": changed(b"Content-Length: 0", b"Content-Length: 99"),
        "another version": changed(b"test SIP/2.0", b"test SIP/3.0"),
        "a start line alone": b"INVITE sip:1@nowhere.test SIP/2.0\r\n\r\n",
        "no SIP at all": b"\x00\x01\x02\xff" * 40,
    }


@pytest.mark.every_kamailio
@pytest.mark.parametrize("wrong", junk(""))
def test_junk_is_answered_400_or_not_at_all_and_calls_go_on(scene: Scene, wrong: str) -> None:
    trunk = scene.trunk()
    sender = scene.caller()
    sender.send_bytes(junk(sender.via())[wrong], sender.proxy)
    for _ in range(4):
        scene.call(trunk).expect(200)
    scene.agents.remove(sender)  # what answers junk echoes it, and is no message to judge
    statuses = {seen.message.status for seen in sender.trace}
    assert statuses <= {400, 404}, sender.ladder()


def test_a_row_that_expires_is_registered_with_its_carrier(installation: Installation) -> None:
    challenge = Challenge(401, requests=frozenset({"REGISTER"}))
    with Carrier(Script(challenge=challenge), {"reg-user": "reg-password"}) as carrier:
        host, port = carrier.address
        row: dict[str, str | int] = {
            "l_uuid": "registered", "l_username": "reg", "l_domain": "pbx.test", "r_username": "reg-user",
            "r_domain": f"{host}:{port}", "realm": "carrier.test", "auth_username": "reg-user",
            "auth_password": "reg-password", "auth_proxy": carrier.proxy_uri, "expires": 60,
        }  # fmt: skip
        options = Options(trunks=(row, {**row, "l_uuid": "not", "expires": 0}), modparams=REGISTERS_EVERY_SECOND)
        with installation.running(options) as kamailio:
            carrier.expect("REGISTER", count=2)
            verdicts = [verdict for _, _, verdict in carrier.verdicts]
            assert verdicts == [MISSING, ACCEPTED], f"{carrier.ladder()}\n{kamailio.last_log_lines()}"
            assert carrier.faults == []
            assert f"@{kamailio.sip[0]}:{kamailio.sip[1]}" in carrier.received("REGISTER")[1].first("Contact")


def test_the_rpc_socket_is_its_users_alone(kamailio: Kamailio) -> None:
    assert stat.S_IMODE(kamailio.rpc_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(kamailio.state.stat().st_mode) == 0o700
    assert kamailio.version in kamailio.rpc("core.version")


def test_a_password_is_nowhere_in_the_log(scene: Scene) -> None:
    """Neither when the carrier takes it nor when it does not, nor what was computed from it."""
    taken, refused = scene.trunk(), scene.trunk(Script(challenge=Challenge(refuse_all=True)))
    scene.call(taken).expect(200)
    scene.call(refused).expect(503)
    for trunk in (taken, refused):
        log = scene.kamailio.wait_for_log(f"trunk={trunk.uuid}")
        assert trunk.password not in log
        (answered,) = (m for m in trunk.carrier.received("INVITE") if m.has("Proxy-Authorization"))
        assert answered.first("Proxy-Authorization").split('response="')[1][:32] not in log
