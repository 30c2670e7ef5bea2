"""The mock's branch, reply and failure routes: what they see, what they can change, and what is refused there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ksr.mock import MockKSR
from tests.ksr.state import MisuseError, Reply

INVITE = """\
INVITE sip:5550100@carrier.example SIP/2.0
Max-Forwards: 10
From: <sip:alice@pbx.example>;tag=ft1
To: <sip:5550100@pbx.example>
Call-ID: c-1
CSeq: 1 INVITE
User-Agent: probe
Content-Length: 0

"""
CHALLENGE = 'Proxy-Authenticate: Digest realm="car", nonce="n1"'
CARRIER = "203.0.113.5"


class Handlers:
    """The branch route does what a test says, and counts its runs."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do = do
        self.runs = 0

    def BRANCH(self, _message: object) -> None:
        self.runs += 1
        self.do()


@pytest.fixture
def ksr(ksr: MockKSR, ksr_version: str) -> MockKSR:  # asked for by name: pytest 8 sees none behind the other ksr
    """With an INVITE in it."""
    ksr.receive(INVITE)
    return ksr


def relay(ksr: MockKSR, in_the_branch: Callable[[], object] = lambda: None) -> Handlers:
    """Relayed with all three routes armed."""
    handlers = ksr.handlers = Handlers(in_the_branch)
    ksr.tm.t_on_branch("BRANCH")
    ksr.tm.t_on_reply("REPLY")
    ksr.tm.t_on_failure("FAIL")
    assert ksr.tm.t_relay() == 1
    return handlers


def relay_again(ksr: MockKSR) -> None:
    ksr.tm.t_on_failure("FAIL")
    ksr.pv.sets("$ru", ksr.pv.get("$ru"))
    assert ksr.tm.t_relay() == 1


# --- branch routes


def test_edits_of_a_branch_route_leave_with_that_branch_alone(ksr: MockKSR) -> None:
    def edit() -> None:
        ksr.hdr.append("X-Branch: b\r\n")
        ksr.hdr.remove("User-Agent")

    ksr.hdr.append("X-Request: r\r\n")
    handlers = relay(ksr, edit)
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        relay_again(ksr)
    first, second = (relayed.message for relayed in ksr.relayed)
    assert (first.get("X-Request"), first.get("X-Branch"), first.get("User-Agent")) == ("r", "b", None)
    assert (second.get("X-Request"), second.get("X-Branch"), second.get("User-Agent")) == ("r", None, "probe")
    assert handlers.runs == 1


def test_branch_route_is_armed_for_one_relay(ksr: MockKSR) -> None:
    handlers = relay(ksr)
    assert "branch" not in ksr.armed
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        ksr.tm.t_on_branch("BRANCH")
        relay_again(ksr)
    assert handlers.runs == 2


def test_branch_route_runs_before_it_shows_that_nothing_can_be_sent(ksr: MockKSR) -> None:
    ksr.world.unreachable.add("sip:192.0.2.50")
    handlers = ksr.handlers = Handlers(lambda: None)
    ksr.setdsturi("sip:192.0.2.50")
    ksr.tm.t_on_branch("BRANCH")
    assert ksr.tm.t_relay() < 0
    assert (handlers.runs, ksr.armed, ksr.relayed) == (1, {}, [])


def test_relay_without_a_new_branch_disarms_the_branch_route_unrun(ksr: MockKSR) -> None:
    handlers = relay(ksr)
    with ksr.failure_route(407):
        ksr.tm.t_on_branch("BRANCH")
        assert ksr.tm.t_relay() == -1
        assert "branch" not in ksr.armed
    assert handlers.runs == 1


def test_avps_and_dialog_variables_of_a_branch_route_last(ksr: MockKSR) -> None:
    def note() -> None:
        assert ksr.pv.get("$avp(request)") == "r"
        ksr.pv.sets("$avp(branch)", "b")
        ksr.pv.sets("$dlg_var(branch)", "b")

    ksr.pv.sets("$avp(request)", "r")
    relay(ksr, note)
    with ksr.failure_route(407):
        assert ksr.pv.get("$avp(branch)") == "b"
        assert ksr.pv.get("$dlg_var(branch)") == "b"


@pytest.mark.parametrize(
    "misuse",
    [
        lambda ksr: ksr.tm.t_relay(),
        lambda ksr: ksr.sl.send_reply(500, "x"),
        lambda ksr: ksr.tm.t_on_failure("FAIL"),
        lambda ksr: ksr.setdsturi("sip:192.0.2.50"),
        lambda ksr: ksr.pv.sets("$ru", "sip:other@carrier.example"),
        lambda ksr: ksr.pv.unset("$du"),
    ],
)
def test_what_nobody_has_tried_in_a_branch_route_raises(ksr: MockKSR, misuse: Callable[[MockKSR], object]) -> None:
    with pytest.raises(MisuseError, match="branch route"):
        relay(ksr, lambda: misuse(ksr))


# --- reply routes


def test_reply_route_reads_the_reply(ksr: MockKSR) -> None:
    relay(ksr)
    info: list[str | bytes] = ['Authentication-Info: nextnonce="n2"', b"X-Latin: caf\xe9"]
    with ksr.reply_route(200, "OK", info) as route:
        assert route == "REPLY"
        assert (ksr.pv.get("$rs"), ksr.pv.get("$rr"), ksr.pv.get("$T_reply_code")) == (200, "OK", 200)
        assert ksr.pv.get("$si") == CARRIER
        assert (ksr.pv.get("$ci"), ksr.pv.get("$rm")) == ("c-1", "INVITE")
        assert ksr.pv.get("$hdr(Authentication-Info)") == 'nextnonce="n2"'
        assert ksr.pv.get("$hdr(Proxy-Authentication-Info)") is None
        assert ksr.pv.get("$hdr(User-Agent)") is None  # the request had one
        with pytest.raises(UnicodeDecodeError):
            ksr.pv.get("$hdr(X-Latin)")


def test_reply_route_is_armed_for_every_branch_that_follows(ksr: MockKSR) -> None:
    relay(ksr)
    ksr.pv.sets("$avp(round)", "1")
    with ksr.reply_route(407, "Auth", [CHALLENGE]):
        assert ksr.pv.get("$avp(round)") == "1"
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        ksr.pv.sets("$avp(round)", "2")
        relay_again(ksr)
    with ksr.reply_route(200, "OK") as route:
        assert route == "REPLY"
        assert ksr.pv.get("$avp(round)") == "2"


def test_reply_route_that_is_armed_after_the_relay_is_too_late(ksr: MockKSR) -> None:
    assert ksr.tm.t_relay() == 1
    ksr.tm.t_on_reply("REPLY")
    with pytest.raises(MisuseError, match="no reply route"), ksr.reply_route(200):
        pass


def test_failure_route_still_sees_the_request_after_a_reply_route(ksr: MockKSR) -> None:
    relay(ksr)
    with ksr.reply_route(407, "Auth", [CHALLENGE]):
        pass
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        assert (ksr.pv.get("$rs"), ksr.pv.get("$si")) == (None, "198.51.100.7")
        assert ksr.pv.get("$hdr(Proxy-Authenticate)") is None
        assert ksr.pv.get("$hdr(User-Agent)") == "probe"


def test_request_is_at_hand_again_after_a_reply_route(ksr: MockKSR) -> None:
    relay(ksr)
    with ksr.reply_route(183, "Progress"):
        assert ksr.pv.get("$hdr(User-Agent)") is None
    assert ksr.pv.get("$hdr(User-Agent)") == "probe"
    assert ksr.pv.get("$ru") == "sip:5550100@carrier.example"


def test_caller_gets_provisional_replies_and_a_success(ksr: MockKSR) -> None:
    relay(ksr)
    for code in (100, 183, 200):
        with ksr.reply_route(code, "x"):
            pass
    assert ksr.replies == [Reply(183, "x", passed_on=True), Reply(200, "x", passed_on=True)]
    with pytest.raises(MisuseError, match="not relayed"), ksr.failure_route(486):
        pass


def test_failure_is_the_failure_routes_to_pass_on(ksr: MockKSR) -> None:
    relay(ksr)
    with ksr.reply_route(486, "Busy"):
        pass
    assert ksr.replies == []
    with ksr.failure_route(486, "Busy"):
        pass
    assert ksr.replies == [Reply(486, "Busy", passed_on=True)]


@pytest.mark.parametrize("code", [183, 200, 486])
def test_edits_of_a_reply_route_are_for_the_caller_alone(ksr: MockKSR, code: int) -> None:
    def number() -> None:
        ksr.hdr.remove("CSeq")
        ksr.hdr.append("CSeq: 7 INVITE\r\n")

    relay(ksr, number)
    with ksr.reply_route(code, "x"):
        assert (ksr.pv.get("$cs"), ksr.pv.get("$T_req($hdr(CSeq))")) == ("7", "1 INVITE")
        ksr.hdr.remove("CSeq")
        ksr.hdr.append(f"CSeq: {ksr.pv.get('$T_req($hdr(CSeq))')}\r\n")
        assert ksr.pv.get("$cs") == "7"
    if code >= 300:
        with ksr.failure_route(code, "x"):
            assert ksr.pv.get("$cs") == "1"
    assert [reply.cseq for reply in ksr.replies] == ["1 INVITE"]


def test_reply_without_a_reply_route_has_the_cseq_that_was_sent(ksr: MockKSR) -> None:
    def number() -> None:
        ksr.hdr.remove("CSeq")
        ksr.hdr.append("CSeq: 7 INVITE\r\n")

    relay(ksr, number)
    with ksr.failure_route(486, "Busy"):
        pass
    assert ksr.replies[0].cseq == "7 INVITE"


def test_reply_without_a_relayed_request_raises(ksr: MockKSR) -> None:
    ksr.tm.t_on_reply("REPLY")
    with pytest.raises(MisuseError, match="not relayed"), ksr.reply_route(200):
        pass


@pytest.mark.parametrize(
    "misuse",
    [
        lambda ksr: ksr.tm.t_relay(),
        lambda ksr: ksr.sl.send_reply(500, "x"),
        lambda ksr: ksr.hdr.append_to_reply("X-New: one\r\n"),
        lambda ksr: ksr.pv.get("$ru"),
        lambda ksr: ksr.pv.get("$T_req($ru)"),
        lambda ksr: ksr.pv.sets("$du", "sip:192.0.2.50"),
    ],
)
def test_what_nobody_has_tried_in_a_reply_route_raises(ksr: MockKSR, misuse: Callable[[MockKSR], object]) -> None:
    relay(ksr)
    with ksr.reply_route(200, "OK"), pytest.raises(MisuseError, match="reply route"):
        misuse(ksr)


# --- failure routes


def test_failure_route_is_disarmed_when_it_is_entered(ksr: MockKSR) -> None:
    relay(ksr)
    assert ksr.armed["failure"] == "FAIL"
    with ksr.failure_route(486) as route:
        assert route == "FAIL"
        assert "failure" not in ksr.armed


def test_reply_without_an_armed_route_raises(ksr: MockKSR) -> None:
    assert ksr.tm.t_relay() == 1
    with pytest.raises(MisuseError, match="no failure route"), ksr.failure_route(407):
        pass


def test_reply_of_the_script_replaces_the_carriers(ksr: MockKSR) -> None:
    relay(ksr)
    with ksr.failure_route(407, "Proxy Authentication Required"):
        assert ksr.tm.t_reply(503, "Trunk Authentication Failed") == 1
    assert ksr.replies == [Reply(503, "Trunk Authentication Failed")]


def test_next_failure_route_starts_from_what_the_request_route_left(ksr: MockKSR) -> None:
    ksr.hdr.append("X-Request: r\r\n")
    ksr.rr.record_route()
    ksr.setdsturi("sip:192.0.2.50")
    relay(ksr)
    with ksr.failure_route(486):
        ksr.hdr.append("X-Failure: f\r\n")
        ksr.hdr.remove("User-Agent")
        ksr.rr.add_rr_param(";f=1")
        ksr.pv.sets("$ru", "sip:other@carrier.example")
        relay_again(ksr)
    with ksr.failure_route(486):
        assert (ksr.pv.get("$ru"), ksr.pv.get("$du")) == ("sip:5550100@carrier.example", "sip:192.0.2.50")
        relay_again(ksr)
    names = ("X-Request", "X-Failure", "User-Agent", "Record-Route")
    first, second = ([out.message.get(name) for name in names] for out in ksr.relayed[1:])
    assert first == ["r", "f", None, "<sip:192.0.2.1:5060;lr;f=1>"]
    assert second == ["r", None, "probe", "<sip:192.0.2.1:5060;lr>"]


def test_local_timeout_has_a_status_and_no_message(ksr: MockKSR) -> None:
    relay(ksr)
    ksr.world.uac_answers = True
    for name in ("auser", "apass"):
        ksr.pv.sets(f"$avp({name})", "x")
    with ksr.timeout():
        assert ksr.pv.get("$T_reply_code") == 408
        assert ksr.pv.get("$T_rpl($rs)") is None
        assert ksr.tm.t_branch_timeout() == 1
        assert ksr.uac.uac_auth() == -1
    assert ksr.replies == [Reply(408, "Request Timeout", passed_on=True)]
