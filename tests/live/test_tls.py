"""Calls to carriers by TLS: no request reaches one whose certificate is wrong, and calls go on to the next trunk."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.programs import free_port
from tests.harness.agent import SDP, Exchange
from tests.harness.carrier import Carrier, Script
from tests.harness.certificates import Authority, Identity
from tests.harness.machine import PROJECT
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import CHALLENGING, Scene, Trunk
from tests.harness.steps import policy, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, Challenge

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

NAME = "sip.carrier.test"


class Secured(NamedTuple):
    """A Kamailio with a TLS socket at this port, what it shows there, and the CA that it trusts."""

    node: Kamailio
    authority: Authority
    own: Identity
    port: int


@pytest.fixture(scope="module")
def secured(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    own = authority.issue("DNS:proxy.test")
    sip, port = ("127.0.0.1", free_port()), free_port()
    also = {
        "TRUNKAUTH_LISTEN": f"udp:{sip[0]}:{sip[1]} tcp:{sip[0]}:{sip[1]} tls:{sip[0]}:{port} tls:127.0.0.2:{port}",
        "TRUNKAUTH_TLS_CA": str(authority.certificate),
        "TRUNKAUTH_TLS_CERT": str(own.certificate),
        "TRUNKAUTH_TLS_KEY": str(own.key),
        "TRUNKAUTH_TRY_SECONDS": "1",
    }
    with installation.running(Options(sip=sip, also=also, secrets=folder)) as running:
        yield Secured(running, authority, own, port)


@pytest.fixture
def scene(secured: Secured) -> Iterator[Scene]:
    with Scene(secured.node) as stage:
        yield stage


def carrier(scene: Scene, secured: Secured, *names: str, script: Script = CHALLENGING) -> Trunk:
    """A trunk whose carrier's certificate is for these names. Its row names NAME."""
    return scene.tls_trunk(secured.authority.issue(*names), script, r_domain=NAME)


def wait_until_used(scene: Scene, key: str) -> None:
    """Wait until workers know of the connection with this key."""
    scene.kamailio.wait_for("it is up", lambda: f"name: {key}\n" in scene.kamailio.rpc("htable.dump", "secure"), 8)


def call(scene: Scene, *trunks: Trunk) -> Exchange:
    return scene.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", ", ".join(trunk.uuid for trunk in trunks))])


def number(scene: Scene, trunk: Trunk) -> int:
    """The number of the connection to the trunk's carrier; 0 or less if there is none that was found right."""
    key = f"{trunk.carrier.proxy_uri} {NAME}"
    lines = scene.kamailio.rpc("htable.dump", "secure").splitlines()
    values = [after for line, after in pairwise(lines) if line.strip() == f"name: {key}"]
    return int(values[0].partition(":")[2]) if values else 0


def wait_until_up(scene: Scene, *trunks: Trunk) -> None:
    scene.kamailio.wait_for("the connection", lambda: all(number(scene, trunk) > 0 for trunk in trunks), within=8)


def test_a_call_by_tls(scene: Scene, secured: Secured) -> None:
    trunk = carrier(scene, secured, f"DNS:{NAME}")
    wait_until_up(scene, trunk)
    for _ in range(3):
        talk_and_hang_up(trunk, scene.call(trunk))
    assert trunk.carrier.server_names == [NAME]
    assert trunk.carrier.handshake_faults == []


def passed_over(scene: Scene, first: Trunk, second: Trunk, reason: str) -> None:
    """A call of two trunks goes to the second at once, and the log has said once why; the first carrier has seen no
    INVITE.
    """
    line = f"trunk={first.uuid} name={NAME} outcome=tls-failed"
    log = scene.kamailio.wait_for_log(line)
    assert log.count(line) == 1
    assert reason in next(each for each in log.splitlines() if line in each)
    talk_and_hang_up(second, call(scene, first, second))
    scene.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", first.uuid)]).expect(503)
    assert first.carrier.received("INVITE") == []


def test_a_certificate_for_another_name_and_the_next_trunk_is_tried(scene: Scene, secured: Secured) -> None:
    first, second = carrier(scene, secured, "DNS:other.test"), carrier(scene, secured, f"DNS:{NAME}")
    wait_until_up(scene, second)
    passed_over(scene, first, second, f"its certificate is for other.test, and not for {NAME}")


def test_a_certificate_of_an_unknown_ca(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other", "another CA").issue(f"DNS:{NAME}")
    first, second = scene.tls_trunk(stranger, r_domain=NAME), carrier(scene, secured, f"DNS:{NAME}")
    wait_until_up(scene, second)
    passed_over(scene, first, second, "no CA of TRUNKAUTH_TLS_CA vouches for its certificate")


def test_a_certificate_that_has_expired(scene: Scene, secured: Secured) -> None:
    expired = secured.authority.issue(f"DNS:{NAME}", days=-1)
    first, second = scene.tls_trunk(expired, r_domain=NAME), carrier(scene, secured, f"DNS:{NAME}")
    wait_until_up(scene, second)
    passed_over(scene, first, second, "its certificate has expired")


def test_nobody_listens_and_the_next_trunk_is_tried(scene: Scene, secured: Secured) -> None:
    first, second = carrier(scene, secured, f"DNS:{NAME}"), scene.trunk()
    wait_until_up(scene, first)
    first.carrier.go_away()
    passed_over(scene, first, second, "it refuses the connection, or does not answer OPTIONS")
    first.carrier.be_back()
    wait_until_up(scene, first)
    scene.kamailio.wait_for_log(f"trunk={first.uuid} name={NAME} outcome=tls-up")
    talk_and_hang_up(first, call(scene, first, second))


def test_any_certificate_will_do_for_a_trunk_that_says_so(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other", "another CA").issue("DNS:other.test")
    trunk = scene.tls_trunk(stranger, r_domain=NAME)
    policy(scene, trunk, tls_verify=0)
    wait_until_used(scene, f"{trunk.carrier.proxy_uri}  ")
    talk_and_hang_up(trunk, scene.call(trunk))


def test_the_connection_is_kept_and_comes_back_after_a_restart_of_the_carrier(scene: Scene, secured: Secured) -> None:
    trunk = carrier(scene, secured, f"DNS:{NAME}")
    wait_until_up(scene, trunk)
    first = scene.call(trunk)
    first.expect(200)
    trunk.carrier.expect_acks()
    before = number(scene, trunk)
    trunk.carrier.go_away()
    trunk.carrier.be_back()
    scene.kamailio.wait_for("a second connection", lambda: number(scene, trunk) not in (0, -1, before), within=8)
    first.inside("BYE").expect(200)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert len(trunk.carrier.server_names) == 2


def test_a_carrier_that_wants_a_certificate_of_ours(scene: Scene, secured: Secured) -> None:
    wants = secured.authority.issue(f"DNS:{NAME}", of_client=secured.authority.certificate)
    trunk = scene.tls_trunk(wants, r_domain=NAME)
    wait_until_up(scene, trunk)
    talk_and_hang_up(trunk, scene.call(trunk))


def test_a_pbx_by_tls(scene: Scene, secured: Secured) -> None:
    trunk = carrier(scene, secured, f"DNS:{NAME}")
    wait_until_up(scene, trunk)
    pbx = scene.tls_caller(secured.authority.issue("DNS:pbx.test"), secured.port)
    talk_and_hang_up(trunk, pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]))
    trunk.carrier.expect("BYE")


def test_a_call_of_a_carrier_by_tls_reaches_a_pbx_by_tls(scene: Scene, secured: Secured) -> None:
    pbx = scene._stack.enter_context(
        Carrier(Script(), {}, transport="tls", identity=secured.authority.issue("DNS:pbx.test"))
    )
    scene.agents.append(pbx)
    challenge = Challenge(requests=frozenset({"BYE"}))
    identity = secured.authority.issue(f"DNS:{NAME}")
    trunk = scene.tls_trunk(identity, Script(challenge), host="127.0.0.9", r_domain=NAME)
    policy(scene, trunk, inbound_uri=pbx.proxy_uri)
    wait_until_up(scene, trunk)
    for ends in (trunk.carrier, pbx):
        host, port = scene.kamailio.sip[0], secured.port
        invite = trunk.carrier.outside(
            (host, port), "INVITE", f"sip:{trunk.uuid}@{host}:{port};transport=tls", sender="sip:+4940999@far.test",
            body=SDP,
        )  # fmt: skip
        invite.expect(200)
        pbx.expect_acks()
        (invite.inside("BYE") if ends is trunk.carrier else pbx.in_call(invite.request.call_id, "BYE")).expect(200)
    assert trunk.carrier.verdicts[-1][2] == ACCEPTED


def test_a_registration_takes_the_judged_connection(scene: Scene, secured: Secured) -> None:
    challenge = Challenge(401, requests=frozenset({"REGISTER"}))
    account = {
        "l_username": "reg",
        "l_domain": "pbx.test",
        "r_username": "account",
        "realm": challenge.realm,
        "contact_addr": "pbx.test:5061;transport=tls",
    }
    bad = scene.tls_trunk(
        secured.authority.issue("DNS:a.test"), Script(challenge), r_domain=NAME, expires=60, **account
    )
    good = scene.tls_trunk(
        secured.authority.issue(f"DNS:{NAME}"), Script(challenge), r_domain=NAME, expires=60, **account
    )
    register = good.carrier.expect("REGISTER", count=2, within=40)
    assert register.first("Contact") == f"<sip:{good.uuid}@pbx.test:5061;transport=tls>"
    assert len({seen.peer for seen in good.carrier.trace}) == 1
    scene.kamailio.wait_for_log(f"trunk={bad.uuid} name={NAME} outcome=tls-failed")
    any_will_do = scene.another_row(bad)
    policy(scene, any_will_do, tls_verify=0)
    rows = [
        scene.another_row(one, auth_proxy=f"sips:127.0.0.1:{one.carrier.address[1]}", expires=60, **account)
        for one in (bad, good)
    ]
    wait_until_used(scene, f"{bad.carrier.proxy_uri}  ")  # a connection that is right for nobody else
    good.carrier.expect("REGISTER", count=4, within=40)
    assert f"<sip:{rows[1].uuid}@pbx.test:5061;transport=tls>" in {
        one.first("Contact") for one in good.carrier.received("REGISTER")
    }
    assert bad.carrier.received("REGISTER") == []


def test_a_connection_that_hangs_is_closed_and_made_again(scene: Scene, secured: Secured) -> None:
    """The carrier's machine takes it, and nothing more."""
    trunk = scene.tls_trunk(secured.authority.issue(f"DNS:{NAME}"), r_domain=NAME)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        scene.another_row(trunk, auth_proxy=f"sips:127.0.0.1:{deaf.getsockname()[1]}")
        deaf.settimeout(15)
        with deaf.accept()[0] as first, deaf.accept()[0]:
            first.settimeout(15)
            while first.recv(4096):
                pass


def test_each_sending_socket_has_a_connection_of_its_own(scene: Scene, secured: Secured) -> None:
    identity = secured.authority.issue(f"DNS:{NAME}")
    trunk = scene.tls_trunk(identity, r_domain=NAME, socket=f"tls:127.0.0.1:{secured.port}")
    other = scene.another_row(trunk, socket=f"tls:127.0.0.2:{secured.port}")
    for one, address in ((trunk, "127.0.0.1"), (other, "127.0.0.2")):
        wait_until_used(scene, f"{one.carrier.proxy_uri} {NAME} tls:{address}:{secured.port}")
        talk_and_hang_up(one, scene.call(one))
        assert [seen.peer[0] for seen in one.carrier.trace if seen.message.method == "INVITE"][-1] == address


def test_certificates_that_change_are_taken_without_a_restart(scene: Scene, secured: Secured, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "another CA")
    trunk = scene.tls_trunk(other.issue(f"DNS:{NAME}"), r_domain=NAME)
    scene.kamailio.wait_for_log(f"trunk={trunk.uuid} name={NAME} outcome=tls-failed")
    before = ssl.get_server_certificate((scene.kamailio.sip[0], secured.port))
    renewed = secured.authority.issue("DNS:renewed.test")
    for old, new in ((secured.own.certificate, renewed.certificate), (secured.own.key, renewed.key)):
        old.write_bytes(new.read_bytes())
    with secured.authority.certificate.open("a") as trusted:
        trusted.write(other.certificate.read_text())
    scene.kamailio.wait_for_log("outcome=certificates-reloaded", within=10)
    wait_until_up(scene, trunk)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert ssl.get_server_certificate((scene.kamailio.sip[0], secured.port)) not in ("", before)


def test_the_health_check_by_tls(secured: Secured) -> None:
    place = f"tls:{secured.node.sip[0]}:{secured.port}"
    asked = subprocess.run([sys.executable, PROJECT / "kemi/health/options.py", place], check=False, timeout=10)
    assert asked.returncode == 0
