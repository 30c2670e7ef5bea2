"""The parser of challenges: what the grammar allows is read as it is meant, what it forbids is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.challenge import Challenge, ChallengeError, parse

READ = {
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
    'Digest realm="a \\"b\\" \\\\c", nonce="n"': [Challenge('a "b" \\c', "n", escaped=True)],
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
}


@pytest.mark.parametrize(("field", "challenges"), READ.items(), ids=str)
def test_a_challenge_is_read_as_it_is_meant(field: str, challenges: list[Challenge]) -> None:
    assert list(parse(field)) == challenges


REFUSED = {
    'realm="r", nonce="n"': "a parameter before any scheme",
    'Digest nonce="n"': "no realm",
    'Digest realm="r"': "no nonce",
    "Digest": "no realm",
    'Digest realm="r", nonce=""': "an empty nonce",
    'Digest realm="r", nonce="n", nonce="m"': "nonce comes twice",
    'Digest realm="r", nonce="n", algorithm=MD5, Algorithm=SHA-256': "algorithm comes twice",
    'Digest realm="r", nonce="n': "neither a scheme nor a parameter",
    'Digest realm="r" nonce="n"': "neither a scheme nor a parameter",
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
    try:
        parse(field)
    except ChallengeError:
        pass


quoted = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30)


@given(realm=quoted, nonce=quoted.filter(bool), opaque=quoted)
def test_a_quoted_string_comes_back_as_it_was(realm: str, nonce: str, opaque: str) -> None:
    def quote(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    field = f"Digest realm={quote(realm)}, nonce={quote(nonce)}, opaque={quote(opaque)}"
    [read] = parse(field)
    assert (read.realm, read.nonce, read.opaque, read.escaped) == (realm, nonce, opaque, "\\" in field)
