"""Which trunk a request takes, and who may take one at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.carrier import Script
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.scene import Scene
from tests.harness.verifier import ACCEPTED

pytestmark = [pytest.mark.once, pytest.mark.every_kamailio]

DEFAULT = "the-default-trunk"


@pytest.fixture(scope="module")
def defaulted(installation: Installation) -> Iterator[Kamailio]:
    """A Kamailio with a default trunk."""
    with installation.running(Options(default_trunk=DEFAULT)) as running:
        yield running


def test_x_trunk_names_the_trunk_and_goes_no_further(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    scene.pbx.invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(200)
    assert not trunk.carrier.expect("INVITE").has("X-Trunk")


def test_x_trunk_goes_before_the_caller(scene: Scene) -> None:
    of_caller, named = scene.trunk(Script(), l_username="alice", l_domain="a.test"), scene.trunk(Script())
    call = scene.pbx.invite(f"sip:1@{of_caller.domain}", sender="sip:alice@a.test", headers=[("X-Trunk", named.uuid)])
    call.expect(200)
    named.carrier.expect("INVITE")
    assert not of_caller.carrier.received("INVITE")


def test_the_callers_user_and_domain_go_before_the_user_alone(scene: Scene) -> None:
    anywhere, here = scene.trunk(Script(), l_username="bob"), scene.trunk(Script(), l_username="bob", l_domain="b.test")
    scene.pbx.invite(f"sip:1@{anywhere.domain}", sender="sip:bob@b.test").expect(200)
    here.carrier.expect("INVITE")
    assert not anywhere.carrier.received("INVITE")


def test_the_callers_user_fits_a_row_without_l_domain(scene: Scene) -> None:
    elsewhere = scene.trunk(Script(), l_username="carol", l_domain="c.test")
    anywhere = scene.trunk(Script(), l_username="carol")
    scene.pbx.invite(f"sip:1@{elsewhere.domain}", sender="sip:carol@another.test").expect(200)
    anywhere.carrier.expect("INVITE")


def test_the_dialled_domain_is_the_trunks(scene: Scene) -> None:
    trunk = scene.trunk(Script())
    scene.pbx.invite(f"sip:5551234@{trunk.domain}").expect(200)
    trunk.carrier.expect("INVITE")


@pytest.mark.parametrize("dialled", ["urn:service:sos", "urn:service:sos.fire"])
def test_an_emergency_call_keeps_its_uri(scene: Scene, dialled: str) -> None:
    """RFC 5031: the carrier knows it by that. The digest is for the same URI."""
    trunk = scene.trunk()
    scene.pbx.invite(dialled, headers=[("X-Trunk", trunk.uuid)]).expect(200)
    assert [each.uri for each in trunk.carrier.received("INVITE")] == [dialled] * 2
    assert trunk.carrier.verdicts[-1][2] == ACCEPTED


def test_an_emergency_call_goes_to_r_domain_without_auth_proxy(scene: Scene) -> None:
    """Its R-URI stays, and says nothing of where to go."""
    trunk = scene.trunk(auth_proxy="")
    host, port = trunk.carrier.address
    scene.change_row(trunk, r_domain=f"{host}:{port}")
    scene.pbx.invite("urn:service:sos", headers=[("X-Trunk", trunk.uuid)]).expect(200)
    assert [each.uri for each in trunk.carrier.received("INVITE")] == ["urn:service:sos"] * 2
    assert trunk.carrier.verdicts[-1][2] == ACCEPTED


def test_the_default_trunk_takes_what_nothing_else_does(defaulted: Kamailio) -> None:
    with Scene(defaulted) as scene:
        default, dialled = scene.trunk(Script(), l_uuid=DEFAULT), scene.trunk(Script())
        scene.pbx.invite("sip:5551234@nowhere.test").expect(200)
        default.carrier.expect("INVITE")
        scene.pbx.invite(f"sip:5551234@{dialled.domain}").expect(200)
        dialled.carrier.expect("INVITE")
        assert len(default.carrier.received("INVITE")) == 1


def test_a_default_trunk_that_has_no_row_is_404(defaulted: Kamailio) -> None:
    defaulted.wait_until_looked_at()
    with Scene(defaulted) as scene:
        assert scene.pbx.invite("sip:5551234@nowhere.test").expect(404).reason == "No Trunk"


def test_no_trunk_is_404(scene: Scene) -> None:
    answer = scene.pbx.invite("sip:5551234@nowhere.test", headers=[("X-Trunk", "unheard-of")]).expect(404)
    assert answer.reason == "No Trunk"


def test_the_number_dialled_stays_and_the_host_becomes_r_domain(scene: Scene) -> None:
    trunk = scene.trunk()
    call = scene.pbx.invite("sip:+4912345@pbx.test;user=phone", headers=[("X-Trunk", trunk.uuid)])
    call.expect(200)
    for invite in trunk.carrier.received("INVITE"):
        assert invite.uri == f"sip:+4912345@{trunk.domain};user=phone"


def test_without_r_domain_the_host_dialled_stays(scene: Scene) -> None:
    trunk = scene.trunk(r_domain="")
    scene.pbx.invite("sip:5551234@dialled.test", headers=[("X-Trunk", trunk.uuid)]).expect(200)
    assert {invite.uri for invite in trunk.carrier.received("INVITE")} == {"sip:5551234@dialled.test"}


def test_without_auth_proxy_and_r_domain_the_call_goes_where_it_was_dialled(scene: Scene) -> None:
    trunk = scene.trunk(Script(), auth_proxy="", r_domain="", realm="carrier.test")
    host, port = trunk.carrier.address
    scene.pbx.invite(f"sip:5551234@{host}:{port}", headers=[("X-Trunk", trunk.uuid)]).expect(200)
    assert trunk.carrier.expect("INVITE").uri == f"sip:5551234@{host}:{port}"


def test_the_socket_of_the_row_sends(scene: Scene) -> None:
    host, port = scene.kamailio.sip
    trunk = scene.trunk(socket=f"udp:{host}:{port}")
    scene.call(trunk).expect(200)
    assert trunk.carrier.expect("INVITE", count=2).vias[0].startswith(f"SIP/2.0/UDP {host}:{port}")


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_source_that_is_not_listed_is_403(scene: Scene, method: str) -> None:
    trunk = scene.trunk(Script())
    stranger = scene.caller(host="127.0.0.2")
    stranger.request(method, "sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)]).expect(403)
    assert not trunk.carrier.trace


def test_a_row_written_while_kamailio_runs_is_used_at_once(scene: Scene) -> None:
    trunk = scene.trunk(auth_password="")
    scene.call(trunk).expect(404)
    scene.change_row(trunk, auth_password=trunk.password)
    scene.call(trunk).expect(200)
