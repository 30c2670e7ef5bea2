"""The mock must be no kinder than Kamailio: what it refuses beyond the recorded answers (test_probe.py), what a test
tells it of the world, and what it shows a test.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.ksr.api_list import VERSIONS
from tests.ksr.behaviours import TABLE
from tests.ksr.fixtures import installed
from tests.ksr.mock import MockKSR, WrongArgumentsError
from tests.ksr.state import MisuseError
from tests.ksr.variables import UnknownVariableError

INVITE = """\
INVITE sip:5550100@127.0.0.1:16003 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1
Max-Forwards: 10
From: "Al" <sip:alice@pbx.example>;tag=ft1
To: <sip:5550100@pbx.example>
Call-ID: c-1
CSeq: 1 INVITE
User-Agent: probe
Content-Length: 0

"""

CHALLENGE = 'Proxy-Authenticate: Digest realm="car", nonce="n1", algorithm=MD5, qop="auth"'
SHA_256 = 'Proxy-Authenticate: Digest realm="car", nonce="n2", algorithm=SHA-256, qop="auth"'
BASIC = 'Proxy-Authenticate: Basic realm="car"'


@pytest.fixture
def ksr(ksr: MockKSR, ksr_version: str) -> MockKSR:  # asked for by name: pytest 8 sees none behind the other ksr
    """With an INVITE in it."""
    ksr.receive(INVITE)
    return ksr


def relayed(ksr: MockKSR) -> MockKSR:
    """Relayed by the request route with a failure route armed, to a next hop other than the R-URI."""
    ksr.tm.t_on_failure("FAIL")
    ksr.setdsturi("sip:192.0.2.50")
    assert ksr.tm.t_relay() == 1
    return ksr


# --- signatures


def test_function_of_a_newer_version_is_unknown_to_the_older() -> None:
    with pytest.raises(AttributeError):
        MockKSR("5.6.3").pv.setl  # noqa: B018
    assert callable(MockKSR("6.0.1").pv.setl)


@pytest.mark.parametrize("args", [(None,), (), ("X: 1\r\n", "more")])
def test_call_with_wrong_arguments_has_not_happened(ksr: MockKSR, args: tuple[Any, ...]) -> None:
    with pytest.raises(SystemError if ksr.version.startswith("5.") else WrongArgumentsError):
        ksr.hdr.append(*args)
    assert ksr.calls == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_behaviour_belongs_to_a_function_of_every_version(version: str) -> None:
    assert set(TABLE) <= set(MockKSR(version)._functions)


# --- fails closed


def test_function_that_is_not_carried_out_raises(ksr: MockKSR) -> None:
    for function, args in [(ksr.auth.has_credentials, ("realm",)), (ksr.isflagset, (1,)), (ksr.tm.t_newtran, ())]:
        with pytest.raises(MisuseError, match=r"not in behaviours\.TABLE"):
            function(*args)


def test_function_that_is_not_carried_out_has_a_signature_all_the_same(ksr: MockKSR) -> None:
    for args in [(1,), (), ("realm", "more")]:
        with pytest.raises((SystemError, WrongArgumentsError)):
            ksr.auth.has_credentials(*args)


def test_world_refuses_until_told_otherwise(ksr: MockKSR) -> None:
    assert ksr.permissions.allow_source_address(1) == -1
    assert ksr.permissions.allow_source_address_group() == -1
    assert ksr.rr.loose_route() == -1
    assert ksr.dialog.is_known_dlg() == -1
    assert ksr.tm.t_is_canceled() == -1
    assert ksr.tm.t_check_trans() == -1
    assert ksr.uac.uac_auth() == -1
    assert ksr.is_myself_ruri() is ksr.is_myself_suri() is False
    assert (ksr.pv.get("$jsonrpl(code)"), ksr.pv.get("$jsonrpl(body)")) == (0, None)


def test_insane_request_is_answered_once_the_script_says_so(ksr: MockKSR) -> None:
    assert ksr.sanity.sanity_check(17895, 7) == -1
    assert ksr.replies == []
    ksr.sanity.sanity_reply()
    assert [reply.code for reply in ksr.replies] == [400]


def test_source_is_trusted_in_its_group_and_network_only(ksr: MockKSR) -> None:
    ksr.trust("198.51.100.0/24", group=2)
    assert [ksr.permissions.allow_source_address(group) for group in (1, 2)] == [-1, 1]
    assert ksr.permissions.allow_source_address_group() == 2
    ksr.receive(INVITE, source=("203.0.113.1", 5060))
    assert ksr.permissions.allow_source_address(2) == -1


@pytest.mark.parametrize("own", ["192.0.2.1", "[2001:db8::1]"])
def test_source_is_ours_if_it_is_one_of_the_sockets(ksr: MockKSR, own: str) -> None:
    ksr.world.sockets = (f"udp:{own}:5060",)
    ksr.receive(INVITE, source=(own.strip("[]"), 5060))
    assert ksr.is_myself_suri() is True
    ksr.receive(INVITE, source=(own.strip("[]"), 5061))
    assert ksr.is_myself_suri() is False


def test_answer_must_be_of_the_functions_own_type(ksr: MockKSR) -> None:
    for path, answer in [("tm.t_relay", True), ("is_myself_ruri", 1)]:
        with pytest.raises(TypeError):
            ksr.answer(path, answer)
    with pytest.raises(KeyError):
        ksr.answer("tm.nosuch", 1)


def test_answer_of_a_test_is_given_and_its_exception_raised(ksr: MockKSR) -> None:
    ksr.answer("isflagset", True)  # one that is not carried out otherwise
    assert ksr.isflagset(7) is True

    def crash(_code: int, _reason: str) -> int:
        raise RuntimeError("made to")

    ksr.answer("sl.send_reply", crash)
    with pytest.raises(RuntimeError, match="made to"):
        ksr.sl.send_reply(200, "OK")


def test_call_without_a_message_raises() -> None:
    with pytest.raises(MisuseError):
        MockKSR().pv.get("$ru")


# --- variables and headers


@pytest.mark.parametrize("name", ["$nosuch", "ru", "$ru ", "", "$T_rpl($nosuch)", "$dlg(from_tag)", "$jsonrpl(text)"])
def test_unknown_variable_raises(ksr: MockKSR, name: str) -> None:
    with pytest.raises(UnknownVariableError):
        ksr.pv.get(name)
    with pytest.raises(MisuseError):
        ksr.pv.sets(name, "x")
    with pytest.raises(MisuseError):
        ksr.pv.unset(name)


@pytest.mark.parametrize("name", ["$ci", "$si", "$rm", "$hdr(X-Multi)", "$T_reply_code"])
def test_setting_what_cannot_be_set_raises(ksr: MockKSR, name: str) -> None:
    with pytest.raises(MisuseError, match="cannot be set"):
        ksr.pv.sets(name, "x")


def test_avp_does_not_outlive_the_request(ksr: MockKSR) -> None:
    ksr.pv.sets("$avp(a)", "x")
    ksr.receive(INVITE)
    assert ksr.pv.get("$avp(a)") is None


def test_request_that_belongs_to_a_dialog_reads_its_variables(ksr: MockKSR) -> None:
    ksr.world.dialog = {"peer": "203.0.113.5"}
    assert ksr.dialog.is_known_dlg() == 1
    assert ksr.pv.get("$dlg_var(peer)") == "203.0.113.5"
    ksr.pv.unset("$dlg_var(peer)")
    assert ksr.world.dialog == {}


def test_request_that_starts_no_dialog_is_not_followed(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace("INVITE", "MESSAGE"))
    assert ksr.dialog.dlg_manage() == -1
    assert ksr.dialog.is_known_dlg() == -1


@pytest.mark.parametrize(("value", "answer"), [("0", -1), ("abc", -2)])
def test_max_forwards_that_is_used_up_or_no_number_fails(ksr: MockKSR, value: str, answer: int) -> None:
    ksr.receive(INVITE.replace("Max-Forwards: 10", f"Max-Forwards: {value}"))
    assert ksr.maxfwd.process_maxfwd(10) == answer


def test_missing_max_forwards_is_added(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace("Max-Forwards: 10\n", ""))
    assert ksr.maxfwd.process_maxfwd(10) == 2
    assert relayed(ksr).relayed[0].message.get("Max-Forwards") == "10"


def test_text_of_variables_prints_each(ksr: MockKSR) -> None:
    assert ksr.pv.get("$_s($rm at $hdr(User-Agent)\n$tt)") == "INVITE at probe\n<null>"
    ksr.receive(INVITE.encode().replace(b"alice", b"\xff"))
    with pytest.raises(UnicodeDecodeError):
        ksr.pv.get("$_s($rm $fu)")
    with pytest.raises(UnknownVariableError):
        ksr.pv.get("$_s($rm $nosuch)")


def test_request_of_a_transaction_is_read_in_reply_routes_alone(ksr: MockKSR) -> None:
    with pytest.raises(MisuseError, match="nobody has asked"):
        ksr.pv.get("$T_req($hdr(CSeq))")


# --- replies and relaying


def test_header_for_the_reply_goes_out_with_it(ksr: MockKSR) -> None:
    assert ksr.hdr.append_to_reply("Allow: INVITE\r\n") == 1
    ksr.sl.send_reply(405, "Method Not Allowed")
    assert ksr.replies[0].headers == ("Allow: INVITE",)


def test_second_final_reply_raises(ksr: MockKSR) -> None:
    ksr.sl.send_reply(100, "Trying")
    ksr.sl.send_reply(404, "No Trunk")
    with pytest.raises(MisuseError, match="second final reply"):
        ksr.sl.send_reply(500, "Again")


def test_ack_is_never_answered(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace("INVITE", "ACK"))
    assert ksr.sl.send_reply(500, "x") == -1
    assert ksr.replies == []


def test_loose_routing_takes_our_route_off_and_may_lead_on(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace("Call-ID", "Route: <sip:192.0.2.1;lr>\nCall-ID"))
    ksr.world.loose_route = 1
    ksr.world.route_leads_to = "sip:192.0.2.60;lr"
    assert ksr.rr.loose_route() == 1
    assert ksr.tm.t_relay() == 1
    assert ksr.relayed[0].message.get("Route") is None
    assert ksr.relayed[0].next_hop == "sip:192.0.2.60;lr"


def test_relay_says_where_it_went(ksr: MockKSR) -> None:
    ksr.pv.sets("$rd", "carrier.example")
    ksr.pv.sets("$fs", "udp:192.0.2.1:5060")
    assert ksr.pv.sets("$fs", "udp:192.0.2.1:1") is True  # not ours: nothing changes
    out = relayed(ksr).relayed[0]
    assert (out.ruri, out.dst_uri, out.socket) == (
        "sip:5550100@carrier.example:16003",
        "sip:192.0.2.50",
        "udp:192.0.2.1:5060",
    )
    assert out.message.start_line == b"INVITE sip:5550100@carrier.example:16003 SIP/2.0"


@pytest.mark.parametrize(("variable", "uri"), [("$ru", "garbage"), ("$du", "garbage"), ("$du", "sip:192.0.2.50")])
def test_request_that_cannot_be_sent_is_not_answered_by_the_relay(ksr: MockKSR, variable: str, uri: str) -> None:
    ksr.world.unreachable.add("sip:192.0.2.50")
    ksr.pv.sets(variable, uri)
    assert ksr.tm.t_relay() < 0
    assert (ksr.relayed, ksr.replies) == ([], [])
    assert ksr.sl.send_reply(503, "Next Hop Unreachable") == 1


def test_relay_after_a_relay_or_a_final_reply_raises(ksr: MockKSR) -> None:
    relayed(ksr)
    with pytest.raises(MisuseError, match="after t_relay"):
        ksr.tm.t_relay()
    ksr.receive(INVITE)
    ksr.sl.send_reply(404, "No Trunk")
    with pytest.raises(MisuseError, match="after a final reply"):
        ksr.tm.t_relay()


# --- uac_auth


def give_credentials(ksr: MockKSR, realm: str = "") -> None:
    ksr.world.uac_answers = True
    for name, value in (("auser", "u"), ("apass", "s3cret"), ("arealm", realm)):
        ksr.pv.sets(f"$avp({name})", value)


def test_cseq_is_the_scripts_own_business(ksr: MockKSR) -> None:
    ksr.dialog.dlg_manage()
    relayed(ksr)
    with ksr.failure_route(401, "Auth", [CHALLENGE.replace("Proxy", "WWW")]):
        give_credentials(ksr)
        assert ksr.uac.uac_auth() == 1
        ksr.tm.t_relay()
    sent = ksr.relayed[1].message
    assert sent.get("Authorization") is not None
    assert sent.get("CSeq") == "1 INVITE"
    assert "s3cret" not in repr(ksr.relayed)


@pytest.mark.parametrize(
    ("challenges", "realm", "versions"),
    [
        ([CHALLENGE], "", VERSIONS),
        ([CHALLENGE], "other", ()),
        ([SHA_256], "", ()),
        ([], "", ()),
        ([CHALLENGE.replace("Proxy", "WWW")], "", ()),
        ([BASIC, CHALLENGE], "", ["6.1.5"]),  # the others look at the first challenge alone
        ([SHA_256, CHALLENGE], "", ["6.1.5"]),
    ],
)
def test_which_versions_answer_a_challenge(
    ksr: MockKSR, challenges: list[str], realm: str, versions: tuple[str, ...]
) -> None:
    relayed(ksr)
    with ksr.failure_route(407, "Auth", challenges):
        give_credentials(ksr, realm)
        assert ksr.uac.uac_auth() == (1 if ksr.version in versions else -1)


# --- what a test sees


def test_calls_and_log_lines_are_kept_in_order(ksr: MockKSR) -> None:
    assert ksr.warn("one\n") == 0
    ksr.siputils.has_totag()
    ksr.err("two\n")
    assert ksr.calls == [("warn", ("one\n",)), ("siputils.has_totag", ()), ("err", ("two\n",))]
    assert ksr.log == [("warn", "one\n"), ("err", "two\n")]
    assert ksr.called("err") == [("two\n",)]


def test_imported_ksr_is_the_mock_of_the_running_test() -> None:
    import KSR

    with installed(MockKSR("5.6.3")) as first:
        first.receive(INVITE)
        assert KSR.pv.get("$ci") == "c-1"
        with installed(MockKSR("6.0.1")) as second:
            second.receive(INVITE.replace("c-1", "c-2"))
            assert KSR.pv.get("$ci") == "c-2"
        assert KSR.pv.get("$ci") == "c-1"
    assert sys.modules["KSR"] is KSR
    with pytest.raises(RuntimeError, match="outside of a test"):
        KSR.pv.get("$ci")
