"""Calls between two Asterisks, one as the PBX and one as the carrier, with which the trunk is registered.

What Asterisk holds to be wrong it answers with an error, or with silence, so that a step here is not seen.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.programs import free_ports
from tests.harness import asterisk
from tests.harness.asterisk import Asterisk
from tests.harness.machine import NO_DOCKER, docker_is_missing
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.steps import list_carrier

pytestmark = [
    pytest.mark.long,
    pytest.mark.once,
    pytest.mark.skipif(NO_DOCKER, reason="TRUNKAUTH_NO_DOCKER=1"),
]

UUID = "their-trunk"
ACCOUNT = "account"
THE_PBXS = "4940777"  # number, as it says itself
SUBSCRIBER, OTHER = "4930123456", "4930999"
SUBSCRIBER_CALLS = "channel originate Local/s@talk/n extension"
CALLS = {
    "the PBX": f"channel originate PJSIP/{SUBSCRIBER}@trunk extension s@talk",
    "a subscriber, its number": f"{SUBSCRIBER_CALLS} +{THE_PBXS}@to-account",
    "a subscriber, where it has registered": f"{SUBSCRIBER_CALLS} {THE_PBXS}@to-account",
}


@dataclass(frozen=True)
class Site:
    kamailio: Kamailio
    pbx: Asterisk
    carrier: Asterisk

    def call(self, who: str) -> None:
        """Have one end call the other one, until they hear each other."""
        (self.pbx if who == "the PBX" else self.carrier).cli(CALLS[who])
        for end in (self.pbx, self.carrier):
            end.wait("a call that is up", end.channels)
            end.wait("the other end's voice", end.hears)

    def wait_until_over(self) -> None:
        for end in (self.pbx, self.carrier):
            end.wait("no call is left", lambda end=end: not end.channels())  # type: ignore[misc]


@pytest.fixture(scope="module")
def site(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A PBX, a trunk, and the carrier that it is registered with."""
    if missing := docker_is_missing():
        pytest.skip(missing)
    asterisk.build()
    workspace, password = tmp_path_factory.mktemp("asterisk"), secrets.token_hex(8)
    ports = free_ports(3)
    ours, here, there = zip(("127.0.0.1", "127.0.0.31", "127.0.0.32"), ports, strict=True)
    row: dict[str, str | int] = {
        "l_uuid": UUID, "l_username": ACCOUNT, "l_domain": "pbx.example", "r_username": ACCOUNT,
        "r_domain": "carrier.example", "auth_username": ACCOUNT, "auth_password": password,
        "auth_proxy": f"sip:{there[0]}:{there[1]}", "expires": 60,
    }  # fmt: skip
    options = Options(sip=ours, callers=(here[0],), default_trunk=UUID, trunks=(row,), modparams=REGISTERS_EVERY_SECOND)
    with (
        asterisk.running("carrier", there, workspace, password=password) as carrier,
        asterisk.running("pbx", here, workspace, proxy_host=ours[0], proxy_port=str(ours[1])) as pbx,
        installation.running(options) as kamailio,
    ):
        kamailio.database.execute(
            "INSERT INTO trunk (l_uuid, inbound_uri, from_user) VALUES (?, ?, ?)",
            (UUID, f"sip:{here[0]}:{here[1]}", ACCOUNT),
        )
        list_carrier(kamailio, *there, UUID)
        kamailio.wait_until_looked_at()
        contact = f"{ACCOUNT}/sip:{UUID}@{ours[0]}:{ours[1]}"
        carrier.wait("the registration", lambda: contact in carrier.cli("pjsip show contacts"))
        yield Site(kamailio, pbx, carrier)


@pytest.mark.parametrize(
    ("calls", "ends"),
    [
        ("the PBX", "pbx"),
        ("the PBX", "carrier"),
        ("a subscriber, its number", "carrier"),
        ("a subscriber, where it has registered", "pbx"),
    ],
)
def test_a_call_is_held_taken_up_again_and_hung_up(site: Site, calls: str, ends: str) -> None:
    site.call(calls)
    one: Asterisk = getattr(site, ends)
    other = site.carrier if one is site.pbx else site.pbx
    (channel,) = one.channels()
    for context, direction in (("hold", "sendonly"), ("talk", "sendrecv")):
        heard = len(other.log())
        one.cli(f"channel redirect {channel} {context},s,1")
        other.wait(f"a re-INVITE with {direction}", lambda: f"a={direction}" in other.log()[heard:])  # noqa: B023
        other.wait("its ACK", lambda: starting("ACK", other.received(heard)))  # noqa: B023
    one.cli(f"channel request hangup {channel}")
    site.wait_until_over()
    assert starting("SIP/2.0 40", site.pbx.received()) == []


@pytest.mark.parametrize("calls", ["the PBX", "a subscriber, its number"])
def test_the_pbx_transfers_a_call(site: Site, calls: str) -> None:
    """By REFER, and the carrier says by NOTIFY what has come of it."""
    said = len(site.pbx.log())
    site.call(calls)
    (channel,) = site.pbx.channels()
    site.pbx.cli(f"channel redirect {channel} transfer,{OTHER},1")
    site.pbx.wait("the end of the transfer", lambda: "transfer: SUCCESS" in site.pbx.log()[said:])
    assert starting("NOTIFY", site.pbx.received(said))
    assert f"!from-account!{OTHER}!1!Up!Dial!" in site.carrier.cli("core show channels concise")
    site.wait_until_over()
    site.carrier.cli("channel request hangup all")


def test_the_carrier_knows_its_account_and_takes_no_md5(site: Site) -> None:
    """Nor has it to register the trunk."""
    start = len(site.carrier.log())
    site.call("the PBX")
    site.carrier.cli("channel request hangup all")
    site.wait_until_over()
    invite, *_ = starting("INVITE", site.carrier.received(start))
    assert f"<sip:{ACCOUNT}@" in invite
    site.kamailio.wait_for_log("outcome=answered realm=asterisk algorithm=SHA-256")


def starting(start: str, messages: list[str]) -> list[str]:
    return [each for each in messages if each.startswith(start)]
