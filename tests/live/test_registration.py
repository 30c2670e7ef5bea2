"""Registrations, whose challenges the uac module's C code answers: what a registrar may send, and what comes of it.

One Kamailio registers with all registrars at once; some of them would end a Kamailio whose uac module sees their
challenge as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = pytest.mark.once

STATUSES = (401, 407)
START = 'Digest realm="{realm}", nonce="{nonce}"'
SHA_256 = Offer("SHA-256")
ANSWERED = {
    "plain": [Offer(layout=f'{START}, qop="auth"')],
    "lethal: a space": [Offer(layout=f'{START}, qop=" auth"')],
    "lethal: a comma": [Offer(layout=f'{START}, qop=",auth"')],
    "lethal: a tab": [Offer(layout=f'{START}, qop="\tauth"')],
    "a space behind": [Offer(layout=f'{START}, qop="auth "')],
    "auth-int first": [Offer(layout=f'{START}, qop="auth-int,auth"')],
    "an opaque": [Offer(layout=f'{START}, qop="auth", opaque="op" , algorithm=md5', algorithm="", opaque="op")],
    "sha-256 first": [SHA_256, Offer(layout=f'{START}, qop=" auth"')],
}
NOT_ANSWERED = {
    "no plain form": [Offer(layout=f'{START}, opaque="a\\"b", qop=" auth"')],
    "auth-int alone": [Offer(layout=f'{START}, qop="auth-int"')],
    "sha-256 alone": [SHA_256],
    "garbage": [Offer(layout=f'{START}, qop=" auth')],
}


@dataclass(frozen=True)
class Site:
    """One Kamailio, and its registrars by their row's l_uuid."""

    kamailio: Kamailio
    registrars: dict[str, Carrier]


@pytest.fixture(scope="module")
def site(installation: Installation) -> Iterator[Site]:
    """A Kamailio that registers with all of them."""
    with contextlib.ExitStack() as stack:
        registrars = {}
        for name, offers in {**ANSWERED, **NOT_ANSWERED}.items():
            for status in STATUSES:
                challenge = Challenge(status, offers=tuple(offers), requests=frozenset({"REGISTER"}))
                carrier = stack.enter_context(Carrier(Script(challenge=challenge), {"user": "the registrar's"}))
                registrars[uuid(name, status)] = carrier
        rows = tuple(row(each, carrier) for each, carrier in registrars.items())
        options = Options(trunks=rows, modparams=REGISTERS_EVERY_SECOND)
        yield Site(stack.enter_context(installation.running(options)), registrars)


def uuid(name: str, status: int) -> str:
    return f"{name}-{status}".translate({ord(" "): "-", ord(":"): None})


def row(uuid: str, carrier: Carrier) -> dict[str, str | int]:
    host, port = carrier.address
    return {
        "l_uuid": uuid, "l_username": "reg", "l_domain": "pbx.test", "r_username": uuid, "r_domain": f"{host}:{port}",
        "realm": "carrier.test", "auth_username": "user", "auth_password": "the registrar's",
        "auth_proxy": carrier.proxy_uri, "expires": 60,
    }  # fmt: skip


@pytest.mark.every_kamailio
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", ANSWERED)
def test_a_registrar_may_spell_its_challenge_as_it_likes(site: Site, name: str, status: int) -> None:
    carrier = site.registrars[uuid(name, status)]
    carrier.expect("REGISTER", count=2)
    site.kamailio.wait_until_ready()
    assert [verdict for _, _, verdict in carrier.verdicts] == [MISSING, ACCEPTED], carrier.ladder()
    assert carrier.faults == []


@pytest.mark.every_kamailio
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", NOT_ANSWERED)
def test_a_challenge_without_a_plain_form_costs_that_registration_alone(site: Site, name: str, status: int) -> None:
    carrier = site.registrars[uuid(name, status)]
    carrier.expect("REGISTER")
    log = site.kamailio.wait_for_log(f"register=sip:{uuid(name, status)}@")
    assert 'reason="no challenge that the uac module can answer"' in log
    site.kamailio.wait_until_ready()
    assert [verdict for _, _, verdict in carrier.verdicts] == [MISSING], carrier.ladder()
