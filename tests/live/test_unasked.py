"""Where nothing may be carried unasked: to whom, for what realm, and over which way a trunk's credentials do not go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.machine import PROJECT
from tests.harness.node import Kamailio
from tests.harness.nonces import Nonces
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import EVERY_KIND, credentials, list_carrier, refused, refused_because, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, MISSING, WRONG, Challenge

pytestmark = pytest.mark.once
CHALLENGED = [MISSING, ACCEPTED]


def known(scene: Scene, **columns: str) -> Trunk:
    """A trunk whose carrier asks for credentials with every request, and has accepted them before."""
    trunk = scene.trunk(Script(Challenge(requests=EVERY_KIND)), **columns)
    scene.accept_one(trunk)
    return trunk


def verdicts(trunk: Trunk) -> list[str]:
    return [verdict for *_, verdict in trunk.carrier.verdicts]


def saw_none(carrier: Carrier) -> None:
    """It was sent requests, and no credentials."""
    received = [seen.message for seen in carrier.trace if not seen.sent and not seen.message.is_response]
    assert received
    assert not [each for each in received if credentials(each)]


def test_a_trunk_that_is_known_carries_them(scene: Scene) -> None:
    """What the other tests here are held against."""
    trunk = known(scene)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert verdicts(trunk) == [ACCEPTED, ACCEPTED]


def test_a_password_that_is_no_longer_right_is_turned_down_answered_and_refused(scene: Scene) -> None:
    trunk = known(scene)
    scene.change_row(trunk, auth_password="not-the-password")
    refused_because(scene, trunk, "credentials refused", scene.call(trunk))
    assert verdicts(trunk) == [WRONG, WRONG]
    scene.change_row(trunk, auth_password=trunk.password)
    talk_and_hang_up(trunk, scene.call(trunk))


def test_a_row_with_a_secret_for_another_algorithm_now(scene: Scene) -> None:
    trunk = known(scene)
    scene.change_row(trunk, auth_password="", auth_ha1="0" * 64)
    refused_because(scene, trunk, "no secret, algorithm or qop for it", scene.call(trunk))
    saw_none(trunk.carrier)


def test_a_row_that_names_another_realm_now(scene: Scene) -> None:
    trunk = known(scene)
    scene.change_row(trunk, realm="elsewhere.test")
    refused_because(scene, trunk, "realm not the trunk's", scene.call(trunk))
    saw_none(trunk.carrier)


def test_a_row_that_leads_to_another_carrier_now(scene: Scene) -> None:
    """Of the same realm, and with the same user: it is asked first, and not with the other's nonce."""
    trunk, other = known(scene), scene.trunk(Script(final=486))
    scene.change_row(trunk, auth_proxy=other.carrier.proxy_uri)
    scene.call(trunk).expect(486)
    saw_none(other.carrier)
    scene.change_row(trunk, auth_proxy=trunk.carrier.proxy_uri)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert verdicts(trunk) == [ACCEPTED, ACCEPTED]


def test_a_row_that_leads_to_another_carrier_while_a_call_is_up(scene: Scene) -> None:
    trunk, other = known(scene), scene.trunk(Script())
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    scene.change_row(trunk, auth_proxy=other.carrier.proxy_uri)
    refused_because(scene, trunk, "not asked by the trunk's carrier", call.inside("INFO"))
    refused(call.inside("BYE"))
    assert verdicts(trunk) == [ACCEPTED, MISSING, MISSING]
    assert not other.carrier.trace
    scene.call(trunk).expect(200)
    saw_none(other.carrier)


def test_a_dialog_with_the_carrier_that_the_row_named_before(scene: Scene) -> None:
    """It gets no answer of the other one's account, neither asked nor unasked."""
    trunk, other = known(scene), known(scene)
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    account = {"auth_username": other.user, "auth_password": other.password}
    scene.change_row(trunk, auth_proxy=other.carrier.proxy_uri, **account)
    talk_and_hang_up(other, scene.call(trunk))
    refused_because(scene, trunk, "not asked by the trunk's carrier", call.inside("INFO"))
    assert verdicts(trunk) == [ACCEPTED, MISSING]
    assert verdicts(other) == [*CHALLENGED, ACCEPTED]


@pytest.mark.usefixtures("listed")
def test_a_row_that_names_no_carrier(scene: Scene) -> None:
    """With neither auth_proxy nor r_domain the call goes where it was dialled: anywhere that is listed."""
    script = Script(Challenge(requests=EVERY_KIND))
    trunk = scene.trunk(script, auth_proxy="", r_domain="", realm="carrier.test")
    host, port = trunk.carrier.address
    list_carrier(scene.kamailio, host, port, "")
    for _ in range(2):
        call = scene.pbx.invite(f"sip:5551234@{host}:{port}", headers=[("X-Trunk", trunk.uuid)])
        talk_and_hang_up(trunk, call)
    assert verdicts(trunk) == CHALLENGED * 4


def test_two_rows_of_one_carrier_do_not_share_nonces(scene: Scene) -> None:
    trunk = known(scene)
    other = scene.another_row(trunk)
    talk_and_hang_up(other, scene.call(other))
    assert verdicts(trunk) == [MISSING, ACCEPTED, ACCEPTED]


ANOTHER_WORD = "localhost"  # a name of every hosts file


def test_a_contact_that_is_no_address(scene: Scene) -> None:
    """Its name leads to the carrier's own address: the request that goes there may carry a response."""
    trunk = known(scene)
    trunk.carrier.contact = f"sip:carrier@{ANOTHER_WORD}:{trunk.carrier.address[1]}"
    call = scene.call(trunk)
    talk_and_hang_up(trunk, call)
    assert verdicts(trunk) == [ACCEPTED, ACCEPTED]


@pytest.fixture
def host() -> str:
    return "127.0.0.7"


@pytest.fixture
def elsewhere(host: str) -> Iterator[Carrier]:
    """A carrier at another address, which takes every request and asks for nothing."""
    with Carrier(Script(), {}, host=host) as carrier:
        yield carrier


@pytest.mark.parametrize("method", ["INVITE", "INFO", "BYE"])
def test_a_contact_at_another_address(scene: Scene, elsewhere: Carrier, method: str) -> None:
    trunk = known(scene)
    trunk.carrier.contact = elsewhere.uri
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.acknowledged_elsewhere(elsewhere.expect("ACK"))
    call.inside(method).expect(200)
    elsewhere.expect(method)
    saw_none(elsewhere)


@pytest.mark.parametrize("method", ["INVITE", "INFO", "BYE"])
def test_a_route_to_another_address(scene: Scene, elsewhere: Carrier, host: str, method: str) -> None:
    """The R-URI names the carrier's own address, but the next hop is another."""
    trunk = known(scene)
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    assert call.dialog
    call.dialog.routes += (f"<sip:{host}:{elsewhere.address[1]};lr>",)
    call.inside(method).expect(200)
    assert elsewhere.expect(method).has("Route")
    saw_none(elsewhere)


def test_a_caller_that_is_not_listed(scene: Scene) -> None:
    """Who knows a dialog sends no BYE in it."""
    trunk = known(scene)
    call = scene.call(trunk)
    call.expect(200)
    trunk.carrier.expect("ACK")
    assert call.dialog
    scene.caller(host="127.0.0.2").inside(call.dialog, "BYE").expect(481)
    assert verdicts(trunk) == [ACCEPTED]


def test_off_is_never(kamailio_off: Kamailio) -> None:
    with Scene(kamailio_off) as scene:
        trunk = known(scene)
        for _ in range(2):
            talk_and_hang_up(trunk, scene.call(trunk))
        assert verdicts(trunk) == CHALLENGED * 4
        assert "value" not in kamailio_off.rpc("htable.dump", "nonces")


def test_off_counts_a_nonce_that_several_calls_get(kamailio_off: Kamailio) -> None:
    with Scene(kamailio_off) as scene:
        trunk = scene.trunk(Script(Challenge(nonces=Nonces(shared=True))))
        for _ in range(3):
            talk_and_hang_up(trunk, scene.call(trunk))
        assert trunk.carrier.answers("INVITE") == [407, 200] * 3
        assert trunk.carrier.nonce_counts() == [[1, 2, 3]]


@pytest.mark.parametrize("wrong", ["on", "AUTO", "yes please"])
def test_a_value_that_is_none_stops_the_start(wrong: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TRUNKAUTH_STATE_DIR": str(tmp_path), "TRUNKAUTH_PREEMPTIVE": wrong}
    command = [sys.executable, "-m", "kemi", "run"]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode
    (line,) = done.stderr.splitlines()
    assert "TRUNKAUTH_PREEMPTIVE" in line
