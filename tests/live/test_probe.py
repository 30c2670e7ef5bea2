"""`kemi-trunkauth test` against a carrier that works, refuses, asks for what cannot be answered, is silent, or is not
there: one sentence and one exit status each, and nothing is changed at the carrier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import URL

from lab.programs import free_port
from tests.harness.carrier import Carrier, Script
from tests.harness.shell import Done, Shell, shell
from tests.harness.verifier import ACCEPTED, MISSING, WRONG, Challenge, Offer

USER, PASSWORD, REALM = "u4711", "the-password", "carrier.test"
OF_A_PROXY = re.compile(r"1 Via$|Max-Forwards 70, |no Record-Route$|made by the proxy")  # what the rules want of one
METHODS = frozenset({"REGISTER", "INVITE", "BYE"})
CHALLENGE = Challenge(requests=METHODS)
ROW = (f"r_domain={REALM}", f"realm={REALM}", f"auth_username={USER}")


@dataclass
class Stage:
    """An operator's terminal with one trunk in its database, and the carrier behind it."""

    operator: Shell
    carrier: Carrier

    def test(self, *arguments: str) -> Done:
        done = self.operator.run("test", "berlin", *arguments, "--seconds", "1.5")
        assert PASSWORD not in done.output + done.errors
        return done


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    for made in shell(URL.create("sqlite", database=f"{tmp_path}/trunks"), tmp_path, monkeypatch, capsys):
        assert made.run("db").status == 0
        yield made


def written(operator: Shell, proxy: str, *row: str, password: str = PASSWORD) -> None:
    """Write the trunk."""
    assert operator.run("add", "berlin", *ROW, f"auth_proxy={proxy}", *row, stdin=password).status == 0


@pytest.fixture
def stage(operator: Shell, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage for a script, over UDP; with a transport, if the test has one."""
    script, transport = request.param if isinstance(request.param, tuple) else (request.param, "udp")
    with Carrier(script, {USER: PASSWORD}, transport=transport) as carrier:
        written(operator, carrier.proxy_uri)
        yield Stage(operator, carrier)
        assert [fault for fault in carrier.faults if not OF_A_PROXY.search(fault)] == []


ACCEPTS = Script(challenge=CHALLENGE, final=None)


@pytest.mark.parametrize("stage", [(ACCEPTS, "udp"), (ACCEPTS, "tcp")], indirect=True, ids=["udp", "tcp"])
def test_a_trunk_that_works_is_asked_for_its_bindings_and_changes_none(stage: Stage) -> None:
    done = stage.test()
    assert (done.status, done.errors) == (0, "")
    steps = [re.sub(r" +[0-9]+ ms  ", " ", line) for line in done.output.splitlines()]
    assert steps[0].startswith("resolve 127.0.0.1: 127.0.0.1:")
    assert steps[1:] == [
        "reach OPTIONS: 200 OK",
        "authenticate REGISTER: 407 Proxy Authentication Required, 200 OK",
        "trunk berlin works: the carrier accepts the credentials",
    ]
    assert stage.carrier.verdicts == [("REGISTER", 1, MISSING), ("REGISTER", 2, ACCEPTED)]
    assert not any(each.has("Contact") for each in stage.carrier.received("REGISTER"))


@pytest.mark.parametrize("stage", [(ACCEPTS, "udp"), (ACCEPTS, "tcp")], indirect=True, ids=["udp", "tcp"])
def test_a_number_rings_and_is_cancelled(stage: Stage) -> None:
    done = stage.test("5551234", "--trace")
    assert (done.status, done.errors) == (0, "")
    assert "trunk berlin works: the carrier accepts the credentials, and 5551234 rings\n" in done.output
    assert re.search(r"│◀─+ 180 Ringing ─+│  2 INVITE\n.*│─+ CANCEL ─+▶│  2 CANCEL", done.output), done.output
    assert [each.uri for each in stage.carrier.received("INVITE")] == [f"sip:5551234@{REALM}"] * 2
    assert stage.carrier.answers("INVITE") == [407, 487]
    stage.carrier.expect_acks()
    assert "response=" in done.output
    assert not re.search(r"response=\"?[0-9a-f]{32}", done.output)


BOTH_KINDS = Script(challenge=CHALLENGE, behind=replace(CHALLENGE, status=401), together=True)


@pytest.mark.parametrize("stage", [BOTH_KINDS], indirect=True)
def test_a_carrier_that_asks_by_both_headers_at_once_gets_both(stage: Stage) -> None:
    assert stage.test().status == 0
    assert [verdict for *_, verdict in stage.carrier.verdicts] == [MISSING, MISSING, ACCEPTED, ACCEPTED]


@pytest.mark.parametrize("stage", [Script(challenge=CHALLENGE, ring=False)], indirect=True)
def test_a_number_that_is_answered_at_once_is_hung_up(stage: Stage) -> None:
    done = stage.test("5551234")
    assert done.status == 0, done
    assert done.output.endswith("and 5551234 was answered at once\n")
    stage.carrier.expect_acks()
    assert stage.carrier.answers("BYE") == [407, 200]


@pytest.mark.parametrize("stage", [Script(challenge=CHALLENGE, ring=False, final=486)], indirect=True)
def test_a_number_that_is_busy_shows_that_the_trunk_works(stage: Stage) -> None:
    done = stage.test("5551234")
    assert (done.status, done.output.splitlines()[-1]) == (
        0, "trunk berlin works: the carrier accepts the credentials; 5551234: 486 Busy Here",
    )  # fmt: skip


@pytest.mark.parametrize("stage", [Script()], indirect=True)
def test_a_carrier_that_asks_for_nothing_is_said_so(stage: Stage) -> None:
    assert stage.test().output.endswith("trunk berlin works: the carrier asks for no credentials\n")


SHA_512 = Challenge(requests=METHODS, offers=(Offer("SHA-512-256", qop="token"),))
FAILURES: dict[str, tuple[Script, int, str]] = {
    "another realm": (
        Script(challenge=Challenge(requests=METHODS, realm="other.test")),
        6, 'the carrier\'s realm is "other.test", and the row\'s is "carrier.test"',
    ),
    "an unanswerable qop": (
        Script(challenge=SHA_512),
        7, 'the carrier asks for what the row cannot answer: algorithm "SHA-512-256", qop "token"',
    ),
    "an unknown algorithm": (
        Script(challenge=Challenge(requests=METHODS, offers=(Offer(layout='Digest realm="{realm}", nonce="{nonce}", '
                                                                         "algorithm=AKAv1-MD5"),))),
        7, 'the carrier asks for what the row cannot answer: algorithm "AKAv1-MD5"',
    ),
    "a challenge that is none": (
        Script(challenge=Challenge(requests=METHODS, offers=(Offer(layout='Digest realm="{realm}"'),))),
        7, "the carrier's challenge cannot be answered: a challenge with no nonce",
    ),
    "a refusal": (Script(challenge=CHALLENGE, registrar=403), 5, "the carrier refuses the credentials: 403 Forbidden"),
    "another status": (Script(challenge=CHALLENGE, registrar=500),
                       8, "the carrier says 500 Server Internal Error to REGISTER"),
    "no registrar": (Script(registrar=404),
                     8, "the carrier says 404 Not Found to REGISTER; give a number to try a call"),
    "silence": (Script(registrar=None), 4, "the carrier does not answer REGISTER within 1.5 s"),
}  # fmt: skip


@pytest.mark.parametrize(("stage", "status", "sentence"), FAILURES.values(), indirect=["stage"], ids=FAILURES)
def test_what_is_wrong_has_a_sentence_and_a_status(stage: Stage, status: int, sentence: str) -> None:
    done = stage.test()
    assert (done.status, done.errors) == (status, f"{sentence}\n")
    assert "works" not in done.output


@pytest.mark.parametrize("stage", [ACCEPTS], indirect=True)
@pytest.mark.parametrize("number", [(), ("5551234",)])
def test_a_wrong_password(stage: Stage, number: tuple[str, ...]) -> None:
    assert stage.operator.run("set", "berlin", "--password", stdin="wrong").status == 0
    done = stage.test(*number)
    sentence = 'the carrier refuses the credentials: auth_username "u4711" or its secret is wrong\n'
    assert (done.status, done.errors) == (5, sentence)
    assert [verdict for _, _, verdict in stage.carrier.verdicts] == [MISSING, WRONG]  # no more: a carrier locks out


@pytest.mark.parametrize("stage", [Script(silent=True)], indirect=True)
def test_a_carrier_that_says_nothing_to_a_call(stage: Stage) -> None:
    done = stage.test("5551234")
    assert (done.status, done.errors) == (4, "the carrier does not answer INVITE within 1.5 s\n")
    assert len({each.branch for each in stage.carrier.received("INVITE")}) == 1


@pytest.mark.parametrize("stage", [Script()], indirect=True)
@pytest.mark.parametrize(("r_username", "user"), [("", "u%404711"), ("account", "account")])
def test_the_account_is_the_rows_and_its_uri_is_one(stage: Stage, r_username: str, user: str) -> None:
    changed = stage.operator.run("set", "berlin", "auth_username=u@4711", f"r_username={r_username}")
    assert (changed.status, stage.test().status) == (0, 0)
    assert stage.carrier.received("REGISTER")[0].first("To") == f"<sip:{user}@{REALM}>"


LATIN_1 = Offer(opaque="\udce9")  # an octet, as PEP 383 has it


@pytest.mark.parametrize(
    "stage", [Script(challenge=Challenge(requests=METHODS, offers=(LATIN_1,)), final=None)], indirect=True
)
def test_octets_that_are_no_utf_8_go_back_as_they_came(stage: Stage) -> None:
    done = stage.test("5551234", "--trace")
    assert (done.status, done.errors) == (0, "")
    assert 'opaque="\udce9"' in stage.carrier.received("INVITE")[-1].first("Proxy-Authorization")


def test_a_port_where_nobody_is(operator: Shell) -> None:
    written(operator, f"sip:127.0.0.1:{free_port()}")
    done = operator.run("test", "berlin", "--seconds", "1")
    assert (done.status, done.errors.partition(" at ")[0]) == (4, "the carrier cannot be reached")


def test_a_name_that_does_not_exist(operator: Shell) -> None:
    written(operator, "sip:nowhere.test")
    done = operator.run("test", "berlin")
    assert done == (3, "", "the name nowhere.test cannot be resolved: it does not exist\n")


@pytest.mark.parametrize("stage", [ACCEPTS], indirect=True)
def test_a_name_is_resolved(stage: Stage) -> None:
    host, port = stage.carrier.address
    stage.operator.names.set("sbc.test", "A", host)
    assert stage.operator.run("set", "berlin", f"auth_proxy=sip:sbc.test:{port}").status == 0
    assert "sbc.test: 127.0.0.1:" in stage.test().output


def test_a_trunk_that_is_not_there_or_cannot_be_used(operator: Shell) -> None:
    assert operator.run("test", "berlin") == (1, "", "there is no trunk berlin\n")
    operator.execute("INSERT INTO uacreg (l_uuid, r_domain, auth_username) VALUES ('berlin', 'b.test', 'u')")
    reason = "trunk berlin cannot be used: auth_password and auth_ha1 are empty\n"
    assert operator.run("test", "berlin") == (1, "", reason)
