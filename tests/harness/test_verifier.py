"""The carrier's judgement checked: good credentials pass, and every way to be wrong is a verdict or a fault."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.harness.message import Message, auth_params
from tests.harness.nonces import A_WHILE, FOR_EVER, LIFE, ONCE, ONE_REQUEST, WHILE_COUNTED_UP, Nonces
from tests.harness.samples import CREDENTIALS, FIRST, PBX_VIA
from tests.harness.verifier import ACCEPTED, MISSING, STALE, USED_UP, WRONG, Challenge, Offer, Verifier

BINARY = b"\xff\x00\xfe"
ENTITY = hashlib.md5(BINARY).hexdigest()


def _answer(verifier: Verifier, password: str, **changed: str) -> Message:
    """An INVITE that answers a fresh MD5 challenge, written out here once more as RFC 7616 3.4.1 has it."""
    challenge = auth_params(next(verifier.headers(FIRST, MISSING))[1])
    params = {
        "username": "u",
        "realm": "carrier.test",
        "nonce": challenge["nonce"],
        "uri": FIRST.uri,
        "qop": "auth",
    }
    params |= {"nc": "00000001", "cnonce": "c", **changed}

    def md5(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode()).hexdigest()

    entity = [ENTITY] if params["qop"] == "auth-int" else []
    ha1, ha2 = md5("u", "carrier.test", password), md5("INVITE", params["uri"], *entity)
    proof = md5(ha1, params["nonce"], params["nc"], params["cnonce"], params["qop"], ha2)
    text = ", ".join(f'{name}="{value}"' for name, value in params.items())
    return FIRST.with_header("Proxy-Authorization", f'Digest {text}, response="{proof}"')


def _verdict(verifier: Verifier, request: Message) -> str:
    verifier.note(request)
    return verifier.judge(request)


def test_the_verifier_accepts_the_password_and_nothing_else() -> None:
    verifier = Verifier(Challenge(), {"u": "secret"})
    assert verifier.judge(FIRST) == MISSING
    assert _verdict(verifier, _answer(verifier, "secret")) == ACCEPTED
    assert _verdict(verifier, _answer(verifier, "guess")) == WRONG
    assert _verdict(verifier, _answer(verifier, "secret", username="v")) == WRONG
    assert verifier.faults == []


def test_a_nonce_that_serves_once_is_counted_where_another_challenge_came_first() -> None:
    """The far end never saw the first request with its nonce, but the client sent it."""
    verifier = Verifier(Challenge(nonces=Nonces(ONCE)), {"u": "secret"})
    nonce = auth_params(next(verifier.headers(FIRST, MISSING))[1])["nonce"]
    verifier.note(_answer(verifier, "secret", nonce=nonce))
    again = _answer(verifier, "secret", nonce=nonce, nc="00000002")
    assert _verdict(verifier, again) == ACCEPTED
    third = _answer(verifier, "secret", nonce=nonce, nc="00000003")
    assert _verdict(verifier, third) == USED_UP
    assert verifier.faults == []


FRESH, LATER = 0.0, LIFE
OWN, ANOTHERS = PBX_VIA, f"{PBX_VIA}-another"


@pytest.mark.parametrize(
    ("serve", "uses", "verdicts"),
    [
        (FOR_EVER, [(1, OWN, FRESH), (2, ANOTHERS, LATER)], [ACCEPTED, ACCEPTED]),
        (ONCE, [(1, OWN, FRESH), (2, OWN, FRESH)], [ACCEPTED, USED_UP]),
        (ONE_REQUEST, [(1, OWN, FRESH), (2, OWN, FRESH), (3, ANOTHERS, FRESH)], [ACCEPTED, ACCEPTED, USED_UP]),
        (A_WHILE, [(1, OWN, FRESH), (2, OWN, LIFE - 1), (3, OWN, 1)], [ACCEPTED, ACCEPTED, USED_UP]),
        (WHILE_COUNTED_UP, [(2, OWN, FRESH), (3, OWN, FRESH), (1, OWN, FRESH)], [ACCEPTED, ACCEPTED, USED_UP]),
    ],
)
def test_for_how_long_a_nonce_serves(serve: str, uses: list[tuple[int, str, float]], verdicts: list[str]) -> None:
    verifier = Verifier(Challenge(nonces=Nonces(serve, in_order=False)), {"u": "secret"})
    nonce = auth_params(next(verifier.headers(FIRST, MISSING))[1])["nonce"]
    found = []
    for count, origin, seconds in uses:
        verifier.clock += seconds
        answer = _answer(verifier, "secret", nonce=nonce, nc=f"{count:08x}")
        headers = [(name, origin if value == PBX_VIA else value) for name, value in answer.headers]
        found.append(_verdict(verifier, replace(answer, headers=tuple(headers))))
    assert found == verdicts
    assert verifier.faults == []


def test_a_nonce_that_was_forgotten_is_over_and_the_challenge_says_what_it_is_told_to() -> None:
    for says_stale in (False, True):
        verifier = Verifier(Challenge(nonces=Nonces(says_stale=says_stale)), {"u": "secret"})
        answer = _answer(verifier, "secret")
        verifier.forget()
        assert _verdict(verifier, answer) == USED_UP
        ((_, challenge),) = verifier.headers(FIRST, USED_UP)
        assert ("stale=true" in challenge) == says_stale


@pytest.mark.parametrize("in_order", [False, True])
def test_a_count_that_comes_twice_is_a_fault(in_order: bool) -> None:
    verifier = Verifier(Challenge(nonces=Nonces(in_order=in_order)), {"u": "secret"})
    nonce = auth_params(next(verifier.headers(FIRST, MISSING))[1])["nonce"]
    same = _answer(verifier, "secret", nonce=nonce)
    assert [_verdict(verifier, same), _verdict(verifier, same)] == [ACCEPTED, WRONG]
    assert "nc '00000001'" in verifier.faults[0]


def test_shared_nonces_are_the_same_until_they_are_over() -> None:
    verifier = Verifier(Challenge(nonces=Nonces(A_WHILE, shared=True)), {"u": "secret"})

    def issued() -> str:
        return auth_params(next(verifier.headers(FIRST, MISSING))[1])["nonce"]

    before = issued()
    assert issued() == before
    verifier.clock += LIFE
    assert issued() != before


def test_the_next_nonce_is_named_to_whoever_used_one() -> None:
    verifier = Verifier(Challenge(401, nonces=Nonces(named=True)), {"u": "secret"})
    answer = _answer(verifier, "secret")
    answer = answer.without("Proxy-Authorization").with_header("Authorization", answer.first("Proxy-Authorization"))
    ((name, value),) = verifier.next_nonces(answer)
    assert (name, value[:11]) == ("Authentication-Info", 'nextnonce="')
    named = value[11:-1]
    again = _answer(verifier, "secret", nonce=named).first("Proxy-Authorization")
    assert _verdict(verifier, FIRST.with_header("Authorization", again)) == ACCEPTED
    assert list(verifier.next_nonces(FIRST)) == []


def test_credentials_that_nobody_asked_for_have_to_be_right_all_the_same() -> None:
    verifier = Verifier(Challenge(requests=frozenset({"BYE"})), {"u": "secret"})
    for password, nonce in (("secret", ""), ("guess", ""), ("secret", "invented")):
        answer = _answer(verifier, password, **({"nonce": nonce} if nonce else {}))
        verifier.note(answer)
        verifier.inspect(answer)
    assert [fault.split(": ", 1)[1] for fault in verifier.faults] == [
        "wrong response, and unasked",
        "nonce was never issued here",
    ]


@pytest.mark.parametrize(("body", "verdict"), [(BINARY, ACCEPTED), (BINARY + b"\n", WRONG), (b"", WRONG)])
def test_a_body_is_hashed_byte_for_byte(body: bytes, verdict: str) -> None:
    """RFC 7616 3.4.3: H(entity-body), whether or not it is text."""
    verifier = Verifier(Challenge(offers=(Offer(qop="auth-int"),)), {"u": "secret"})
    assert _verdict(verifier, replace(_answer(verifier, "secret", qop="auth-int"), body=body)) == verdict


def test_the_verifier_may_be_stale_once_or_never_content() -> None:
    stale = Verifier(Challenge(stale=1), {"u": "secret"})
    assert [_verdict(stale, _answer(stale, "secret")) for _ in range(2)] == [STALE, ACCEPTED]
    never = Verifier(Challenge(refuse_all=True), {"u": "secret"})
    assert _verdict(never, _answer(never, "secret")) == WRONG
    assert stale.faults == never.faults == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"nonce": "invented"}, "never issued"),
        ({"uri": "sip:2@c.test"}, "is not the R-URI"),
        ({"nc": "00000002"}, "nc '00000002' at use 1"),
        ({"qop": "auth-int"}, "qop 'auth-int' was not offered"),
        ({"algorithm": "SHA-256"}, "algorithm 'SHA-256' was not offered"),
        ({"cnonce": ""}, "no cnonce"),
        ({"opaque": "x"}, "opaque 'x' is not None"),
    ],
)
def test_every_fault_of_the_credentials_is_named(changed: dict[str, str], fault: str) -> None:
    verifier = Verifier(Challenge(), {"u": "secret"})
    assert _verdict(verifier, _answer(verifier, "secret", **changed)) == WRONG
    assert fault in verifier.faults[0]


def test_credentials_in_the_header_of_the_other_challenge_are_a_fault() -> None:
    verifier = Verifier(Challenge(status=401, offers=(Offer(qop=""),)), {"u": "secret"})
    assert verifier.judge(FIRST.with_header("Proxy-Authorization", CREDENTIALS)) == MISSING
    assert "Proxy-Authorization answers no Authorization challenge" in verifier.faults[0]
