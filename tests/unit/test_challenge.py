"""The parser of challenges: what the grammar allows is read as meant, what it forbids is refused with a reason."""

import contextlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kemi.auth.challenge import Challenge, ChallengeError, _parse, next_nonce, parse

TraceFunction = Callable[[FrameType, str, Any], Any]

READ = {
    'Digest realm="Gr\udcf6\udcdfe", nonce="n"': [Challenge("Gr\udcf6\udcdfe", "n")],  # Latin-1, as PEP 383 has it
    # RFC 7616 3.9.1, first challenge
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"': [
        Challenge(
            realm="http-auth@example.org",
            nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
            algorithm="SHA-256",
            qop=("auth", "auth-int"),
        )
    ],
    # RFC 3261 20.27
    'Digest realm="atlanta.com", domain="sip:ss1.carrier.com", qop="auth", '
    'nonce="f84f1cec41e6cbe5aea9c8e88d359", opaque="", stale=FALSE, algorithm=MD5': [
        Challenge("atlanta.com", "f84f1cec41e6cbe5aea9c8e88d359", opaque="", algorithm="MD5", qop=("auth",))
    ],
    'Digest nonce="n",realm="r"': [Challenge("r", "n")],
    'dIgEsT  ReAlM="r" , NONCE = "n",QOP=AUTH,STALE="TRUE"': [Challenge("r", "n", qop=("AUTH",), stale=True)],
    'Digest realm="a \\"b\\" \\\\c", nonce="n"': [Challenge('a "b" \\c', "n")],
    'Digest realm="r",\r\n\tnonce="n"': [Challenge("r", "n")],
    'Digest realm="", nonce="n"': [Challenge("", "n")],
    'Digest realm="r", nonce="n", future="x", token=y': [Challenge("r", "n")],
    ', ,Digest realm="r",, nonce="n",': [Challenge("r", "n")],
    'Digest realm="a, Digest b=c", nonce="n"': [Challenge("a, Digest b=c", "n")],
    'Digest realm="a", nonce="1", algorithm=SHA-256, Digest realm="b", nonce="2", algorithm=MD5': [
        Challenge("a", "1", algorithm="SHA-256"),
        Challenge("b", "2", algorithm="MD5"),
    ],
    'Bearer realm="x", scope="openid", Digest realm="r", nonce="n"': [Challenge("r", "n")],
    'NTLM TlRMTVNTUAACAAAA==, Digest realm="r", nonce="n"': [Challenge("r", "n")],
    'Negotiate, Digest realm="r", nonce="n"': [Challenge("r", "n")],
    "Bearer": [],
    "": [],
    # broken, with one meaning only (rules 9 to 12)
    'Digest realm="r"; nonce="n";qop="auth"': [Challenge("r", "n", qop=("auth",))],
    'Digest realm="r" nonce="n"  qop="auth"': [Challenge("r", "n", qop=("auth",))],
    "Digest realm=r nonce=n": [Challenge("r", "n")],
    'Digest realm="r", nonce=dcd98b+/0c==, qop="auth"': [Challenge("r", "dcd98b+/0c==", qop=("auth",))],
    "Digest realm=sip.c.test:5060, nonce=a@b=c": [Challenge("sip.c.test:5060", "a@b=c")],
    'Digest realm="r", nonce="n", qop=auth,auth-int, opaque="abc"': [
        Challenge("r", "n", "abc", qop=("auth", "auth-int"))
    ],
    'Digest qop=auth-int , AUTH,realm="r", nonce="n"': [Challenge("r", "n", qop=("auth-int", "AUTH"))],
    'Digest realm="r", nonce="n", qop=auth, auth-int': [Challenge("r", "n", qop=("auth", "auth-int"))],
    'Digest realm="r", nonce="n", algorithm=MD5, nonce="n", ALGORITHM="MD5"': [Challenge("r", "n", algorithm="MD5")],
    'Digest , realm="r", nonce="n"': [Challenge("r", "n")],
    'Digest, realm="r", nonce="n"': [Challenge("r", "n")],
    'Digest realm="r", nonce="n", qop=",auth"': [Challenge("r", "n", qop=("auth",))],
    'Digest realm="r", nonce="n", qop="\xa0auth"': [Challenge("r", "n", qop=("\xa0auth",))],
}


@pytest.mark.parametrize(("field", "challenges"), READ.items(), ids=str)
def test_a_challenge_is_read_as_it_is_meant(field: str, challenges: list[Challenge]) -> None:
    assert list(parse(field)) == challenges


# How the carriers' own software writes it.
STYLES = {
    "Asterisk, chan_pjsip": 'Digest  realm="asterisk",nonce="17/0f1e2d",opaque="5a4b",algorithm=MD5,qop="auth"',
    "Asterisk 22": 'Digest realm="asterisk",nonce="17/ab",opaque="cd",algorithm=SHA-256,qop="auth"',
    "Asterisk, chan_sip": 'Digest algorithm=MD5, realm="asterisk", nonce="1d2c3b4a"',
    "FreeSWITCH": 'Digest realm="192.0.2.8", nonce="3b6c1e7a-9f6e-5d4c3b2a", algorithm=MD5, qop="auth"',
    "FreeSWITCH, stale": 'Digest realm="sw.example", nonce="3b6c", stale=true, algorithm=MD5, qop="auth"',
    "Kamailio": 'Digest realm="sip.example", nonce="awRlX2UDYxsf4/Aq+Jr8", qop="auth"',
    "Kamailio, SHA-256": 'Digest realm="sip.example", nonce="awRlX2UD", algorithm=SHA-256, qop="auth"',
    "OpenSIPS": 'Digest realm="sip.example", nonce="R5cAq/3y", qop="auth,auth-int", algorithm=SHA-512-256',
    "Cisco IOS": 'Digest realm="cisco.example",qop="auth",algorithm=MD5,nonce="0a1b",stale=FALSE,opaque="bf"',
    "Cisco CUCM": 'Digest realm="StandAloneCluster", nonce="Y1kPpZbX+Qm7", algorithm=MD5',
    "BroadWorks": 'DIGEST realm="BroadWorks",algorithm=MD5,nonce="BroadWorksXk1a2b3cTz9",qop="auth"',
    "BroadWorks behind an SBC": 'DIGEST qop="auth",nonce="BroadWorksXk1",realm="voip.example",algorithm=MD5',
    "Twilio style": 'Digest realm="sip.example",qop="auth",nonce="a6b1.1700000000",opaque="9c8d7e6f"',
    "Telnyx style": 'Digest realm="sip.example", nonce="ZVxyzAAA", qop="auth"',
    "Sonus": 'Digest realm="c.example", domain="sip:c.example", nonce="1", opaque="", stale=FALSE, algorithm=MD5',
    "Oracle SBC": 'Digest realm="c.example",domain="sip:192.0.2.1",nonce="a0",stale=true,algorithm=MD5,qop="auth"',
}


@pytest.mark.parametrize("field", STYLES.values(), ids=STYLES)
def test_a_challenge_in_a_carriers_own_style_is_read(field: str) -> None:
    [read] = parse(field)
    assert f'realm="{read.realm}"' in field
    assert f'nonce="{read.nonce}"' in field
    assert ("qop" in field) == bool(read.qop)
    assert ("stale=true" in field) == read.stale


REFUSED = {
    'realm="r", nonce="n"': "a parameter before any scheme",
    'Digest nonce="n"': "no realm",
    'Digest realm="r"': "no nonce",
    "Digest": "no realm",
    'Digest realm="r", nonce=""': "an empty nonce",
    'Digest realm="r", nonce="n", nonce="m"': "nonce comes twice",
    'Digest realm="r", nonce="n", algorithm=MD5, Algorithm=SHA-256': "algorithm comes twice",
    'Digest realm="r", nonce="n': "neither a scheme nor a parameter",
    'Digest realm="a"nonce="n"': "neither a scheme nor a parameter",
    'Digest realm="the "best" one", nonce="n"': "neither a scheme nor a parameter",
    'Digest realm=my carrier, nonce="n"': "neither a scheme nor a parameter",
    'Digest realm=, nonce="n"': "neither a scheme nor a parameter",
    'Digest realm="r", nonce="n", qop="auth","auth-int"': "neither a scheme nor a parameter",
    'Digest realm="r", nonce="n", qop=auth auth-int': "neither a scheme nor a parameter",
    'Digest realm="r", nonce="n" Basic realm="r"': "neither a scheme nor a parameter",
    'Digest realm="r", nonce="n", qop=auth,token, opaque="o"': "a parameter behind a lone word",
    'Digest realm="r", nonce="n", opaque="o", opaque="p"': "opaque comes twice",
    'Digest realm="r", nonce="n\r\nX: y"': "a control character",
    'Digest realm="r", nonce="n\0"': "a control character",
    'Digest realm="r", nonce=': "neither a scheme nor a parameter",
}


@pytest.mark.parametrize(("field", "reason"), REFUSED.items(), ids=str)
def test_what_is_no_challenge_is_refused_with_a_reason(field: str, reason: str) -> None:
    with pytest.raises(ChallengeError) as refused:
        parse(field)
    assert str(refused.value) == reason


def test_no_algorithm_means_md5() -> None:
    assert parse('Digest realm="r", nonce="n"')[0].hash_name == "MD5"


@pytest.mark.parametrize(
    ("written", "hash_name", "is_session"),
    [
        ("md5", "MD5", False),
        ("MD5-sess", "MD5", True),
        ('"sha-256"', "SHA-256", False),
        ("Sha-512-256-Sess", "SHA-512-256", True),
    ],
)
def test_an_algorithm_is_known_in_any_case(written: str, hash_name: str, is_session: bool) -> None:
    [read] = parse(f'Digest realm="r", nonce="n", algorithm={written}')
    assert (read.hash_name, read.is_session) == (hash_name, is_session)


def test_qop_is_known_in_any_case() -> None:
    [read] = parse('Digest realm="r", nonce="n", qop=" Auth-Int ,AUTH"')
    assert (read.offers("auth"), read.offers("auth-int"), read.offers("token")) == (True, True, False)


@given(st.text(alphabet=st.sampled_from('Digestrealmnoncqp="\\, \t\r\n;x/\x00é'), max_size=80))
def test_nothing_from_the_wire_raises_anything_else(field: str) -> None:
    next_nonce(field)
    with contextlib.suppress(ChallengeError):
        parse(field)


PARTS = (
    "Digest ", "Bearer ", 'realm="r"', 'nonce="n"', 'nonce="a b"', "nonce=n", 'nonce="?"', 'xnonce="m"', 'opaque="',
    ", ", '"', "?", "\\", "; ", " ", "qop=auth", ",auth-int", "=",
)  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
@example('Digest xnonce="m", realm="r", nonce="n"')
@example('Digest xnonce="m", realm="r", nonce="?"')
@example('Bearer nonce="m", Digest realm="r", nonce="?"')
@example('Digest realm="x nonce=", nonce="n"')
@example('Digest realm="r", nonce="n", nonce="m"')
def test_a_challenge_is_read_as_if_it_were_the_first(field: str) -> None:
    """What was kept of a carrier's last challenge, which had another nonce, changes nothing."""
    with contextlib.suppress(ChallengeError):
        parse(field.replace('"n"', '"o"'))
    assert outcome(parse, field) == outcome(_parse, field)


def outcome(read: Callable[[str], tuple[Challenge, ...]], field: str) -> tuple[Challenge, ...] | str:
    try:
        return read(field)
    except ChallengeError as error:
        return str(error)


HUGE = {
    "one long value": 'Digest realm="' + "x" * 60_000 + '", nonce="n"',
    "many parameters": 'Digest realm="r", nonce="n"' + ", a=b" * 12_000,
    "many challenges": ", ".join(['Digest realm="r", nonce="n"'] * 2_000),
    "commas": "," * 60_000,
    "an open quote": 'Digest realm="' + "\\" * 60_000,
    "one long token": "a" * 60_000,
    "spaces": "Digest " + " " * 60_000 + "x",
    "no commas": "Digest" + " a=b" * 15_000,
    "a qop list": "Digest qop=auth" + ",auth" * 12_000,
    "a qop list that ends in a parameter": "Digest qop=auth" + ",auth" * 12_000 + "=x",
    "one long value without quotes": "Digest realm=" + "=" * 60_000,
}


@pytest.mark.parametrize("field", HUGE.values(), ids=HUGE)
def test_the_steps_taken_grow_with_the_length_and_no_faster(field: str) -> None:
    """Counts the lines of kemi.auth.challenge that run: a field twice as long may take about twice as many, not four
    times.
    """
    whole, half = steps(field), steps(field[: len(field) // 2])
    assert whole <= 2.5 * half + 100


def steps(field: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal count
        if frame.f_globals.get("__name__") != "kemi.auth.challenge":
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(ChallengeError):
            parse(field)
    finally:
        sys.settrace(before)
    return count


quoted = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30)


@given(realm=quoted, nonce=quoted.filter(bool), opaque=quoted)
def test_a_quoted_string_comes_back_as_it_was(realm: str, nonce: str, opaque: str) -> None:
    def quote(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    field = f"Digest realm={quote(realm)}, nonce={quote(nonce)}, opaque={quote(opaque)}"
    [read] = parse(field)
    assert (read.realm, read.nonce, read.opaque) == (realm, nonce, opaque)


NEXT_NONCES = {
    'nextnonce="n2"': "n2",
    'rspauth="0af", cnonce="c", nc=00000001, qop=auth, NextNonce = \'n2\'': "'n2'",
    'qop=auth,\r\n\tnextnonce="a \\"b\\""': 'a "b"',
    "": "",
    'rspauth="0af"': "",
    'nextnonce=""': "",
    'nextnonce="n2", nextnonce="n3"': "",
    'nextnonce="n\x002"': "",
    'nextnonce="n2': "",
    'Digest nextnonce="n2"': "",
    "{}": "",
}


@pytest.mark.parametrize(("field", "nonce"), NEXT_NONCES.items())
def test_the_next_nonce_is_named_or_not(field: str, nonce: str) -> None:
    assert next_nonce(field) == nonce
