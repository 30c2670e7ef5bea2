"""The checkers checked: a hand-made wrong sequence for every rule, and the fault that it must be given."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.live import message
from tests.live.caller import Caller
from tests.live.carrier import Carrier, Script
from tests.live.message import MalformedError, Message, auth_params, parse, split_stream
from tests.live.nonces import A_WHILE, FOR_EVER, LIFE, ONCE, ONE_REQUEST, WHILE_COUNTED_UP, Nonces
from tests.live.rules import RequestRules, ResponseRules
from tests.live.verifier import ACCEPTED, MISSING, STALE, USED_UP, WRONG, Challenge, Offer, Verifier

PROXY_VIA = "SIP/2.0/UDP 127.0.0.1:5060;branch="
PBX_VIA = "SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bKpbx"
CREDENTIALS = 'Digest username="u", realm="carrier.test", nonce="n", uri="sip:1@c.test", response="r"'


def invite(branch: str = "z9hG4bK1", number: int = 1, method: str = "INVITE", to_tag: str = "") -> Message:
    """A request as the proxy should relay it."""
    return message.request(
        method,
        "sip:1@c.test",
        [
            ("Record-Route", "<sip:127.0.0.1:5060;lr>"),
            ("Via", PROXY_VIA + branch),
            ("Via", PBX_VIA),
            ("Max-Forwards", "69"),
            ("From", "<sip:100@pbx.test>;tag=a"),
            ("To", "<sip:1@c.test>" + to_tag),
            ("Call-ID", "call-1"),
            ("CSeq", f"{number} {method}"),
        ],
    )


def hop(method: str, of: Message, answered: Message | None = None) -> Message:
    """The ACK of a failure or the CANCEL that belongs to a request."""
    copied = [(n, v) for n, v in of.headers if n in ("From", "To", "Call-ID")]
    built = message.request(method, of.uri, [("Via", of.vias[0]), *copied, ("CSeq", f"{of.cseq[0]} {method}")])
    return built.with_header("To", answered.first("To")) if answered else built


def response(to: Message, status: int) -> Message:
    return message.response(to, status, "Reason", "b")


def faults_of(*messages: Message) -> str:
    """Feed the rules: requests as received, responses as given."""
    rules = RequestRules(["carrier.test"])
    for each in messages:
        (rules.answered if each.is_response else rules.received)(each)
    return "\n".join(rules.faults)


FIRST, SECOND = invite(), invite("z9hG4bK2", 2)
CHALLENGE, BUSY, OK, RINGING = (
    response(FIRST, 407),
    response(FIRST, 486),
    response(FIRST, 200),
    response(FIRST, 180),
)
ACK_OF_OK = invite("z9hG4bK9", 1, "ACK", ";tag=b")
CANCEL = hop("CANCEL", FIRST)
TEXT = invite(method="MESSAGE")
BINARY = b"\xff\x00\xfe"
ENTITY = hashlib.md5(BINARY).hexdigest()
RELIABLE = RINGING.with_header("RSeq", "1")


def prack(rack: str) -> Message:
    return invite("z9hG4bK5", 2, "PRACK", ";tag=b").with_header("RAck", rack)


@pytest.mark.parametrize(
    "sequence",
    [
        [FIRST, FIRST],
        [
            FIRST,
            CHALLENGE,
            hop("ACK", FIRST, CHALLENGE),
            SECOND,
            response(SECOND, 200),
            invite("z9hG4bK3", 2, "ACK", ";tag=b"),
        ],
        [FIRST, BUSY, hop("ACK", FIRST, BUSY)],
        [FIRST, OK, ACK_OF_OK, ACK_OF_OK, invite("z9hG4bK3", 2, "BYE", ";tag=b")],
        [FIRST, RINGING, CANCEL],
        [FIRST.with_header("Proxy-Authorization", CREDENTIALS)],
        [TEXT, response(TEXT, 407), invite("z9hG4bK2", 1, "MESSAGE")],
        [FIRST, RELIABLE, prack("1 1 INVITE")],
    ],
)
def test_a_sound_sequence_has_no_fault(sequence: list[Message]) -> None:
    assert faults_of(*sequence) == ""


def _edit(of: Message, name: str, value: str) -> Message:
    return of.with_header(name, value)


def _uri(of: Message, uri: str) -> Message:
    return message.request(of.method, uri, of.headers, of.body)


@pytest.mark.parametrize(
    ("sequence", "fault"),
    [
        ([FIRST, _edit(FIRST, "Subject", "other")], "retransmission that differs"),
        ([FIRST, invite("z9hG4bK1", 2)], "branch reused"),
        ([invite("1234")], "magic cookie"),
        ([FIRST, BUSY, invite("z9hG4bK2", 1)], "CSeq 1 is not greater than 1"),
        ([TEXT, response(TEXT, 407), invite("z9hG4bK2", 2, "MESSAGE")], "resend is not 0 more than 1"),
        ([FIRST, RELIABLE, prack("1 2 INVITE")], "RAck '1 2 INVITE' names none of ['1 1 INVITE']"),
        ([FIRST, RINGING, prack("1 1 INVITE")], "RAck '1 1 INVITE' names none of []"),
        ([FIRST, CHALLENGE, invite("z9hG4bK2", 1)], "resend is not 1 more than 1"),
        ([FIRST, CHALLENGE, invite("z9hG4bK2", 3)], "resend is not 1 more than 1"),
        ([FIRST, CHALLENGE, invite("z9hG4bK2", 2, to_tag=";tag=b")], "To of the resend"),
        ([FIRST, CHALLENGE, _edit(SECOND, "From", "<sip:x@pbx.test>;tag=a")], "From of the resend"),
        (
            [FIRST, CHALLENGE, message.request("INVITE", FIRST.uri, SECOND.headers, b"x")],
            "body of the resend",
        ),
        (
            [SECOND, response(SECOND, 200), invite("z9hG4bK3", 1, "BYE", ";tag=b")],
            "CSeq 1 is not greater than 2",
        ),
        ([FIRST, BUSY, invite("z9hG4bK9", 1, "ACK", ";tag=b")], "without the branch of its INVITE"),
        (
            [FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "CSeq", "2 ACK")],
            "CSeq 2 is not that of the INVITE, 1",
        ),
        ([FIRST, BUSY, _uri(hop("ACK", FIRST, BUSY), "sip:2@c.test")], "R-URI sip:2@c.test"),
        ([FIRST, BUSY, hop("ACK", FIRST)], "To tag is not that of the 486"),
        (
            [FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "Route", "<sip:x;lr>")],
            "Route is not that of the INVITE",
        ),
        ([FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "Via", PROXY_VIA + "z9hG4bK7")], "the branch of no INVITE"),
        ([FIRST, hop("ACK", FIRST)], "ACK before any final response"),
        ([FIRST, OK, hop("ACK", FIRST, OK)], "with the branch of its INVITE"),
        ([FIRST, OK, _edit(ACK_OF_OK, "CSeq", "2 ACK")], "CSeq 2, but the INVITE accepted has CSeq 1"),
        ([FIRST, OK, _edit(ACK_OF_OK, "To", "<sip:1@c.test>;tag=z")], "To tag is not that of the 2xx"),
        ([ACK_OF_OK], "ACK of no INVITE"),
        ([FIRST, RINGING, _edit(CANCEL, "Via", PROXY_VIA + "z9hG4bK7")], "branch of no INVITE"),
        ([FIRST, RINGING, _edit(CANCEL, "CSeq", "2 CANCEL")], "CSeq 2 is not that of the INVITE, 1"),
        ([FIRST, RINGING, _uri(CANCEL, "sip:2@c.test")], "R-URI sip:2@c.test"),
        ([FIRST, RINGING, _edit(CANCEL, "To", "<sip:1@c.test>;tag=b")], "To is not that of the INVITE"),
        (
            [FIRST, RINGING, _edit(CANCEL, "From", "<sip:100@pbx.test>;tag=q")],
            "From is not that of the INVITE",
        ),
        ([FIRST, CANCEL], "before any provisional response"),
        ([_edit(FIRST, "Max-Forwards", "70")], "Max-Forwards 70, 70 was sent"),
        ([FIRST.without("Max-Forwards")], "no Max-Forwards"),
        ([_edit(FIRST, "Via", PROXY_VIA + "z9hG4bK1")], "1 Via"),
        ([FIRST.without("Record-Route")], "no Record-Route"),
        ([_edit(FIRST, "Route", "<sip:127.0.0.1:5060;lr>")], "a Route is left over"),
        ([_edit(FIRST, "X-Trunk", "t1")], "X-Trunk reached"),
        ([_edit(FIRST, "P-K-CSeq-Auth", "2")], "P-K-CSeq-Auth reached"),
        ([_edit(FIRST, "P-K-CSeq-Refresh", "2")], "P-K-CSeq-Refresh reached"),
        ([FIRST, BUSY, _edit(hop("ACK", FIRST, BUSY), "P-K-CSeq-Auth", "2")], "P-K-CSeq-Auth reached"),
        (
            [_edit(FIRST, "Authorization", CREDENTIALS.replace("carrier.test", "pbx.test"))],
            "'pbx.test', which is not ours",
        ),
        (
            [_edit(FIRST, "Authorization", CREDENTIALS).with_header("Authorization", CREDENTIALS), FIRST],
            "retransmission that differs",
        ),
        ([_edit(FIRST, "Authorization", "Basic abc")], "scheme 'Basic' is not Digest"),
    ],
)
def test_every_fault_of_a_request_is_named(sequence: list[Message], fault: str) -> None:
    assert fault in faults_of(*sequence)


def test_two_credentials_for_one_realm_are_a_fault() -> None:
    both = message.request("INVITE", FIRST.uri, [*FIRST.headers, *[("Proxy-Authorization", CREDENTIALS)] * 2])
    assert "more than one Proxy-Authorization for realm 'carrier.test'" in faults_of(both)


SENT = message.request("INVITE", "sip:1@c.test", invite().without("Via", "Record-Route").headers).with_header(
    "Via", PBX_VIA
)
ACCEPTING = response(SENT, 200).with_header("Contact", "<sip:c@c.test>").with_header("Record-Route", "<sip:p;lr>")
TAGLESS = "<sip:1@c.test>"


@pytest.mark.parametrize(
    ("received", "fault"),
    [
        ([response(SENT, 180), ACCEPTING, ACCEPTING], ""),
        ([response(SENT, 407)], "a challenge reached this end"),
        (
            [_edit(response(SENT, 503), "Proxy-Authenticate", "Digest realm=x")],
            "Proxy-Authenticate reached this end",
        ),
        ([_edit(ACCEPTING, "CSeq", "2 INVITE")], "CSeq is not that of the request, 1 INVITE"),
        ([_edit(ACCEPTING, "Call-ID", "call-2")], "Call-ID is not that of the request"),
        ([_edit(ACCEPTING, "From", "<sip:x@pbx.test>;tag=a")], "From is not that of the request"),
        ([response(invite().with_header("Via", f"{PBX_VIA}, {PROXY_VIA}z9hG4bK1"), 486)], "2 Via"),
        ([_edit(ACCEPTING, "Via", PROXY_VIA + "z9hG4bK8")], "answers no request of ours"),
        ([_edit(response(SENT, 486), "To", TAGLESS)], "no To tag"),
        ([response(SENT, 180), _edit(ACCEPTING, "To", TAGLESS + ";tag=c")], "To tag changed"),
        ([response(SENT, 486), response(SENT, 503)], "second final response, after 486"),
        ([ACCEPTING, response(SENT, 180)], ""),
        ([ACCEPTING.without("Contact")], "no Contact"),
        ([ACCEPTING.without("Record-Route")], "no Record-Route"),
    ],
)
def test_every_fault_of_a_response_is_named(received: list[Message], fault: str) -> None:
    rules = ResponseRules()
    rules.sent(SENT)
    for each in received:
        rules.received(each)
    assert (fault in "\n".join(rules.faults)) if fault else rules.faults == []


def test_a_response_in_a_dialog_keeps_the_to_tag() -> None:
    rules = ResponseRules()
    bye = (
        message.request("BYE", "sip:1@c.test", SENT.headers)
        .with_header("CSeq", "2 BYE")
        .with_header("To", TAGLESS + ";tag=b")
    )
    rules.sent(bye)
    rules.received(response(bye, 200).with_header("To", TAGLESS + ";tag=c"))
    assert "To tag is not that of the dialog" in rules.faults[0]


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"OPTIONS sip:x SIP/2.0\r\n", "no empty line"),
        (b"OPTIONS sip:x SIP/2.0\nVia: x\r\n\r\n", "CRLF"),
        (b"OPTIONS sip:x\r\n\r\n", "not a start line"),
        (FIRST.encode().replace(b"\r\nTo:", b"\r\nTo:x\r\nTo:"), "2 To headers"),
        (FIRST.encode().replace(b"Call-ID", b"Bad Name"), "not a header"),
        (FIRST.encode().replace(b"1 INVITE", b"1 BYE"), "CSeq names BYE in a INVITE"),
        (FIRST.encode().replace(b"Content-Length: 0", b"Content-Length: 4"), "but the body has 0 bytes"),
        (FIRST.encode().replace(b"\r\nTo:", b"\r\n To:"), "folded"),
        (FIRST.encode().replace(b"From:", b"From: \xff"), "UTF-8"),
        (FIRST.encode().replace(b"CSeq: 1 ", b"CSeq: 2147483648 "), "CSeq '2147483648"),
        (FIRST.encode().replace(b";branch=", b";b="), "Via without branch"),
    ],
)
def test_what_is_no_sip_message_is_refused(octets: bytes, complaint: str) -> None:
    with pytest.raises(MalformedError, match=complaint):
        parse(octets)


def test_a_message_survives_the_wire() -> None:
    sent = message.request(
        "INVITE", "sip:1@c.test", [*FIRST.headers, ("Content-Type", "text/plain")], b"\x00\r\n\r\nbody"
    )
    assert parse(sent.encode()).without("Content-Length") == sent
    assert parse(sent.encode()).first("content-length") == "9"


def test_compact_header_names_and_lists_are_read() -> None:
    compact = FIRST.encode().replace(b"\r\nVia: SIP/2.0/UDP 127.0.0.1:5080", b", SIP/2.0/UDP 127.0.0.1:5080")
    assert parse(compact.replace(b"Via:", b"v:")).vias == FIRST.vias


def test_a_stream_is_cut_at_content_length() -> None:
    octets = FIRST.encode() + BUSY.encode()
    whole, rest = split_stream(b"\r\n\r\n" + octets + b"SIP/2.0 180")
    assert whole == FIRST.encode()
    assert split_stream(rest) == (BUSY.encode(), b"SIP/2.0 180")
    assert split_stream(octets[:40]) == (b"", octets[:40])


def test_digest_parameters_keep_their_commas_and_quotes() -> None:
    assert auth_params('Digest realm="a, \\"b\\"", qop=auth ,nc=00000001') == {
        "realm": 'a, "b"',
        "qop": "auth",
        "nc": "00000001",
    }


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


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_caller_and_a_carrier_with_no_proxy_between_them(transport: str) -> None:
    """What a proxy would have added is missing, and that alone is held against the caller."""
    with (
        Carrier(Script(), {}, transport=transport) as carrier,
        Caller(carrier.address, transport=transport) as caller,
    ):
        call = caller.invite("sip:1@c.test")
        call.expect(180)
        call.expect(200)
        carrier.expect_acks()
        call.inside("BYE").expect(200)
        assert [each.method for each in (carrier.expect("ACK"), carrier.expect("BYE"))] == ["ACK", "BYE"]
        assert {fault.split(": ", 1)[1] for fault in carrier.faults} == {
            "1 Via", "Max-Forwards 70, 70 was sent", "no Record-Route",
            "made by the proxy, with the branch of no INVITE",
        }  # fmt: skip
        assert {fault.split(": ", 1)[1] for fault in caller.faults} == {"no Record-Route"}


def test_a_wait_that_fails_shows_the_messages() -> None:
    with Carrier(Script(final=486), {}) as carrier, Caller(carrier.address) as caller:
        call = caller.invite("sip:1@c.test")
        with pytest.raises(
            AssertionError, match=r"(?s)200 was expected, SIP/2.0 486.*INVITE sip:1@c.test.*180 Ringing"
        ):
            call.expect(200)
        with pytest.raises(AssertionError, match=r"(?s)not seen within 0.05 s: BYE number 1.*CSeq 1 INVITE"):
            carrier.expect("BYE", within=0.05)


def test_a_2xx_is_repeated_until_its_ack_comes() -> None:
    """The caller is one that never reads: only its INVITE is put on the wire."""
    with Carrier(Script(ring=False), {}) as carrier, Caller(carrier.address) as caller:
        carrier.send_bytes(b"", caller.address)
        caller.responses.sent(SENT)
        caller.send(SENT, carrier.address)
        caller.wait("200 repeated", lambda: len([s for s in caller.trace if s.message.status == 200]) >= 2)
