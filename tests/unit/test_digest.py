"""Digests against the RFCs' own examples and against sippy, an independent implementation; never against themselves."""

from __future__ import annotations

import hashlib
import re
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kemi.auth.challenge import Challenge, parse
from kemi.auth.digest import HASHES, DigestResponse, Request, ha1

MUFASA = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
MUFASAS = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def answer(challenge: Challenge, username: str, password: str, request: Request, cnonce: str, qop: str = "auth") -> str:
    secret = ha1(challenge.hash_name, username, challenge.realm, password)
    return DigestResponse(challenge, username, secret, qop).value(request, 1, cnonce)


def response(value: str) -> str:
    found = re.search(r'response="([0-9a-f]+)"', value)
    assert found
    return found[1]


RFC_EXAMPLES = {
    "RFC 2617 3.5": (
        Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", qop=("auth", "auth-int")),
        "Mufasa", "Circle Of Life", Request("GET", "/dir/index.html"), "0a4f113b",
        "6629fae49393a05397450978507c4ef1",
    ),
    "RFC 7616 3.9.1, MD5": (
        Challenge("http-auth@example.org", MUFASA, algorithm="MD5", qop=("auth", "auth-int")),
        "Mufasa", "Circle of Life", Request("GET", "/dir/index.html"), MUFASAS,
        "8ca523f5e9506fed4657c9700eebdbec",
    ),
    "RFC 7616 3.9.1, SHA-256": (
        Challenge("http-auth@example.org", MUFASA, algorithm="SHA-256", qop=("auth", "auth-int")),
        "Mufasa", "Circle of Life", Request("GET", "/dir/index.html"), MUFASAS,
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    ),
    "RFC 7616 3.9.2, SHA-512-256, as its erratum 4897 corrects it": (
        Challenge("api@example.org", "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", algorithm="SHA-512-256",
        qop=("auth",)), "Jäsøn Doe", "Secret, or not?", Request("GET", "/doe.json"),
        "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("challenge", "username", "password", "request_", "cnonce", "expected"), RFC_EXAMPLES.values(), ids=RFC_EXAMPLES
)
def test_the_rfcs_own_examples(
    challenge: Challenge, username: str, password: str, request_: Request, cnonce: str, expected: str
) -> None:
    assert response(answer(challenge, username, password, request_, cnonce)) == expected


def test_octets_that_are_not_utf_8_are_hashed_as_they_came() -> None:
    realm = b"Gr\xf6\xdfe".decode(errors="surrogateescape")
    hashed = [hashlib.md5(text).hexdigest() for text in (b"u:Gr\xf6\xdfe:p", b"INVITE:sip:b.example")]
    expected = hashlib.md5(f"{hashed[0]}:n:{hashed[1]}".encode()).hexdigest()
    assert response(answer(Challenge(realm, "n"), "u", "p", Request("INVITE", "sip:b.example"), "", "")) == expected


words = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)
algorithms = st.sampled_from([f"{name}{sess}" for name in HASHES for sess in ("", "-sess")])


@pytest.mark.skipif(find_spec("sippy") is None, reason="sippy is not installed: `make test` does that")
@given(
    algorithm=algorithms, qop=st.sampled_from(["", "auth", "auth-int"]), count=st.integers(1, 2**32 - 1),
    username=words, password=words, realm=words, nonce=words, cnonce=words, uri=words, body=words,
    method=st.sampled_from(["INVITE", "BYE", "MESSAGE"]),
)  # fmt: skip
def test_an_independent_implementation_agrees(
    algorithm: str, qop: str, count: int, username: str, password: str, realm: str, nonce: str, cnonce: str,
    uri: str, body: str, method: str,
) -> None:  # fmt: skip
    from sippy.SipAuthorization import DigestCalcHA1, DigestCalcResponse

    challenge = Challenge(realm, nonce, algorithm=algorithm, qop=(qop,) if qop else ())
    secret = ha1(challenge.hash_name, username, realm, password)
    value = DigestResponse(challenge, username, secret, qop).value(Request(method, uri, body.encode()), count, cnonce)
    theirs = DigestCalcResponse(
        algorithm, DigestCalcHA1(algorithm, username, realm, password, nonce, cnonce),
        nonce, f"{count:08x}" if qop else None, cnonce if qop else None, qop or None, method, uri, body,
    )  # fmt: skip
    assert response(value) == theirs


@given(realm=words, nonce=words, username=words, uri=words, opaque=words)
def test_what_is_quoted_is_read_back_as_it_was(realm: str, nonce: str, username: str, uri: str, opaque: str) -> None:
    value = answer(Challenge(realm, nonce, opaque=opaque), username, "p", Request("BYE", uri), "c", qop="")
    [read] = parse(value)
    assert (read.realm, read.nonce, read.opaque) == (realm, nonce, opaque)


def test_the_parameters_come_in_kamailios_order() -> None:
    challenge = Challenge("r", "n", opaque="o", algorithm="MD5", qop=("auth",))
    value = answer(challenge, 'u"1', "p", Request("INVITE", "sip:1@c"), "c")
    assert re.sub("[0-9a-f]{32}", "…", value) == (
        'Digest username="u\\"1", realm="r", nonce="n", uri="sip:1@c", opaque="o", qop=auth, nc=00000001, cnonce="c", '
        'response="…", algorithm=MD5'
    )


@pytest.mark.parametrize(("written", "echoed"), [(None, "MD5"), ("md5", "md5"), ("sha-256-SESS", "sha-256-SESS")])
def test_the_algorithm_is_echoed_as_it_was_written(written: str | None, echoed: str) -> None:
    value = answer(Challenge("r", "n", algorithm=written), "u", "p", Request("BYE", "sip:c"), "c", qop="")
    assert value.endswith(f", algorithm={echoed}")


def test_without_qop_there_is_neither_count_nor_cnonce() -> None:
    value = answer(Challenge("r", "n"), "u", "p", Request("BYE", "sip:c"), "c", qop="")
    assert "nc=" not in value
    assert "cnonce=" not in value
    assert "opaque=" not in value


def test_a_body_of_any_bytes_is_covered() -> None:
    # HA2 over H(entity-body), RFC 7616 3.4.3; SHA-256 of the bytes ff 00 from coreutils' sha256sum
    challenge = Challenge("r", "n", algorithm="SHA-256", qop=("auth-int",))
    binary = answer(challenge, "u", "p", Request("MESSAGE", "sip:c", b"\xff\x00"), "c", qop="auth-int")
    empty = answer(challenge, "u", "p", Request("MESSAGE", "sip:c", b""), "c", qop="auth-int")
    assert response(binary) != response(empty)
