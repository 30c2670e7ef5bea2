"""What a challenge may look like and what a row may hold: each answered over the wire, or refused for the right reason.

The carrier verifies with sippy, and counts nonces, CSeq, branches and ACKs itself (rules.py, verifier.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.carrier import Carrier, Script
from tests.harness.message import Message
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.nonces import ONE_REQUEST, Nonces
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import credentials, refused, refused_because, talk_and_hang_up
from tests.harness.verifier import ACCEPTED, ALGORITHMS, KEEPING, MISSING, USED_UP, WRONG, Challenge, Offer, ha1

pytestmark = pytest.mark.long

QOPS = {"": None, "auth": "auth", "auth-int": "auth-int", "auth,auth-int": "auth", "auth-int,auth": "auth"}
REALM = Challenge.realm
MD5, SHA256, SHA512 = Offer(), Offer("SHA-256"), Offer("SHA-512-256")


def challenged(scene: Scene, *offers: Offer, status: int = 407, **how: object) -> Trunk:
    """A trunk whose carrier offers these."""
    return scene.trunk(Script(challenge=Challenge(status, offers=offers, **how)))  # type: ignore[arg-type]


def answer_to(scene: Scene, trunk: Trunk) -> dict[str, str]:
    """The credentials of a call that was answered at once: parameters of the one field that its last INVITE carries."""
    assert trunk.carrier.verdicts == scene.verdicts("INVITE"), trunk.carrier.verdicts
    (params,) = credentials(trunk.carrier.received("INVITE")[-1]).values()
    return params


@pytest.mark.every_kamailio
@pytest.mark.parametrize("qop", QOPS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_with_each_qop(scene: Scene, algorithm: str, qop: str) -> None:
    trunk = challenged(scene, Offer(algorithm, qop))
    talk_and_hang_up(trunk, scene.call(trunk))
    params = answer_to(scene, trunk)
    assert (params["algorithm"], params.get("qop")) == (algorithm, QOPS[qop])


@pytest.mark.parametrize("joined", [False, True], ids=["fields", "one field"])
@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize(
    ("offers", "strongest"),
    [
        pytest.param((SHA256, MD5), SHA256, id="SHA-256 first"),
        pytest.param((MD5, SHA256), SHA256, id="MD5 first"),
        pytest.param((MD5, SHA256, SHA512), SHA512, id="all three"),
        pytest.param((Offer("SHA-1"), MD5), MD5, id="an unknown one first"),
        pytest.param((Offer("SHA-256", "auth-conf"), MD5), MD5, id="an unknown qop first"),
    ],
)
def test_of_several_challenges_the_strongest_is_answered(
    scene: Scene, offers: tuple[Offer, ...], strongest: Offer, status: int, joined: bool
) -> None:
    trunk = challenged(scene, *offers, status=status, joined=joined)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert answer_to(scene, trunk)["algorithm"] == strongest.algorithm


SPELLINGS = {
    "no algorithm and no qop": Offer("", ""),
    "no algorithm": Offer(""),
    "an opaque": Offer(opaque="5ccc069c403ebaf9f0171e9517f40e41"),
    "an empty opaque": Offer(opaque=""),
    "an empty opaque and SHA-256": Offer("SHA-256", opaque=""),
    "no white space": Offer(layout='Digest realm="{realm}",nonce="{nonce}",algorithm=MD5,qop="auth"'),
    "odd white space": Offer(layout='Digest   nonce = "{nonce}" ,\t realm= "{realm}" ,qop ="auth"  ,'),
    "empty list elements": Offer(layout='Digest realm="{realm}", nonce="{nonce}", ,qop="auth"'),
    "odd white space and SHA-256": Offer(
        "SHA-256", layout='Digest \t QOP = "auth" , nonce ="{nonce}",,ALGORITHM = SHA-256 , Realm= "{realm}" ,'
    ),
    "odd case": Offer(
        "md5", "AUTH", layout='dIGEST Realm="{realm}", NONCE="{nonce}", Algorithm=md5, Qop="AUTH", STALE=FALSE'
    ),
    "odd case of names": Offer(layout='dIGEST Realm="{realm}", NONCE="{nonce}", Qop="auth", sTALE=False'),
    "odd case and SHA-256-sess": Offer(
        "sha-256-SESS", layout='DIGEST REALM="{realm}", NONCE="{nonce}", ALGORITHM=sha-256-SESS, QOP="Auth"'
    ),
    "values not quoted": Offer(layout="Digest realm={realm}, nonce={nonce}, algorithm=MD5, qop=auth"),
    "an algorithm in quotes": Offer(layout='Digest realm="{realm}", nonce="{nonce}", algorithm="MD5", qop="auth"'),
    "unknown parameters": Offer(
        layout='Digest domain="sip:a, b", realm="{realm}", x-y=z, nonce="{nonce}", qop="auth", userhash=false'
    ),
    "unknown qop values": Offer(qop="auth-conf,auth"),
    "a folded field": Offer(layout='Digest realm="{realm}",\r\n nonce="{nonce}",\r\n\t qop="auth"'),
    "semicolons": Offer(layout='Digest realm="{realm}"; nonce="{nonce}";qop="auth"'),
    "no commas": Offer(layout='Digest realm="{realm}" nonce="{nonce}" qop="auth"'),
    "no quotes, no commas": Offer(layout="Digest realm={realm} nonce={nonce} qop=auth"),
    "a list of qop values, not quoted": Offer(
        qop="auth,auth-int",
        opaque="abc",
        layout='Digest realm="{realm}", nonce="{nonce}", qop=auth,auth-int, opaque="abc"',
    ),
    "a parameter twice": Offer(layout='Digest realm="{realm}", nonce="{nonce}", qop="auth", realm="{realm}"'),
    "an empty list element first": Offer(layout=', Digest , realm="{realm}", nonce="{nonce}", qop="auth"'),
    "qop that ends Kamailio": Offer(layout='Digest realm="{realm}", nonce="{nonce}", qop=" auth"'),
    "qop that ends Kamailio, a comma": Offer(layout='Digest realm="{realm}", nonce="{nonce}", qop=",auth"'),
}


@pytest.mark.every_kamailio
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_however_it_is_spelled(scene: Scene, spelling: str) -> None:
    trunk = challenged(scene, SPELLINGS[spelling])
    talk_and_hang_up(trunk, scene.call(trunk))
    answer_to(scene, trunk)


@pytest.mark.every_kamailio
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_realm_and_an_opaque_in_latin_1(scene: Scene, algorithm: str) -> None:
    """Octets that are no UTF-8 go back as they came, and into the digest."""
    realm, opaque = (text.encode("latin-1").decode(errors="surrogateescape") for text in ("Größe.test", "é"))
    trunk = challenged(scene, Offer(algorithm, opaque=opaque), realm=realm)
    talk_and_hang_up(trunk, scene.call(trunk))
    answer_to(scene, trunk)


@pytest.mark.once
@pytest.mark.parametrize("named", ["Größe.test", "Groesse.test"])
def test_a_row_names_a_realm_in_latin_1(scene: Scene, named: str) -> None:
    realm = "Größe.test".encode("latin-1").decode(errors="surrogateescape")
    trunk = scene.trunk(Script(challenge=Challenge(realm=realm)), realm=named)
    if named == "Größe.test":
        talk_and_hang_up(trunk, scene.call(trunk))
    else:
        refused_because(scene, trunk, "realm not the trunk's", scene.call(trunk))


@pytest.mark.every_kamailio
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("realm", ['a "quoted" realm', "back\\slash", "a, b", "Größe.test", ""])
def test_whatever_the_realm(scene: Scene, realm: str, algorithm: str) -> None:
    trunk = challenged(scene, Offer(algorithm), realm=realm)
    talk_and_hang_up(trunk, scene.call(trunk))
    answer_to(scene, trunk)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("user", ['a "quoted" user', "back\\slash", "a, b", "Jürgen", "user@carrier.test"])
def test_whatever_the_user(scene: Scene, user: str, algorithm: str) -> None:
    trunk = scene.trunk(Script(challenge=Challenge(offers=(Offer(algorithm),))), auth_username=user)
    talk_and_hang_up(trunk, scene.call(trunk))
    assert answer_to(scene, trunk)["username"] == user


@pytest.mark.parametrize("offer", [MD5, SHA256], ids=["MD5", "SHA-256"])
@pytest.mark.parametrize(
    "before",
    [
        ('Bearer realm="carrier.test", scope="call", error="invalid_token"',),
        ("NTLM", "Negotiate YII+/a=="),
        ('Basic realm="carrier.test"', "Bearer"),
        ("",),
    ],
    ids=["Bearer", "NTLM and Negotiate", "Basic and Bearer", "an empty field"],
)
def test_other_schemes_are_stepped_over(scene: Scene, before: tuple[str, ...], offer: Offer) -> None:
    trunk = challenged(scene, offer, before=before)
    talk_and_hang_up(trunk, scene.call(trunk))
    answer_to(scene, trunk)


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("transports", [("udp", "udp"), ("udp", "tcp"), ("tcp", "udp"), ("tcp", "tcp")], ids="-".join)
def test_the_python_digest_over_udp_and_tcp(scene: Scene, transports: tuple[str, str], status: int) -> None:
    pbx, carrier = transports
    script = Script(challenge=Challenge(status, offers=(SHA256, MD5), requests=frozenset({"INVITE", "BYE"})))
    trunk = scene.trunk(script, transport=carrier)
    call = scene.caller(transport=pbx).invite("sip:5551234@pbx.test", headers=[("X-Trunk", trunk.uuid)])
    talk_and_hang_up(trunk, call)
    assert trunk.carrier.answers("INVITE") == trunk.carrier.answers("BYE") == [*scene.asks(status), 200]


def ha1_row(scene: Scene, trunk: Trunk, algorithm: str = "MD5", **columns: str) -> Trunk:
    """A row for the same carrier and user with HA1 and no password."""
    value = ha1(algorithm, trunk.user, REALM, trunk.password)
    return scene.another_row(trunk, **{"auth_password": "", "auth_ha1": value, **columns})


@pytest.mark.parametrize(
    ("algorithm", "offers"),
    [
        pytest.param("MD5", (MD5,), id="MD5"),
        pytest.param("MD5", (Offer("MD5-sess"),), id="MD5-sess"),
        pytest.param("MD5", (Offer("", ""),), id="RFC 2069"),
        pytest.param("MD5", (SHA256, MD5), id="MD5 of a row that has no SHA-256"),
        pytest.param("SHA-256", (SHA256,), id="SHA-256"),
        pytest.param("SHA-256", (Offer("SHA-256-sess", "auth-int"),), id="SHA-256-sess"),
        pytest.param("SHA-256", (MD5, SHA256), id="SHA-256 of a row that has no MD5"),
        pytest.param("SHA-256", (SHA512, SHA256, MD5), id="SHA-256 of all three"),
    ],
)
@pytest.mark.parametrize("upper", [False, True], ids=["lower case", "upper case"])
def test_a_row_of_ha1(scene: Scene, algorithm: str, offers: tuple[Offer, ...], upper: bool) -> None:
    trunk = challenged(scene, *offers)
    value = ha1(algorithm, trunk.user, REALM, trunk.password)
    row = ha1_row(scene, trunk, auth_ha1=value.upper() if upper else value)
    talk_and_hang_up(row, scene.call(row))
    assert answer_to(scene, trunk)["algorithm"].removesuffix("-sess") in (algorithm, "MD5")


def test_ha1_goes_before_a_password(scene: Scene) -> None:
    trunk = challenged(scene, MD5)
    row = ha1_row(scene, trunk, auth_password="not-the-password")
    talk_and_hang_up(row, scene.call(row))
    answer_to(scene, trunk)


@pytest.mark.once
@pytest.mark.parametrize(("algorithm", "offer"), [("MD5", SHA256), ("SHA-256", MD5), ("SHA-256", SHA512)], ids=str)
def test_ha1_that_serves_none_of_the_algorithms_is_503(scene: Scene, algorithm: str, offer: Offer) -> None:
    trunk = challenged(scene, offer)
    row = ha1_row(scene, trunk, algorithm)
    refused(scene.call(row))
    assert trunk.carrier.verdicts == [("INVITE", 1, MISSING)]


@pytest.mark.once
@pytest.mark.parametrize("wrong", ["0" * 31, "0" * 33, "0" * 63, "g" * 32, "not-hex", "0" * 31 + " ", "é" * 16])
def test_a_bad_ha1_is_no_trunk_and_the_log_names_it(scene: Scene, wrong: str) -> None:
    """Though there is a password beside it: what the DBA meant is not for us to guess."""
    trunk = scene.trunk(auth_ha1=wrong)
    scene.call(trunk).expect(404)
    assert not trunk.carrier.trace
    scene.kamailio.wait_for_log(f'trunk={trunk.uuid} outcome=unusable reason="auth_ha1 is not 32 or 64 hex digits"')


@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("offer", [MD5, Offer("", ""), Offer("MD5-sess"), SHA256, Offer(qop="auth-int")], ids=str)
def test_a_wrong_password_costs_two_invites(scene: Scene, offer: Offer, status: int) -> None:
    trunk = challenged(scene, offer, status=status)
    scene.change_row(trunk, auth_password="not-the-password")
    refused_because(scene, trunk, "credentials refused", scene.call(trunk))
    assert trunk.carrier.verdicts == [("INVITE", 1, scene.at_first(WRONG)), ("INVITE", 2, WRONG)]
    assert len(trunk.carrier.received("INVITE")) == 2


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_wrong_ha1_costs_two_invites(scene: Scene, algorithm: str) -> None:
    trunk = challenged(scene, Offer(algorithm))
    row = ha1_row(scene, trunk, algorithm)
    scene.change_row(row, auth_ha1=ha1(algorithm, trunk.user, REALM, "not-the-password"))
    refused_because(scene, row, "credentials refused", scene.call(row))
    assert trunk.carrier.verdicts == [("INVITE", 1, scene.at_first(WRONG)), ("INVITE", 2, WRONG)]


ROUNDS = 25


@pytest.fixture(scope="module", params=["auto", "off"])
def lone(installation: Installation, request: pytest.FixtureRequest) -> Iterator[Kamailio]:
    """A Kamailio with one worker for each socket: every call runs in the same process."""
    with installation.running(Options(workers=1, preemptive=request.param)) as running:
        yield running


@pytest.mark.parametrize("asks_every_time", [True, False])
def test_a_worker_that_alternates_ha1_and_plain_rows(lone: Kamailio, asks_every_time: bool) -> None:
    """In uac_auth() an HA1 would stick to the process, and every later plain password be taken for one."""
    with Scene(lone) as scene:
        plain = challenged(scene, MD5, nonces=Nonces(ONE_REQUEST) if asks_every_time else KEEPING)
        rows = [plain, ha1_row(scene, plain)]
        for _ in range(ROUNDS):
            for row in rows:
                talk_and_hang_up(row, scene.call(row))
        verdicts = [verdict for _, _, verdict in plain.carrier.verdicts]
        assert verdicts.count(ACCEPTED) == 2 * ROUNDS
        assert set(verdicts) <= {ACCEPTED, MISSING, USED_UP}


FIXED = {"opaque": "0d0f1a", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"}
OWN_TO_EACH = ("response", "cnonce", "nc")  # what two answers to one challenge may differ in


@pytest.mark.once
@pytest.mark.every_kamailio
@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize(
    "offer",
    [
        Offer(**FIXED),
        Offer(nonce=FIXED["nonce"]),
        Offer("", **FIXED),
        Offer("", "", **FIXED),
        Offer(qop="auth,auth-int", **FIXED),
    ],
    ids=["auth", "no opaque", "no algorithm", "RFC 2069", "auth or auth-int"],
)
def test_both_ways_write_the_same_bytes(scene: Scene, offer: Offer, status: int) -> None:
    """uac_auth() for a plain password, the Python digest for the HA1 of the same: a carrier cannot tell them apart."""
    plain = challenged(scene, offer, status=status, nonces=Nonces(in_order=False))  # one nonce, asked with twice
    hashed = ha1_row(scene, plain)
    for row in (plain, hashed):
        talk_and_hang_up(row, scene.call(row))
    by_uac_auth, by_python = (each for each in plain.carrier.received("INVITE") if credentials(each))
    assert _masked(by_uac_auth) == _masked(by_python)
    assert [name for name, _ in by_uac_auth.headers] == [name for name, _ in by_python.headers]


def _masked(request: Message) -> str:
    """The credentials as written, but for what is each answer's own."""
    (name, value), *others = [(n, v) for n, v in request.headers if n in ("Authorization", "Proxy-Authorization")]
    assert not others
    parts = [part.partition("=") for part in value.split(", ")]
    return ", ".join(
        (f"{key}=" + ('"…"' if text[0] == '"' else "…")) if key in OWN_TO_EACH else f"{key}{equals}{text}"
        for key, equals, text in [(f"{name}: {parts[0][0]}", *parts[0][1:]), *parts[1:]]
    )


@pytest.mark.parametrize("offer", [MD5, SHA256], ids=["MD5", "SHA-256"])
@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO"])
def test_only_the_trunks_carrier_is_answered(scene: Scene, method: str, offer: Offer) -> None:
    """Its Contact leads to another address, which asks for credentials of the same realm: it gets none."""
    everything = Challenge(offers=(offer,), requests=frozenset({"re-INVITE", "BYE", "INFO"}))
    with Carrier(Script(challenge=everything), {}, host="127.0.0.7") as elsewhere:
        trunk = challenged(scene, offer)
        trunk.carrier.contact = elsewhere.uri
        call = scene.call(trunk)
        call.expect(200)
        trunk.carrier.acknowledged_elsewhere(elsewhere.expect("ACK"))
        again = call.inside(method)
        refused_because(scene, trunk, "not asked by the trunk's carrier", again)
        assert elsewhere.answers(method) == [407]
        assert not [seen for seen in elsewhere.trace if credentials(seen.message)]
