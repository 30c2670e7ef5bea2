"""`kemi-trunkauth trunks`, `call` and `explain` beside a running Kamailio: what they show is what it does."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from kemi.auth import codec
from tests.harness.carrier import Carrier, Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.scene import CHALLENGING, Manner, Scene
from tests.harness.shell import Shell, shell
from tests.harness.verifier import Challenge

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def registrars() -> Iterator[dict[str, Carrier]]:
    """Carriers that register a trunk, and that refuse to."""
    challenge = Challenge(requests=frozenset({"REGISTER"}))
    with Carrier(Script(challenge=challenge), {"u": "the-password"}) as good, Carrier(Script(registrar=403), {}) as bad:
        yield {"good": good, "bad": bad}


@pytest.fixture(scope="module")
def kamailio(installation: Installation, registrars: dict[str, Carrier]) -> Iterator[Kamailio]:
    rows: tuple[dict[str, str | int], ...] = tuple(
        {
            **dict.fromkeys(("l_username", "l_domain", "r_username", "auth_username"), "u"),
            "l_uuid": name,
            "r_domain": "carrier.test",
            "auth_password": "the-password",
            "auth_proxy": carrier.proxy_uri,
            "expires": 60,
        }
        for name, carrier in registrars.items()
    )
    with installation.running(Options(trunks=rows, modparams=REGISTERS_EVERY_SECOND)) as running:
        yield running


@pytest.fixture
def scene(kamailio: Kamailio) -> Iterator[Scene]:
    with Scene(kamailio, Manner.NEW) as stage:
        yield stage


@pytest.fixture
def operator(
    kamailio: Kamailio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    url = URL.create("sqlite", database=str(kamailio.database.path))
    for made in shell(url, tmp_path, monkeypatch, capsys):
        host, port = kamailio.sip
        made.set(STATE_DIR=str(kamailio.state), DB_URL="", LISTEN=f"udp:{host}:{port} tcp:{host}:{port}")
        yield made


def trunks(operator: Shell) -> dict[str, dict[str, object]]:
    done = operator.run("trunks", "--json")
    assert (done.status, done.errors) == (0, "")
    assert "the-password" not in done.output
    found = json.loads(done.output)
    assert found["running"]
    return {each["trunk"]: each for each in found["trunks"]}


def test_registrations_are_shown(operator: Shell, kamailio: Kamailio) -> None:
    kamailio.wait_for("a registration", lambda: trunks(operator)["good"]["registered"] == "registered", within=10)
    kamailio.wait_for("a refusal", lambda: trunks(operator)["bad"]["registered"] == "refused", within=10)
    done = operator.run("trunks")
    assert re.search(
        r"^good +sip:127\.0\.0\.1:[0-9]+ +yes +up +- +registered +no +0 +0 +-$", done.output, re.MULTILINE
    ), done.output
    assert done.output.endswith("\n0 calls up\n")


def test_calls_and_nonces_are_shown(operator: Shell, scene: Scene) -> None:
    trunk = scene.trunk(Script(challenge=Challenge()))
    assert (trunks(operator)[trunk.uuid]["nonce"], trunks(operator)[trunk.uuid]["registered"]) == (False, "")
    call = scene.call(trunk)
    call.expect(200)
    scene.kamailio.wait_for("the call", lambda: operator.run("trunks").output.endswith("1 calls up\n"), within=5)
    assert trunks(operator)[trunk.uuid]["nonce"] is True
    call.inside("BYE").expect(200)


def test_limits_and_standings_are_shown(operator: Shell, scene: Scene) -> None:
    full, down, aside = (scene.trunk(CHALLENGING) for _ in range(3))
    assert operator.run("set", full.uuid, "max_calls=7").status == 0
    scene.kamailio.wait_until_looked_at()
    now = int(time.time())
    for trunk, standing in ((down, [3, now - 60, now + 30]), (aside, [1, 0, now + 30])):
        scene.kamailio.rpc("htable.sets", "standings", trunk.uuid, json.dumps([codec.VERSION, *standing]))

    def states() -> list[str]:
        found = trunks(operator)
        return [str(found[trunk.uuid]["state"]).rstrip("0123456789 s") for trunk in (full, down, aside)]

    def calls() -> object:
        return trunks(operator)[full.uuid]["calls"]

    assert states() == ["up", "down for", "left out for"]
    assert operator.run("set", full.uuid, "max_calls=1").status == 0
    scene.kamailio.wait_until_looked_at()
    call = scene.call(full)
    call.expect(200)
    scene.kamailio.wait_for("the call", lambda: states()[0] == "full", within=5)
    call.inside("BYE").expect(200)
    scene.kamailio.wait_for("its end", lambda: states()[0] == "up", within=5)
    assert operator.run("set", full.uuid, "max_calls=7").status == 0
    scene.kamailio.wait_for("the limit in the copy", lambda: trunks(operator)[full.uuid]["max_calls"] == 7, within=5)
    assert calls() == 0
    call = scene.call(full)
    call.expect(200)
    assert calls() == 1
    call.inside("BYE").expect(200)
    for trunk in (down, aside):
        scene.kamailio.rpc("htable.delete", "standings", trunk.uuid)
    assert operator.run("trunks").output.splitlines()[0].split()[2:5] == ["ENABLED", "STATE", "CALLS"]


def test_the_calls_of_the_last_minutes_and_the_last_failure_are_shown(operator: Shell, scene: Scene) -> None:
    good, bad = scene.trunk(CHALLENGING), scene.trunk(Script(ring=False, final=500))
    for trunk, status in ((good, 200), (bad, 500), (bad, 500)):
        call = scene.call(trunk)
        call.expect(status)
        if status == 200:
            call.inside("BYE").expect(200)

    def lately() -> bool:
        shown = trunks(operator)
        return [shown[one.uuid]["lately"] for one in (good, bad)] == [[1, 0], [2, 2]]

    scene.kamailio.wait_for("the calls of the last minutes", lately, within=10)
    failure = trunks(operator)[bad.uuid]["last_failure"]
    assert isinstance(failure, dict)
    assert (failure["status"], failure["reason"], failure["seconds"] < 20) == (500, "Server Internal Error", True)
    assert trunks(operator)[good.uuid]["last_failure"] is None
    table = operator.run("trunks").output
    assert re.search(rf"^{bad.uuid} .* 2 +2 +500 Server Internal Error, \d+ s ago$", table, re.MULTILINE)


def test_a_row_with_a_fault_is_shown_with_it(operator: Shell, kamailio: Kamailio) -> None:
    kamailio.database.insert_trunk({"l_uuid": "faulty", "r_domain": "f.test", "auth_username": "u"})
    assert trunks(operator)["faulty"]["fault"] == "auth_password and auth_ha1 are empty"
    kamailio.database.delete_trunk("faulty")


def test_without_a_kamailio_the_database_is_shown(operator: Shell, tmp_path: Path) -> None:
    operator.set(STATE_DIR=str(tmp_path / "none"), DB_URL=f"sqlite:///{operator.url.database}")
    done = operator.run("trunks")
    assert done.status == 0
    assert re.search(r"^good +sip:127\.0\.0\.1:[0-9]+ +yes +\? +- +\? +\? +\? +\? +\?$", done.output, re.MULTILINE), (
        done.output
    )
    assert done.output.splitlines()[-1] == "no running Kamailio: No such file or directory"
    assert json.loads(operator.run("trunks", "--json").output)["running"] is False


def test_a_call_is_placed_and_hung_up(operator: Shell, scene: Scene) -> None:
    trunk = scene.trunk(CHALLENGING)
    done = operator.run("call", "5551234", "--trunk", trunk.uuid)
    assert (done.status, done.errors) == (0, "")
    assert done.output.endswith("\nANSWERED: call set up and torn down\n")
    assert re.search(r"│─+ INVITE ─+▶│  1 INVITE\n(.*\n)*.*│◀─+ 200 OK ─+│  2 BYE\n", done.output), done.output
    assert trunk.carrier.received("INVITE")[-1].uri == f"sip:5551234@{trunk.domain}"
    assert trunk.carrier.answers("BYE") == [200]


def test_a_call_that_fails_is_said_so(operator: Shell, scene: Scene) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(), ring=False, final=486))
    done = operator.run("call", "5551234", "--trunk", trunk.uuid)
    assert (done.status, done.errors) == (1, "\nFAILED: 486 Busy Here\n")
    done = operator.run("call", "5551234", "--trunk", "nobody")
    assert (done.status, done.errors) == (1, "\nFAILED: 404 No Trunk\n")


def test_a_kamailio_that_is_not_there_is_said_so(operator: Shell) -> None:
    operator.set(LISTEN="udp:127.0.0.1:9")
    done = operator.run("call", "1")
    assert (done.status, done.errors) == (
        1, "Kamailio cannot be reached at sip:127.0.0.1:9;transport=udp: Connection refused\n",
    )  # fmt: skip


@pytest.mark.parametrize("dialled", ["5551234", "sip:+4930;ext=7@pbx.test:5080;user=phone", "tel:+4930"])
def test_what_is_explained_is_what_the_carrier_gets(operator: Shell, scene: Scene, dialled: str) -> None:
    trunk = scene.trunk(CHALLENGING, l_username="100", l_domain="pbx.test")
    scene.trunk(CHALLENGING, l_username="100", l_domain="")
    done = operator.run("explain", "sip:100@pbx.test", dialled, "--source", "127.0.0.1")
    assert f"candidate  1: {trunk.uuid} (" in done.output
    host, port = scene.kamailio.sip
    request_uri = dialled if ":" in dialled else f"sip:{dialled}@{host}:{port}"
    scene.pbx.invite(request_uri, sender="sip:100@pbx.test").expect(200)
    assert f"R-URI      {trunk.carrier.received('INVITE')[-1].uri}\n" in done.output
    assert f"next hop   {trunk.carrier.proxy_uri}: {host}:{trunk.carrier.address[1]};transport=udp\n" in done.output


@pytest.mark.parametrize("caller", ["sip:100@pbx.test", "sip:anonymous@anonymous.invalid"])
def test_what_is_explained_of_the_caller_is_what_the_carrier_sees(operator: Shell, scene: Scene, caller: str) -> None:
    trunk = scene.trunk(CHALLENGING)
    assert operator.run("set", trunk.uuid, "identity=pai", "from_user=4711").status == 0
    scene.kamailio.wait_until_looked_at()
    done = operator.run("explain", caller, "1", "--trunk", trunk.uuid)
    scene.pbx.invite("sip:1@pbx.test", sender=caller, headers=[("X-Trunk", trunk.uuid)]).expect(200)
    seen = trunk.carrier.received("INVITE")[-1]
    asserted = [f"P-Asserted-Identity: {value}" for value in seen.all("P-Asserted-Identity")]
    assert f"identity   {', '.join(asserted) or 'none'}\n" in done.output
    is_shaped = "From       as the caller wrote it" not in done.output
    assert is_shaped == ("4711" in seen.first("From"))


def test_a_call_from_a_next_hop_comes_in(operator: Shell, scene: Scene) -> None:
    trunk = scene.trunk(CHALLENGING)

    def replies() -> list[str]:
        sources = ("{}:{}".format(*trunk.carrier.address), trunk.carrier.address[0])
        explained = [operator.run("explain", "100", "1", "--trunk", trunk.uuid, "--source", each) for each in sources]
        return [line for done in explained for line in done.output.splitlines() if line.startswith("reply")]

    expected = ["reply      it comes in: the source is a trunk's next hop"]  # and from no other port, by UDP
    scene.kamailio.wait_for("the next hop", lambda: replies() == expected, within=5)
