"""Registrations, whose challenges the uac module's C code answers: what a registrar may send, and what comes of it.

One Kamailio registers with all registrars at once; some of them would end a Kamailio whose uac module sees their
challenge as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.node import REGISTERS_EVERY_SECOND, Installation, Kamailio, Options
from tests.harness.nonces import Nonces
from tests.harness.verifier import ACCEPTED, MISSING, Challenge, Offer

pytestmark = pytest.mark.once

STATUSES = (401, 407)
PASSWORD = "the registrar's"
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
    "sha-256 last": [Offer(), SHA_256],
    "sha-256 alone": [SHA_256],
    "sha-512-256 alone": [Offer("SHA-512-256")],
    "sha-256 by HA1": [SHA_256],
    "auth-int alone": [Offer(qop="auth-int", layout=f'{START}, qop="auth-int"')],
    "in Latin-1": [Offer(opaque="\udce9")],
    "in Latin-1 and sha-256": [Offer("SHA-256", opaque="\udce9")],
    "a realm in Latin-1": [Offer()],
    "the other header": [Offer()],
    "the other header and sha-256": [SHA_256],
    "no plain form": [Offer(layout=f'{START}, opaque="a\\"b", qop=" auth"', algorithm="", opaque='a"b')],
}
NOT_ANSWERED = {
    "another algorithm": [Offer(layout=f'{START}, algorithm=AKAv1-MD5, qop="auth"')],
    "another realm": [Offer("SHA-256", layout='Digest realm="other", nonce="{nonce}", algorithm=SHA-256, qop="auth"')],
    "garbage": [Offer(layout=f'{START}, qop=" auth')],
}
WHY = {
    "another algorithm": "no secret, algorithm or qop for it",
    "another realm": "realm not the trunk's",
    "garbage": "a challenge with neither a scheme nor a parameter",
}


SHARING = "one-nonce-for-two-rows"


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
                challenge = Challenge(status, realm_of(name), tuple(offers), frozenset({"REGISTER"}))
                if "the other header" in name:
                    challenge = replace(challenge, reply=sum(STATUSES) - status)
                carrier = stack.enter_context(Carrier(Script(challenge=challenge), {"user": PASSWORD}))
                registrars[uuid(name, status)] = carrier
        challenge = Challenge(401, requests=frozenset({"REGISTER"}), nonces=Nonces(shared=True, in_order=False))
        registrars[SHARING] = stack.enter_context(Carrier(Script(challenge=challenge), {"user": PASSWORD}))
        rows = [row(each, carrier) for each, carrier in registrars.items()]
        rows.append({**rows[-1], "l_uuid": "another"})
        options = Options(trunks=tuple(rows), modparams=REGISTERS_EVERY_SECOND)
        yield Site(stack.enter_context(installation.running(options)), registrars)


def uuid(name: str, status: int) -> str:
    return f"{name}-{status}".translate({ord(" "): "-", ord(":"): None})


def realm_of(name: str) -> str:
    return "Gr\udcf6\udcdfe.test" if name == "a realm in Latin-1" else Challenge.realm


def row(uuid: str, carrier: Carrier) -> dict[str, str | int]:
    host, port = carrier.address
    secret = {"auth_password": PASSWORD}
    if "HA1" in uuid:
        secret = {"auth_ha1": hashlib.sha256(f"user:carrier.test:{PASSWORD}".encode()).hexdigest()}
    return {
        "l_uuid": uuid, "l_username": "reg", "l_domain": "pbx.test", "r_username": uuid, "r_domain": f"{host}:{port}",
        "realm": "" if "a-realm" in uuid else "carrier.test", "auth_username": "user", **secret,
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
def test_a_challenge_that_cannot_be_answered_costs_that_registration_alone(site: Site, name: str, status: int) -> None:
    carrier = site.registrars[uuid(name, status)]
    carrier.expect("REGISTER")
    log = site.kamailio.wait_for_log(f"register=sip:{uuid(name, status)}@")
    assert f'outcome=refused reason="{WHY[name]}"' in log
    site.kamailio.wait_until_ready()
    assert [verdict for _, _, verdict in carrier.verdicts] == [MISSING], carrier.ladder()


@pytest.mark.every_kamailio
def test_a_nonce_that_two_rows_are_given_is_counted_on(site: Site) -> None:
    carrier = site.registrars[SHARING]
    carrier.expect("REGISTER", count=4)
    site.kamailio.wait_until_ready()
    assert sorted(verdict for _, _, verdict in carrier.verdicts) == [ACCEPTED, ACCEPTED, MISSING, MISSING]
    assert carrier.nonce_counts() == [[1, 2]]
    assert carrier.faults == []
