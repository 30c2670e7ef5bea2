"""The mock itself: it must be no kinder than Kamailio."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.ksr.api_list import VERSIONS
from tests.ksr.behaviours import TABLE
from tests.ksr.fixtures import installed
from tests.ksr.mock import MockKSR, WrongArgumentsError
from tests.ksr.state import MisuseError, Reply
from tests.ksr.variables import UnknownVariableError

INVITE = b"""\
INVITE sip:5550100@127.0.0.1:16003 SIP/2.0
Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK1
Max-Forwards: 10
f: "Al" <sip:alice@pbx.example>;tag=ft1
To: <sip:5550100@pbx.example>
Call-ID: c-1
CSeq: 1 INVITE
Contact: <sip:alice@198.51.100.7>
User-Agent: probe
X-Multi: m0
X-Multi: m1, m2
X-Empty:
X-Latin: caf\xe9
X-Fold: a
  b
Content-Length: 0

"""

CHALLENGE = 'Proxy-Authenticate: Digest realm="car", nonce="n1", algorithm=MD5, qop="auth"'
SHA_256 = 'Proxy-Authenticate: Digest realm="car", nonce="n2", algorithm=SHA-256, qop="auth"'


@pytest.fixture(params=VERSIONS)
def ksr(request: pytest.FixtureRequest) -> MockKSR:
    mock = MockKSR(request.param)
    mock.receive(INVITE)
    return mock


def relayed(ksr: MockKSR) -> MockKSR:
    """Relayed by the request route with a failure route armed, to a next hop other than the R-URI."""
    ksr.tm.t_on_failure("FAIL")
    ksr.setdsturi("sip:192.0.2.50")
    assert ksr.tm.t_relay() == 1
    return ksr


# --- signatures


def test_unknown_name_is_an_attribute_error_in_the_words_of_python(ksr: MockKSR) -> None:
    with pytest.raises(AttributeError, match=r"^module 'KSR\.tm' has no attribute 'nosuch'$"):
        ksr.tm.nosuch()
    with pytest.raises(AttributeError, match=r"^module 'KSR' has no attribute 'nosuch'$"):
        ksr.nosuch  # noqa: B018


def test_function_of_a_newer_version_is_unknown_to_the_older() -> None:
    with pytest.raises(AttributeError):
        MockKSR("5.6.3").pv.setl  # noqa: B018
    assert callable(MockKSR("6.0.1").pv.setl)


@pytest.mark.parametrize("args", [(1,), (b"X: 1\r\n",), (None,), (), ("X: 1\r\n", "more")])
def test_wrong_arguments_raise(ksr: MockKSR, args: tuple[Any, ...]) -> None:
    error = SystemError if ksr.version.startswith("5.") else WrongArgumentsError
    with pytest.raises(error):
        ksr.hdr.append(*args)
    assert ksr.calls == []


@pytest.mark.parametrize("args", [("200", "OK"), (200,), (200.0, "OK"), (200, "OK", "")])
def test_wrong_reply_arguments_raise(ksr: MockKSR, args: tuple[Any, ...]) -> None:
    with pytest.raises((SystemError, WrongArgumentsError)):
        ksr.sl.send_reply(*args)
    assert ksr.replies == []


def test_argument_to_a_function_without_parameters_raises_although_kamailio_drops_it(ksr: MockKSR) -> None:
    with pytest.raises(WrongArgumentsError):
        ksr.tm.t_relay("udp:192.0.2.1")


def test_keyword_argument_raises_type_error(ksr: MockKSR) -> None:
    with pytest.raises(TypeError, match=r"^info\(\) takes no keyword arguments$"):
        ksr.info(line="x")


def test_bool_passes_for_int(ksr: MockKSR) -> None:
    assert ksr.pv.seti("$avp(i)", True) is True
    assert ksr.pv.get("$avp(i)") == 1
    assert type(ksr.pv.get("$avp(i)")) is int


def test_int_that_does_not_fit_is_refused_by_5_and_cut_off_by_6(ksr: MockKSR) -> None:
    if ksr.version.startswith("5."):
        with pytest.raises(SystemError):
            ksr.pv.seti("$avp(i)", 2**40)
        return
    assert ksr.pv.seti("$avp(i)", 2**40) is True
    assert ksr.pv.get("$avp(i)") == 0
    ksr.pv.seti("$avp(i)", 2**31)
    assert ksr.pv.get("$avp(i)") == -(2**31)


def test_int_that_does_not_fit_a_long_is_refused(ksr: MockKSR) -> None:
    with pytest.raises(SystemError):
        ksr.pv.seti("$avp(i)", 2**70)


def test_string_with_a_nul_byte_is_refused_by_5(ksr: MockKSR) -> None:
    if ksr.version.startswith("5."):
        with pytest.raises(SystemError):
            ksr.pv.sets("$avp(s)", "a\0b")
        return
    ksr.pv.sets("$avp(s)", "a\0b")
    assert ksr.pv.get("$avp(s)") == "a\0b"


def test_lone_surrogate_is_refused(ksr: MockKSR) -> None:
    error = SystemError if ksr.version.startswith("5.") else UnicodeEncodeError
    with pytest.raises(error):
        ksr.pv.sets("$avp(s)", "\ud800")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_behaviour_belongs_to_a_function_of_every_version(version: str) -> None:
    assert set(TABLE) <= set(MockKSR(version)._functions)


# --- fails closed


def test_function_without_behaviour_fails(ksr: MockKSR) -> None:
    assert ksr.auth.has_credentials("realm") == -1
    assert ksr.htable.sht_is_null("nonces", "b") == -1
    assert ksr.isflagset(1) is False


def test_world_refuses_until_told_otherwise(ksr: MockKSR) -> None:
    assert ksr.sanity.sanity_check(17895, 7) == -1
    assert ksr.permissions.allow_source_address(1) == -1
    assert ksr.rr.loose_route() == -1
    assert ksr.dialog.is_known_dlg() == -1
    assert ksr.tm.t_is_canceled() == -1
    assert ksr.tm.t_check_trans() == -1
    assert ksr.uac.uac_auth() == -1
    assert ksr.is_myself_ruri() is False


def test_source_is_trusted_in_its_group_and_network_only(ksr: MockKSR) -> None:
    ksr.trust("198.51.100.0/24", group=1)
    assert ksr.permissions.allow_source_address(1) == 1
    assert ksr.permissions.allow_source_address(2) == -1
    ksr.receive(INVITE, source=("203.0.113.1", 5060))
    assert ksr.permissions.allow_source_address(1) == -1


def test_answer_must_be_of_the_functions_own_type(ksr: MockKSR) -> None:
    with pytest.raises(TypeError):
        ksr.answer("tm.t_relay", True)
    with pytest.raises(TypeError):
        ksr.answer("is_myself_ruri", 1)
    with pytest.raises(KeyError):
        ksr.answer("tm.nosuch", 1)


def test_answer_of_a_test_is_given_and_its_exception_raised(ksr: MockKSR) -> None:
    ksr.answer("tm.t_check_trans", 0)
    assert ksr.tm.t_check_trans() == 0

    def crash(_code: int, _reason: str) -> int:
        raise RuntimeError("made to")

    ksr.answer("sl.send_reply", crash)
    with pytest.raises(RuntimeError, match="made to"):
        ksr.sl.send_reply(200, "OK")


def test_call_without_a_message_raises() -> None:
    with pytest.raises(MisuseError):
        MockKSR().pv.get("$ru")


def test_insane_request_is_answered_by_the_check_itself(ksr: MockKSR) -> None:
    assert ksr.sanity.sanity_check(17895, 7) == -1
    assert [reply.code for reply in ksr.replies] == [400]


# --- header edits


def test_appended_header_is_not_seen_but_leaves(ksr: MockKSR) -> None:
    assert ksr.hdr.append("X-New: one\r\n") == 1
    assert ksr.hdr.get("X-New") is None
    assert ksr.hdr.is_present("X-New") == -1
    assert ksr.pv.get("$hdr(X-New)") is None
    assert relayed(ksr).relayed[0].message.get("X-New") == "one"


def test_removed_header_is_still_seen_but_does_not_leave(ksr: MockKSR) -> None:
    assert ksr.hdr.remove("X-Multi") == 1
    assert ksr.hdr.get("X-Multi") == "m0"
    assert ksr.hdr.is_present("X-Multi") == 1
    assert relayed(ksr).relayed[0].message.values("X-Multi") == []


def test_appended_header_cannot_be_removed_again(ksr: MockKSR) -> None:
    ksr.hdr.append("X-New: one\r\n")
    assert ksr.hdr.remove("X-New") == 1
    assert relayed(ksr).relayed[0].message.get("X-New") == "one"


def test_removal_knows_compact_names_and_any_case(ksr: MockKSR) -> None:
    ksr.hdr.remove("FROM")
    assert "f" not in relayed(ksr).relayed[0].message.names


def test_header_appended_without_crlf_swallows_the_next(ksr: MockKSR) -> None:
    assert ksr.hdr.append("X-One: 1") == 1
    assert ksr.hdr.append("X-Two: 2\r\n") == 1
    sent = relayed(ksr).relayed[0].message
    assert sent.get("X-One") == "1X-Two: 2"
    assert sent.get("X-Two") is None


def test_header_that_is_not_utf_8_raises_on_read(ksr: MockKSR) -> None:
    for read in (ksr.hdr.get, ksr.hdr.gete):
        with pytest.raises(UnicodeDecodeError):
            read("X-Latin")
    with pytest.raises(UnicodeDecodeError):
        ksr.pv.gete("$hdr(X-Latin)")


def test_max_forwards_is_counted_down_on_the_wire(ksr: MockKSR) -> None:
    assert ksr.maxfwd.process_maxfwd(10) == 1
    assert ksr.pv.get("$hdr(Max-Forwards)") == " 9"
    assert relayed(ksr).relayed[0].message.get("Max-Forwards") == "9"


@pytest.mark.parametrize(("value", "answer"), [("0", -1), ("abc", -2), ("1", 1)])
def test_max_forwards_that_is_used_up_or_no_number_fails(ksr: MockKSR, value: str, answer: int) -> None:
    ksr.receive(INVITE.replace(b"Max-Forwards: 10", f"Max-Forwards: {value}".encode()))
    assert ksr.maxfwd.process_maxfwd(10) == answer


def test_missing_max_forwards_is_added(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace(b"Max-Forwards: 10\n", b""))
    assert ksr.maxfwd.process_maxfwd(10) == 2
    assert relayed(ksr).relayed[0].message.get("Max-Forwards") == "10"


# --- pseudo-variables


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("$rm", "INVITE"),
        ("$ru", "sip:5550100@127.0.0.1:16003"),
        ("$rU", "5550100"),
        ("$rd", "127.0.0.1"),
        ("$rp", "16003"),
        ("$du", None),
        ("$fs", None),
        ("$fu", "sip:alice@pbx.example"),
        ("$fU", "alice"),
        ("$fd", "pbx.example"),
        ("$ft", "ft1"),
        ("$tu", "sip:5550100@pbx.example"),
        ("$tt", None),
        ("$ci", "c-1"),
        ("$cs", "1"),
        ("$ua", "probe"),
        ("$si", "198.51.100.7"),
        ("$sp", 5060),
        ("$Ri", "192.0.2.1"),
        ("$Rp", 5060),
        ("$rs", None),
        ("$T_reply_code", 0),
        ("$T_rpl($rs)", None),
        ("$avp(none)", None),
        ("$var(none)", 0),
        ("$dlg_var(none)", None),
        ("$hdr(X-Multi)", "m0"),
        ("$hdr(x-multi)", "m0"),
        ("$(hdr(X-Multi)[1])", "m1, m2"),
        ("$(hdr(X-Multi)[2])", None),
        ("$(hdr(X-Multi)[-1])", "m1, m2"),
        ("$(hdr(X-Multi)[*])", "m0,m1, m2"),
        ("$hdrc(X-Multi)", 2),
        ("$hdr(From)", '"Al" <sip:alice@pbx.example>;tag=ft1'),
        ("$hdr(X-Empty)", ""),
        ("$hdr(X-Fold)", "a\n  b"),
        ("$hdr(X-None)", None),
    ],
)
def test_variable_of_the_request(ksr: MockKSR, name: str, value: str | int | None) -> None:
    assert ksr.pv.get(name) == value
    assert ksr.pv.is_null(name) is (value is None)
    assert ksr.pv.gete(name) == ("" if value is None else value)
    assert ksr.pv.getw(name) == ("<null>" if value is None else value)


@pytest.mark.parametrize("name", ["$nosuch", "ru", "$ru ", "", "$T_rpl($nosuch)", "$T(nosuch)", "$dlg_ctx(nosuch)"])
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


def test_avp_is_a_stack_and_unset_takes_the_newest_alone(ksr: MockKSR) -> None:
    ksr.pv.sets("$avp(a)", "1")
    ksr.pv.sets("$avp(a)", "2")
    assert ksr.pv.get("$avp(a)") == "2"
    assert ksr.pv.get("$(avp(a)[1])") == "1"
    ksr.pv.unset("$avp(a)")
    assert ksr.pv.get("$avp(a)") == "1"
    ksr.pv.sets("$avp(a)", "3")
    ksr.pv.unset("$(avp(a)[*])")
    assert ksr.pv.get("$avp(a)") is None


def test_var_outlives_the_request_as_it_does_in_a_worker(ksr: MockKSR) -> None:
    ksr.pv.sets("$var(leak)", "x")
    ksr.receive(INVITE)
    assert ksr.pv.get("$var(leak)") == "x"
    ksr.pv.unset("$var(leak)")
    assert ksr.pv.get("$var(leak)") == 0


def test_avp_does_not_outlive_the_request(ksr: MockKSR) -> None:
    ksr.pv.sets("$avp(a)", "x")
    ksr.receive(INVITE)
    assert ksr.pv.get("$avp(a)") is None


def test_parts_of_the_request_uri_are_set_one_by_one(ksr: MockKSR) -> None:
    ksr.pv.sets("$rd", "carrier.example")
    ksr.pv.sets("$rU", "77")
    ksr.pv.sets("$rp", "5070")
    assert ksr.pv.get("$ru") == "sip:77@carrier.example:5070"
    assert ksr.pv.get("$ou") == "sip:5550100@127.0.0.1:16003"


def test_request_uri_that_is_none_is_taken_and_then_unreadable(ksr: MockKSR) -> None:
    assert ksr.pv.sets("$ru", "garbage") is True
    assert ksr.pv.get("$ru") == ("garbage" if ksr.version.startswith("6.1") else None)
    assert ksr.pv.sets("$rd", "carrier.example") is False
    assert ksr.tm.t_relay() < 0
    assert ksr.relayed == []


def test_socket_that_is_not_ours_is_taken_and_changes_nothing(ksr: MockKSR) -> None:
    assert ksr.pv.sets("$fs", "udp:192.0.2.1:5060") is True
    assert ksr.pv.sets("$fs", "udp:192.0.2.1:1") is True
    assert ksr.pv.get("$fs") == "udp:192.0.2.1:5060"


def test_empty_next_hop_is_none(ksr: MockKSR) -> None:
    ksr.setdsturi("sip:192.0.2.50")
    assert ksr.isdsturiset() is True
    ksr.pv.sets("$du", "")
    assert ksr.pv.get("$du") is None


def test_dialog_variable_takes_no_int(ksr: MockKSR) -> None:
    assert ksr.pv.seti("$dlg_var(n)", 1) is False
    assert ksr.pv.get("$dlg_var(n)") is None


@pytest.mark.parametrize(("from_tag", "direction"), [("ft1", "downstream"), ("other", "upstream")])
def test_direction_is_not_in_dlg_ctx(ksr: MockKSR, from_tag: str, direction: str) -> None:
    ksr.world.dialog, ksr.world.dialog_from_tag = {}, from_tag
    assert ksr.dialog.is_known_dlg() == 1
    assert ksr.pv.get("$dlg_ctx(dir)") == 0
    assert ksr.pv.get("$dlg(from_tag)") == from_tag
    assert {way for way in ("downstream", "upstream", "x") if ksr.rr.is_direction(way) > 0} == {direction}


def test_dialog_that_the_request_starts_is_its_own(ksr: MockKSR) -> None:
    assert ksr.pv.get("$dlg(from_tag)") is None
    ksr.pv.sets("$dlg_var(x)", "early")
    ksr.dialog.dlg_manage()
    assert ksr.pv.get("$dlg(from_tag)") == "ft1"
    assert ksr.pv.get("$dlg_var(x)") == "early"
    ksr.pv.unset("$dlg_var(x)")
    assert ksr.pv.is_null("$dlg_var(x)") is True


def test_request_that_starts_no_dialog_is_not_followed(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace(b"INVITE", b"MESSAGE"))
    assert ksr.dialog.dlg_manage() == -1
    assert ksr.dialog.is_known_dlg() == -1


def test_applied_changes_are_seen_and_can_be_undone(ksr: MockKSR) -> None:
    ksr.hdr.append("X-New: one\r\n")
    ksr.hdr.remove("X-Multi")
    assert ksr.textopsx.msg_apply_changes() == 1
    assert ksr.hdr.get("X-New") == "one"
    assert ksr.hdr.get("X-Multi") is None
    ksr.hdr.remove("X-New")
    assert relayed(ksr).relayed[0].message.get("X-New") is None


def test_changes_cannot_be_applied_after_record_route(ksr: MockKSR) -> None:
    assert ksr.rr.record_route() == 1
    assert ksr.textopsx.msg_apply_changes() == -1


def test_changes_cannot_be_applied_in_a_failure_route(ksr: MockKSR) -> None:
    relayed(ksr)
    with ksr.failure_route(486):
        assert ksr.textopsx.msg_apply_changes() == -1


# --- replies and relaying


def test_header_for_the_reply_goes_out_with_it(ksr: MockKSR) -> None:
    assert ksr.hdr.append_to_reply("Allow: INVITE\r\n") == 1
    ksr.sl.send_reply(405, "Method Not Allowed")
    assert ksr.replies[0].headers == ("Allow: INVITE",)


def test_loose_routing_takes_our_route_off_and_may_lead_on(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace(b"Call-ID", b"Route: <sip:192.0.2.1;lr>\nCall-ID"))
    ksr.world.loose_route = 1
    ksr.world.route_leads_to = "sip:192.0.2.60;lr"
    assert ksr.rr.loose_route() == 1
    assert ksr.tm.t_relay() == 1
    assert ksr.relayed[0].message.get("Route") is None
    assert ksr.relayed[0].next_hop == "sip:192.0.2.60;lr"


def test_reply_in_a_transaction_needs_one(ksr: MockKSR) -> None:
    assert ksr.tm.t_reply(486, "Busy") == -1
    assert ksr.replies == []
    assert ksr.tm.t_newtran() == 1
    assert ksr.tm.t_newtran() == -10
    assert ksr.tm.t_reply(486, "Busy") == 1
    assert ksr.replies == [Reply(486, "Busy")]


def test_second_final_reply_raises(ksr: MockKSR) -> None:
    ksr.sl.send_reply(100, "Trying")
    ksr.sl.send_reply(404, "No Trunk")
    with pytest.raises(MisuseError, match="second final reply"):
        ksr.sl.send_reply(500, "Again")


def test_ack_is_never_answered(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace(b"INVITE", b"ACK"))
    assert ksr.sl.send_reply(500, "x") == -1
    assert ksr.replies == []


def test_relay_says_where_it_went(ksr: MockKSR) -> None:
    ksr.pv.sets("$rd", "carrier.example")
    ksr.pv.sets("$fs", "udp:192.0.2.1:5060")
    out = relayed(ksr).relayed[0]
    assert (out.ruri, out.dst_uri, out.socket) == (
        "sip:5550100@carrier.example:16003",
        "sip:192.0.2.50",
        "udp:192.0.2.1:5060",
    )
    assert out.message.start_line == b"INVITE sip:5550100@carrier.example:16003 SIP/2.0"
    assert out.message.get("Call-ID") == "c-1"


def test_next_hop_that_cannot_be_sent_to_fails_and_answers_nothing(ksr: MockKSR) -> None:
    ksr.world.unreachable.add("sip:192.0.2.50")
    ksr.setdsturi("sip:192.0.2.50")
    assert ksr.tm.t_relay() < 0
    assert (ksr.relayed, ksr.replies) == ([], [])
    assert ksr.sl.send_reply(503, "Next Hop Unreachable") == 1


def test_second_relay_raises(ksr: MockKSR) -> None:
    relayed(ksr)
    with pytest.raises(MisuseError):
        ksr.tm.t_relay()


def test_relay_after_a_final_reply_raises(ksr: MockKSR) -> None:
    ksr.sl.send_reply(404, "No Trunk")
    with pytest.raises(MisuseError):
        ksr.tm.t_relay()


def test_branch_route_needs_somebody_to_run_it(ksr: MockKSR) -> None:
    ksr.tm.t_on_branch("BRANCH")
    with pytest.raises(MisuseError, match="BRANCH"):
        ksr.tm.t_relay()


def test_branch_edits_are_of_that_branch_alone(ksr: MockKSR) -> None:
    class Routes:
        def BRANCH(self, _message: object) -> None:
            ksr.hdr.append("X-Branch: b\r\n")

    ksr.handlers = Routes()
    ksr.tm.t_on_branch("BRANCH")
    relayed(ksr)
    assert ksr.relayed[0].message.get("X-Branch") == "b"
    with ksr.failure_route(486):
        ksr.pv.sets("$ru", ksr.pv.get("$ru"))
        ksr.tm.t_relay()
    assert ksr.relayed[1].message.get("X-Branch") is None


# --- failure routes


def test_failure_route_is_disarmed_when_it_is_entered(ksr: MockKSR) -> None:
    relayed(ksr)
    assert ksr.armed == {"failure": "FAIL"}
    with ksr.failure_route(486) as route:
        assert route == "FAIL"
        assert ksr.armed == {}
        assert ksr.tm.t_is_set("failure_route") == -1


def test_reply_without_an_armed_route_raises(ksr: MockKSR) -> None:
    assert ksr.tm.t_relay() == 1
    with pytest.raises(MisuseError, match="no failure route"), ksr.failure_route(407):
        pass


def test_reply_that_the_script_leaves_alone_is_passed_on(ksr: MockKSR) -> None:
    relayed(ksr)
    with ksr.failure_route(486, "Busy Here"):
        pass
    assert ksr.replies == [Reply(486, "Busy Here", passed_on=True)]


def test_reply_of_the_script_replaces_the_carriers(ksr: MockKSR) -> None:
    relayed(ksr)
    with ksr.failure_route(407, "Proxy Authentication Required"):
        assert ksr.tm.t_reply(503, "Trunk Authentication Failed") == 1
    assert ksr.replies == [Reply(503, "Trunk Authentication Failed")]


def test_failure_route_sees_the_reply_and_the_request_as_it_came_in(ksr: MockKSR) -> None:
    ksr.hdr.append("X-New: one\r\n")
    ksr.pv.sets("$avp(keep)", "kept")
    ksr.pv.sets("$fs", "udp:192.0.2.1:5060")
    relayed(ksr)
    with ksr.failure_route(407, "Auth", [CHALLENGE, SHA_256, b"X-Latin: caf\xe9"]):
        assert ksr.pv.get("$T_reply_code") == 407
        assert ksr.pv.get("$T(reply_code)") == 407
        assert ksr.pv.get("$T_rpl($rs)") == 407
        assert ksr.pv.get("$T_rpl($(hdr(Proxy-Authenticate)[1]))") == SHA_256.split(": ", 1)[1]
        assert ksr.pv.get("$T_rpl($(hdr(Proxy-Authenticate)[2]))") is None
        with pytest.raises(UnicodeDecodeError):
            ksr.pv.get("$T_rpl($hdr(X-Latin))")
        assert ksr.pv.get("$rs") is None
        assert ksr.hdr.get("Proxy-Authenticate") is None
        assert ksr.hdr.get("X-New") is None
        assert ksr.pv.get("$du") == "sip:192.0.2.50"
        assert ksr.pv.get("$fs") == "udp:192.0.2.1:5060"
        assert ksr.pv.get("$avp(keep)") == "kept"
        assert ksr.tm.t_check_status("401|407") == 1
        assert ksr.tm.t_check_status("408") == -1


def test_relay_without_a_new_branch_fails(ksr: MockKSR) -> None:
    relayed(ksr)
    with ksr.failure_route(486):
        assert ksr.tm.t_relay() == -1
        ksr.pv.sets("$ru", ksr.pv.get("$ru"))
        assert ksr.tm.t_relay() == 1


def test_edits_of_a_failure_route_leave_with_its_relay_and_are_dropped_afterwards(ksr: MockKSR) -> None:
    ksr.hdr.append("X-Request: r\r\n")
    relayed(ksr)
    with ksr.failure_route(486):
        ksr.hdr.append("X-Failure: f\r\n")
        ksr.hdr.remove("User-Agent")
        ksr.pv.sets("$ru", "sip:other@carrier.example")
        ksr.tm.t_on_failure("FAIL")
        ksr.tm.t_relay()
    with ksr.failure_route(486):
        assert ksr.pv.get("$ru") == "sip:5550100@127.0.0.1:16003"
        ksr.pv.sets("$ru", ksr.pv.get("$ru"))
        ksr.tm.t_relay()
    first, second = (out.message for out in ksr.relayed[1:])
    assert (first.get("X-Request"), first.get("X-Failure"), first.get("User-Agent")) == ("r", "f", None)
    assert (second.get("X-Request"), second.get("X-Failure"), second.get("User-Agent")) == ("r", None, "probe")


def test_local_timeout_has_a_status_and_no_message(ksr: MockKSR) -> None:
    relayed(ksr)
    ksr.world.uac_answers = True
    give_credentials(ksr)
    with ksr.timeout():
        assert ksr.pv.get("$T_reply_code") == 408
        assert ksr.pv.get("$T_rpl($rs)") is None
        assert ksr.tm.t_branch_timeout() == 1
        assert ksr.uac.uac_auth() == -1
    assert ksr.replies == [Reply(408, "Request Timeout", passed_on=True)]


# --- uac_auth


def give_credentials(ksr: MockKSR, realm: str = "") -> None:
    for name, value in (("auser", "u"), ("apass", "s3cret"), ("arealm", realm)):
        ksr.pv.sets(f"$avp({name})", value)


def test_challenge_is_answered_and_cseq_counted_up_in_a_dialog(ksr: MockKSR) -> None:
    ksr.world.uac_answers = True
    assert ksr.dialog.dlg_manage() == 1
    assert ksr.dialog.dlg_manage() == -1
    relayed(ksr)
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        give_credentials(ksr, "car")
        assert ksr.uac.uac_auth() == 1
        assert ksr.hdr.get("Proxy-Authorization") is None
        assert ksr.tm.t_relay() == 1
    sent = ksr.relayed[1].message
    assert 'username="u", realm="car", nonce="n1"' in str(sent.get("Proxy-Authorization"))
    assert sent.get("CSeq") == "2 INVITE"
    assert "s3cret" not in repr(ksr.relayed)
    assert ksr.pv.get("$dlg_var(cseq_diff)") == "1"


def in_a_dialog_whose_cseq_was_raised(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace(b"INVITE", b"INFO").replace(b"CSeq: 1", b"CSeq: 2"))
    ksr.world.uac_answers = True
    ksr.world.loose_route = 1
    ksr.world.dialog, ksr.world.dialog_from_tag = {"cseq_diff": "1"}, "ft1"
    ksr.rr.loose_route()


def test_later_request_of_the_dialog_has_its_cseq_raised(ksr: MockKSR) -> None:
    in_a_dialog_whose_cseq_was_raised(ksr)
    assert ksr.hdr.get("P-K-CSeq-Refresh") is None
    sent = relayed(ksr).relayed[0].message
    assert sent.get("CSeq") == "3 INFO"
    assert sent.get("P-K-CSeq-Refresh") is None


def test_request_from_the_other_side_keeps_its_cseq(ksr: MockKSR) -> None:
    ksr.receive(INVITE.replace(b"INVITE", b"INFO"))
    ksr.world.loose_route = 1
    ksr.world.dialog, ksr.world.dialog_from_tag = {"cseq_diff": "1"}, "other"
    ksr.rr.loose_route()
    assert relayed(ksr).relayed[0].message.get("CSeq") == "1 INFO"


@pytest.mark.parametrize(("applied", "leaks"), [(False, "3"), (True, None)])
def test_old_cseq_order_leaves_with_the_resend_unless_it_was_applied_and_removed(
    ksr: MockKSR, applied: bool, leaks: str | None
) -> None:
    in_a_dialog_whose_cseq_was_raised(ksr)
    if applied:
        ksr.textopsx.msg_apply_changes()
    relayed(ksr)
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        give_credentials(ksr)
        ksr.hdr.remove("P-K-CSeq-Refresh")
        assert ksr.uac.uac_auth() == 1
        ksr.tm.t_relay()
    assert ksr.relayed[1].message.get("CSeq") == "4 INFO"
    assert ksr.relayed[1].message.get("P-K-CSeq-Refresh") == leaks


def test_cseq_stays_where_no_dialog_is_followed(ksr: MockKSR) -> None:
    ksr.world.uac_answers = True
    relayed(ksr)
    with ksr.failure_route(401, "Auth", [CHALLENGE.replace("Proxy", "WWW")]):
        give_credentials(ksr)
        assert ksr.uac.uac_auth() == 1
        ksr.tm.t_relay()
    sent = ksr.relayed[1].message
    assert sent.get("Authorization") is not None
    assert sent.get("CSeq") == "1 INVITE"


@pytest.mark.parametrize(
    ("challenges", "realm"),
    [
        ([CHALLENGE], "other"),
        ([CHALLENGE], "CAR"),
        ([SHA_256], ""),
        ([], ""),
        ([CHALLENGE.replace("Proxy", "WWW")], ""),
    ],
)
def test_challenge_that_the_real_one_cannot_answer(ksr: MockKSR, challenges: list[str], realm: str) -> None:
    ksr.world.uac_answers = True
    relayed(ksr)
    with ksr.failure_route(407, "Auth", challenges):
        give_credentials(ksr, realm)
        assert ksr.uac.uac_auth() == -1


def test_basic_challenge_is_not_looked_past_either(ksr: MockKSR) -> None:
    ksr.world.uac_answers = True
    relayed(ksr)
    with ksr.failure_route(407, "Auth", ['Proxy-Authenticate: Basic realm="car"', CHALLENGE]):
        give_credentials(ksr)
        assert ksr.uac.uac_auth() == (1 if ksr.version.startswith("6.1") else -1)


def test_only_6_1_looks_past_a_first_challenge_that_it_does_not_know(ksr: MockKSR) -> None:
    ksr.world.uac_answers = True
    relayed(ksr)
    with ksr.failure_route(407, "Auth", [SHA_256, CHALLENGE]):
        give_credentials(ksr)
        assert ksr.uac.uac_auth() == (1 if ksr.version.startswith("6.1") else -1)


def test_challenge_without_credentials_is_not_answered(ksr: MockKSR) -> None:
    ksr.world.uac_answers = True
    relayed(ksr)
    with ksr.failure_route(407, "Auth", [CHALLENGE]):
        ksr.pv.sets("$avp(auser)", "u")
        assert ksr.uac.uac_auth() == -1


# --- the record


def test_calls_and_log_lines_are_kept_in_order(ksr: MockKSR) -> None:
    assert ksr.warn("one\n") == 0
    ksr.is_method("INVITE")
    ksr.err("two\n")
    assert ksr.calls == [("warn", ("one\n",)), ("is_method", ("INVITE",)), ("err", ("two\n",))]
    assert ksr.log == [("warn", "one\n"), ("err", "two\n")]
    assert ksr.called("err") == [("two\n",)]


@pytest.mark.parametrize(
    ("methods", "answer"), [("INVITE", True), ("BYE|INVITE", True), ("invite", True), ("BYE", False)]
)
def test_is_method(ksr: MockKSR, methods: str, answer: bool) -> None:
    assert ksr.is_method(methods) is answer


@pytest.mark.parametrize(("letters", "answer"), [("I", True), ("IB", True), ("B", False), ("ACBOM", False)])
def test_is_method_in(ksr: MockKSR, letters: str, answer: bool) -> None:
    assert ksr.is_method_in(letters) is answer


def test_own_uri_is_one_of_the_sockets(ksr: MockKSR) -> None:
    assert ksr.is_myself("sip:192.0.2.1:5060") is True
    assert ksr.is_myself("sip:x@192.0.2.1") is True
    assert ksr.is_myself("sip:192.0.2.1:5061") is False
    assert ksr.is_myself("sip:192.0.2.1;transport=tcp") is False
    assert ksr.is_myself("sip:192.0.2.2") is False
    assert ksr.is_myself("garbage") is False


# --- the fixture


def test_imported_ksr_is_the_mock_of_the_running_test() -> None:
    import KSR

    with installed(MockKSR("5.6.3")) as first:
        first.receive(INVITE)
        assert KSR.pv.get("$ci") == "c-1"
        with installed(MockKSR("6.0.1")) as second:
            second.receive(INVITE.replace(b"c-1", b"c-2"))
            assert KSR.pv.get("$ci") == "c-2"
        assert KSR.pv.get("$ci") == "c-1"
    assert sys.modules["KSR"] is KSR
    with pytest.raises(RuntimeError, match="outside of a test"):
        KSR.pv.get("$ci")
