"""The failure route over the mocked KSR: which challenges are answered, how, and what the caller sees otherwise."""

from __future__ import annotations

import pytest

from kemi.auth.resend import MOST_ANSWERED
from kemi.handlers import Handlers
from kemi.line import word
from kemi.settings import Settings
from tests.flow.scene import (
    CHALLENGE,
    FAILED,
    SBC,
    STALE,
    Send,
    challenge,
    copied,
    credential_avps,
    fail,
    reply,
    request,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply


@pytest.mark.parametrize(("code", "field"), [(401, "Authorization"), (407, "Proxy-Authorization")])
def test_a_challenge_is_answered(pbx: MockKSR, routes: Handlers, send: Send, code: int, field: str) -> None:
    send(request())
    challenge(pbx, routes, code=code)
    first, second = pbx.relayed
    assert first.message.get(field) is None
    assert 'username="u4711"' in (second.message.get(field) or "")
    assert (second.ruri, second.next_hop) == (first.ruri, first.next_hop)
    assert pbx.replies == []
    level, line = pbx.log[-1]
    assert (level, line) == ("notice", "trunk=berlin outcome=answered realm=carrier algorithm=MD5 call-id=call-1\n")


@pytest.mark.parametrize(("code", "asks", "answers"), [
    (401, "Proxy-Authenticate", "Proxy-Authorization"), (407, "WWW-Authenticate", "Authorization"),
])  # fmt: skip
def test_the_header_that_was_asked_for_is_sent_whatever_the_status(
    pbx: MockKSR, routes: Handlers, send: Send, code: int, asks: str, answers: str
) -> None:
    send(request())
    fail(pbx, routes, code, f"{asks}: {CHALLENGE}")
    assert [relayed.message.get(answers) is None for relayed in pbx.relayed] == [True, False]
    fail(pbx, routes, code, f"{asks}: {CHALLENGE}")
    assert (len(pbx.relayed), pbx.replies) == (2, [FAILED])


@pytest.mark.parametrize("fields", [
    ("Proxy-Authenticate: {}", "WWW-Authenticate: {}"),
    ("WWW-Authenticate: {}", "Proxy-Authenticate: Bearer", "Proxy-Authenticate: {}"),
])  # fmt: skip
def test_a_reply_with_challenges_of_both_kinds_gets_both_answers_at_once(
    pbx: MockKSR, routes: Handlers, send: Send, fields: tuple[str, ...]
) -> None:
    send(request())
    fail(pbx, routes, 407, *[field.format(CHALLENGE) for field in fields])
    answers = [pbx.relayed[-1].message.get(name) for name in ("Authorization", "Proxy-Authorization")]
    assert [answer and 'realm="carrier"' in answer for answer in answers] == [True, True]
    assert pbx.called("uac.uac_auth") == []


def test_the_other_header_is_a_far_ends_once_the_carrier_has_asked_by_its_own(
    pbx: MockKSR, routes: Handlers, send: Send
) -> None:
    send(request(call_id="before"))
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    send(request())
    fail(pbx, routes, 407, f"WWW-Authenticate: {CHALLENGE}")
    assert pbx.replies == [FAILED]


def test_an_empty_field_asks_for_nothing(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    fail(pbx, routes, 407, "Proxy-Authenticate: ", f"WWW-Authenticate: {CHALLENGE}")
    assert [relayed.message.get("Authorization") is None for relayed in pbx.relayed] == [True, False]


@pytest.mark.parametrize(("asks", "answers"), [
    ("Proxy-Authenticate", "Proxy-Authorization"), ("WWW-Authenticate", "Authorization"),
])  # fmt: skip
def test_an_empty_field_hides_no_challenge_behind_it(
    pbx: MockKSR, routes: Handlers, send: Send, asks: str, answers: str
) -> None:
    """Nor does uac_auth() see it, which would read the empty one."""
    send(request())
    fail(pbx, routes, 407, f"{asks}: ", f"{asks}: {CHALLENGE}")
    assert [relayed.message.get(answers) is None for relayed in pbx.relayed] == [True, False]
    assert pbx.called("uac.uac_auth") == []


def test_every_realm_that_is_answered_has_its_line(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request(caller="<sip:bob@x.test>"))
    challenge(pbx, routes, f"{CHALLENGE}, {CHALLENGE.replace('carrier', 'elsewhere')}")
    told = "trunk=any-domain outcome=answered realm="
    assert [line.partition(" algorithm")[0] for _, line in pbx.log] == [f"{told}carrier", f"{told}elsewhere"]


def test_credentials_are_gone_once_they_are_used(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    assert credential_avps(pbx) == []


def test_a_second_challenge_without_stale_gives_up(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (2, [FAILED])
    level, line = pbx.log[-2]
    assert level == "warn"
    assert 'reason="credentials refused" call-id=call-1' in line


def test_stale_is_answered_again_but_not_for_ever(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    for number in range(MOST_ANSWERED):
        challenge(pbx, routes, STALE.replace("n2", f"n{number}"))
    assert pbx.replies == []
    challenge(pbx, routes, STALE)
    assert (len(pbx.relayed), pbx.replies) == (1 + MOST_ANSWERED, [FAILED])


NOT_ANSWERED = {
    "another realm": 'Digest realm="elsewhere", nonce="n"',
    "an unknown algorithm": 'Digest realm="carrier", nonce="n", algorithm=SHA3-512',
    "an unknown qop": 'Digest realm="carrier", nonce="n", qop="token"',
    "no nonce": 'Digest realm="carrier"',
    "Bearer": 'Bearer realm="carrier"',
}


@pytest.mark.parametrize("value", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
def test_what_cannot_be_answered_503(pbx: MockKSR, routes: Handlers, send: Send, value: str) -> None:
    send(request())
    challenge(pbx, routes, value)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])
    assert pbx.called("uac.uac_auth") == []
    assert ["outcome=refused" in line for _, line in pbx.log] == [True, False]


def test_what_uac_auth_turns_down_is_answered_all_the_same(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    pbx.world.uac_answers = False
    send(request())
    challenge(pbx, routes)
    assert 'username="u4711"' in (pbx.relayed[1].message.get("Proxy-Authorization") or "")
    assert credential_avps(pbx) == []


DIGESTS = {
    "SHA-256": ("alice", 'Digest realm="carrier", nonce="n", algorithm=SHA-256, qop="auth"'),
    "auth-int": ("alice", 'Digest realm="carrier", nonce="n", qop="auth-int"'),
    "two in one field": ("alice", f"{CHALLENGE}, {CHALLENGE.replace('MD5', 'SHA-256')}"),
    "HA1": ("dave", CHALLENGE),
}


@pytest.mark.parametrize(("caller", "value"), DIGESTS.values(), ids=DIGESTS)
def test_what_uac_auth_gets_wrong_is_answered_in_python(
    pbx: MockKSR, routes: Handlers, send: Send, caller: str, value: str
) -> None:
    send(request(caller=f"<sip:{caller}@pbx.test>"))
    challenge(pbx, routes, value)
    assert pbx.called("uac.uac_auth") == []
    first, second = pbx.relayed
    assert f'uri="{first.ruri}"' in (second.message.get("Proxy-Authorization") or "")
    assert (second.ruri, second.next_hop) == (first.ruri, first.next_hop)
    assert [relayed.message.get("CSeq") for relayed in pbx.relayed] == ["1 INVITE", "2 INVITE"]
    assert pbx.replies == []


def test_a_proxy_and_the_far_end_both_get_their_answer(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes, CHALLENGE.replace("n1", "m1"), code=401)
    last = pbx.relayed[2].message
    assert "nc=00000002" in (last.get("Proxy-Authorization") or "")
    assert "nc=00000001" in (last.get("Authorization") or "")


@pytest.mark.parametrize("asks", ["Proxy-Authenticate", "WWW-Authenticate"])
@pytest.mark.parametrize("size", [0, 5, 32767, 32768])
def test_a_body_that_cannot_be_had_is_no_wrong_digest(
    pbx: MockKSR, routes: Handlers, send: Send, size: int, asks: str
) -> None:
    body = "\xff" * size
    send(request().replace("Content-Length: 0", f"Content-Length: {len(body.encode())}") + body)
    fail(pbx, routes, 407, f"{asks}: {CHALLENGE}".replace('"auth"', '"auth-int"'))
    had = 2 * size <= 32767  # each of these characters is two bytes of UTF-8
    assert (len(pbx.relayed), pbx.replies) == ((2, []) if had else (1, [FAILED]))


MEANWHILE = {
    "it leads elsewhere": ("auth_proxy = 'sip:elsewhere.test'", "not asked by the trunk's carrier"),
    "it cannot be used": ("auth_ha1 = 'x'", "no trunk that may answer"),
}


@pytest.mark.parametrize(("change", "reason"), MEANWHILE.values(), ids=MEANWHILE)
def test_a_row_that_has_changed_by_now_503(
    pbx: MockKSR,
    routes: Handlers,
    send: Send,
    database: Settings,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    reason: str,
) -> None:
    monkeypatch.setattr("kemi.trunks.local.FRESH_FOR", 0)
    send(request())
    copied(database, f"UPDATE uacreg SET {change} WHERE l_uuid = 'berlin'")
    challenge(pbx, routes)
    before = "auth_proxy = 'sip:sbc.carrier.test', auth_ha1 = ''"
    copied(database, f"UPDATE uacreg SET {before} WHERE l_uuid = 'berlin'")
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])
    assert any(f"reason={word(reason)}" in line for _, line in pbx.log)


def test_a_challenge_that_is_not_utf8_503(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    with pbx.failure_route(407, "No", [b'Proxy-Authenticate: Digest realm="\xff", nonce="n"']) as route:
        getattr(routes, route)(None)
    assert pbx.replies == [FAILED]


def test_a_next_hop_that_has_gone_away_meanwhile_503(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    pbx.world.unreachable.add(SBC)
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [FAILED])


def test_a_cancelled_call_is_left_alone(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    pbx.world.cancelled = True
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (1, [Reply(487, "Request Terminated")])


def test_a_503_is_passed_on_as_503(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    fail(pbx, routes, 503, "Retry-After: 7 (soon)")
    assert pbx.replies == [Reply(503, "No")]  # Kamailio would make a 500 of it
    assert pbx.replies[0].headers == ("Retry-After: 7",)


@pytest.mark.parametrize("code", [404, 486, 500, 603])
def test_anything_else_is_passed_on(pbx: MockKSR, routes: Handlers, send: Send, code: int) -> None:
    send(request())
    fail(pbx, routes, code)
    assert pbx.replies == [Reply(code, "No", passed_on=True)]


def test_a_silent_carrier_408(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    with pbx.timeout() as route:
        getattr(routes, route)(None)
    assert [reply.code for reply in pbx.replies] == [408]
