"""The uac module's own REGISTERs, over the mocked KSR: what it sees of the replies."""

from __future__ import annotations

import pytest

from kemi.handlers import Handlers
from tests.flow.scene import raising, request
from tests.ksr.mock import MockKSR

PLAIN = 'Digest realm="carrier", nonce="n1", qop="auth"'
LETHAL = PLAIN.replace('"auth"', '" auth"')
SHA_256 = f"{PLAIN}, algorithm=SHA-256"
EDITS = {"hdr.remove": 1, "hdr.append": 1, "textopsx.msg_apply_changes": 1, "textopsx.change_reply_status": 1}


@pytest.fixture
def registering(ksr: MockKSR, routes: Handlers) -> MockKSR:
    """A Kamailio whose uac module has sent a REGISTER."""
    for path, answer in EDITS.items():
        ksr.answer(path, answer)
    ksr.receive(request("REGISTER"))
    assert routes.LOCAL_REQUEST(None, "tm:local-request") == 1
    ksr.tm.t_relay()
    return ksr


def screened(ksr: MockKSR, routes: Handlers, code: int, *headers: str | bytes) -> dict[str, list[tuple[object, ...]]]:
    """Return the edits of a reply, by the function that made them."""
    ksr.calls.clear()
    with ksr.reply_route(code, "So", headers) as route:
        assert getattr(routes, route)(None) == 1
    return {path: calls for path in EDITS if (calls := ksr.called(path))}


@pytest.mark.parametrize(
    ("message", "edits"),
    [
        (request("OPTIONS", to_tag="b"), ["CSeq: 0 OPTIONS\r\n"]),  # a keepalive takes no number from the callee
        (request("OPTIONS"), []),
        (request("BYE", to_tag="b"), []),
    ],
)
def test_only_registers_are_screened(ksr: MockKSR, routes: Handlers, message: str, edits: list[str]) -> None:
    ksr.receive(message)
    assert routes.LOCAL_REQUEST(None, "tm:local-request") == 1
    assert ksr.armed == {}
    assert [text for (text,) in ksr.called("hdr.append")] == edits
    assert ksr.called("hdr.remove") == [("CSeq",)] * len(edits)


@pytest.mark.parametrize("reply", [(200,), (403, f"WWW-Authenticate: {LETHAL}"), (401, f"WWW-Authenticate: {PLAIN}")])
def test_what_is_harmless_is_seen_as_it_is(
    registering: MockKSR, routes: Handlers, reply: tuple[int, *tuple[str, ...]]
) -> None:
    assert screened(registering, routes, *reply) == {}


@pytest.mark.parametrize(("code", "name"), [(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")])
def test_a_challenge_that_is_not_plain_is_written_anew(
    registering: MockKSR, routes: Handlers, code: int, name: str
) -> None:
    fields = (f"{name}: {SHA_256}", f"{name}: \xff".encode("latin-1"), f"{name}: {LETHAL}")
    assert screened(registering, routes, code, *fields) == {
        "hdr.remove": [(name,)],
        "hdr.append": [(f"{name}: {PLAIN}\r\n",)],
        "textopsx.msg_apply_changes": [()],
    }


@pytest.mark.parametrize("fields", [(), (f"WWW-Authenticate: {SHA_256}",), (b"WWW-Authenticate: \xff",)])
def test_what_has_no_plain_form_is_no_challenge_any_more(
    registering: MockKSR, routes: Handlers, fields: tuple[str | bytes, ...]
) -> None:
    edits = screened(registering, routes, 401, *fields)
    assert edits == {"textopsx.change_reply_status": [(488, "Not Acceptable Here")]}
    (line,) = [line for level, line in registering.log if level == "warn"]
    assert line.startswith('register=sip:4930123@192.0.2.1 outcome=refused reason="no challenge')


def test_one_that_cannot_be_written_anew_neither(registering: MockKSR, routes: Handlers) -> None:
    registering.answer("textopsx.msg_apply_changes", -1)
    edits = screened(registering, routes, 401, f"WWW-Authenticate: {LETHAL}")
    assert edits["textopsx.change_reply_status"] == [(488, "Not Acceptable Here")]


def test_after_a_fault_it_is_none_either(registering: MockKSR, routes: Handlers) -> None:
    registering.answer("hdr.remove", raising(RuntimeError()))
    edits = screened(registering, routes, 401, f"WWW-Authenticate: {LETHAL}")
    assert edits["textopsx.change_reply_status"] == [(500, "Internal Server Error")]


# --- challenges that are answered here: of the trunk berlin, with which the module registers

BERLINS = request("REGISTER", uri="sip:carrier.test", headers="Contact: <sip:berlin@192.0.2.1:5060>\r\n")
MODULES = "Authorization: Digest the module's\r\n"
DECOY = 'Digest realm="carrier", nonce="-"'


@pytest.fixture
def berlin(ksr: MockKSR, routes: Handlers) -> MockKSR:
    """A Kamailio whose uac module has sent a REGISTER of the trunk berlin."""
    for path, answer in EDITS.items():
        ksr.answer(path, answer)
    ksr.world.carrier = "192.0.2.50"
    sent(ksr, routes, BERLINS)
    return ksr


def sent(ksr: MockKSR, routes: Handlers, message: str) -> list[str]:
    """The module sends a request; return the header fields that we add."""
    ksr.receive(message)
    ksr.calls.clear()
    assert routes.LOCAL_REQUEST(None, "tm:local-request") == 1
    added = [str(text) for (text,) in ksr.called("hdr.append")]
    assert ksr.called("hdr.remove") == ([("Authorization",), ("Proxy-Authorization",)] if added else [])
    ksr.tm.t_relay()
    return added


@pytest.mark.parametrize("algorithm", ["SHA-256", "SHA-512-256", "MD5-sess"])
def test_a_stronger_challenge_is_answered_in_place_of_the_module(
    berlin: MockKSR, routes: Handlers, algorithm: str
) -> None:
    fields = [f"WWW-Authenticate: {PLAIN}, algorithm={algorithm}"]
    edits = screened(berlin, routes, 401, *fields)
    assert edits["hdr.append"] == [(f"WWW-Authenticate: {DECOY}\r\n",)]
    (answer,) = sent(berlin, routes, BERLINS.replace("Contact:", f"{MODULES}Contact:"))
    assert answer.startswith(
        'Authorization: Digest username="u4711", realm="carrier", nonce="n1", uri="sip:carrier.test"'
    )
    assert answer.endswith(f"algorithm={algorithm}\r\n")
    assert sent(berlin, routes, BERLINS) == []  # the next one is not answered ahead


def test_the_strongest_of_several_is_answered(berlin: MockKSR, routes: Handlers) -> None:
    edits = screened(berlin, routes, 407, f"Proxy-Authenticate: {PLAIN}", f"Proxy-Authenticate: {SHA_256}")
    assert edits["hdr.append"] == [(f"Proxy-Authenticate: {DECOY}\r\n",)]
    (answer,) = sent(berlin, routes, BERLINS)
    assert answer.startswith("Proxy-Authorization: ")
    assert answer.endswith("algorithm=SHA-256\r\n")


def test_nobody_but_the_trunks_next_hop_is_answered_here(berlin: MockKSR, routes: Handlers) -> None:
    berlin.world.carrier = "192.0.2.51"  # where the module's row leads, after ours was changed
    edits = screened(berlin, routes, 401, f"WWW-Authenticate: {SHA_256}")
    assert edits["textopsx.change_reply_status"] == [(488, "Not Acceptable Here")]
    assert sent(berlin, routes, BERLINS) == []


def test_what_the_module_did_not_send_is_not_kept(berlin: MockKSR, routes: Handlers) -> None:
    screened(berlin, routes, 401, f"WWW-Authenticate: {SHA_256}")
    screened(berlin, routes, 200)
    assert sent(berlin, routes, BERLINS) == []


@pytest.mark.parametrize(("code", "asked", "answered"), [
    (401, "Proxy-Authenticate", "Proxy-Authorization"), (407, "WWW-Authenticate", "Authorization"),
])  # fmt: skip
def test_the_header_that_was_asked_for_is_answered(
    berlin: MockKSR, routes: Handlers, code: int, asked: str, answered: str
) -> None:
    """The module would answer by the one that goes with the status."""
    screened(berlin, routes, code, f"{asked}: {PLAIN}")
    (answer,) = sent(berlin, routes, BERLINS)
    assert answer.startswith(f'{answered}: Digest username="u4711", realm="carrier", nonce="n1"')


def test_challenges_of_both_kinds_are_both_answered(berlin: MockKSR, routes: Handlers) -> None:
    """The module would answer the one that goes with the status."""
    screened(berlin, routes, 401, f"WWW-Authenticate: {PLAIN}", f"Proxy-Authenticate: {PLAIN}")
    assert [answer.partition(":")[0] for answer in sent(berlin, routes, BERLINS)] == [
        "Authorization",
        "Proxy-Authorization",
    ]


def test_octets_that_are_not_utf8_go_back_as_they_came(berlin: MockKSR, routes: Handlers) -> None:
    screened(berlin, routes, 401, f'WWW-Authenticate: {PLAIN}, opaque="\xe9"'.encode("latin-1"))
    berlin.receive(BERLINS)
    assert routes.LOCAL_REQUEST(None, "tm:local-request") == 1
    berlin.tm.t_relay()
    assert b'opaque="\xe9"' in berlin.relayed[-1].message.values("Authorization")[0]


def test_a_nonce_that_comes_again_is_counted_on(berlin: MockKSR, routes: Handlers) -> None:
    """The module would say nc=00000001 once more."""
    assert screened(berlin, routes, 401, f"WWW-Authenticate: {PLAIN}") == {}
    sent(berlin, routes, BERLINS)
    screened(berlin, routes, 401, f"WWW-Authenticate: {PLAIN}")
    (answer,) = sent(berlin, routes, BERLINS)
    assert ", nc=00000002, " in answer


def test_md5_is_the_modules(berlin: MockKSR, routes: Handlers) -> None:
    assert screened(berlin, routes, 401, f"WWW-Authenticate: {PLAIN}") == {}
    assert sent(berlin, routes, BERLINS) == []


def test_another_trunks_register_gets_no_answer(berlin: MockKSR, routes: Handlers) -> None:
    screened(berlin, routes, 401, f"WWW-Authenticate: {SHA_256}")
    assert sent(berlin, routes, BERLINS.replace("berlin", "bob")) == []


def test_an_answer_that_is_refused_is_not_given_again(berlin: MockKSR, routes: Handlers) -> None:
    screened(berlin, routes, 401, f"WWW-Authenticate: {SHA_256}")
    sent(berlin, routes, BERLINS)
    edits = screened(berlin, routes, 401, f"WWW-Authenticate: {SHA_256}")
    assert edits == {"textopsx.change_reply_status": [(488, "Not Acceptable Here")]}


@pytest.mark.parametrize(("field", "reason"), [
    (SHA_256.replace("carrier", "other"), "realm not the trunk's"),
    (f"{PLAIN}, algorithm=AKAv1-MD5", "no secret, algorithm or qop for it"),
])  # fmt: skip
def test_a_refusal_says_why(berlin: MockKSR, routes: Handlers, field: str, reason: str) -> None:
    edits = screened(berlin, routes, 401, f"WWW-Authenticate: {field}")
    assert edits == {"textopsx.change_reply_status": [(488, "Not Acceptable Here")]}
    (line,) = [line for level, line in berlin.log if level == "warn"]
    assert f'outcome=refused reason="{reason}"' in line
