"""Faults in handlers over the mocked KSR: the caller gets 500, the log a line without a secret."""

from __future__ import annotations

import pytest

from kemi.handlers import Handlers
from kemi.line import MOST_SHOWN
from kemi.settings import Settings
from tests.flow.scene import (
    PASSWORD,
    PBX,
    Send,
    challenge,
    credential_avps,
    raising,
    request,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply


def test_a_fault_in_the_request_route_500(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    pbx.answer("tm.t_check_trans", raising(ValueError(PASSWORD)))
    send(request())
    assert pbx.replies == [Reply(500, "Internal Server Error")]
    (level, line), (_, call) = pbx.log
    assert level == "err"
    assert line.startswith("fault=ValueError@")
    assert line.endswith(" outcome=fault call-id=call-1\n")
    assert 'outcome=call-failed carrier="" from=sip:alice@pbx.test' in call
    assert 'status=500 reason="Internal Server Error"' in call
    assert not any(PASSWORD in line for _, line in pbx.log)


CALL_IDS = {
    "a zero octet": ("call\0-1", r'"call\u0000-1"'),
    "quotes and spaces": ("c' call-id=\"d", r'''"c' call-id=\"d"'''),
    "a line end": ("c\r\n fault=Forged", r'"c\r\n fault=Forged"'),
    "very long": ("c" * 60_000, f'"{"c" * MOST_SHOWN}..."'),
}


@pytest.mark.parametrize(("call_id", "shown"), CALL_IDS.values(), ids=CALL_IDS)
def test_no_call_id_keeps_the_caller_from_500_or_forges_a_line(
    pbx: MockKSR, routes: Handlers, send: Send, call_id: str, shown: str
) -> None:
    pbx.answer("tm.t_check_trans", raising(ValueError(PASSWORD)))
    pbx.answer("pv.gete", lambda name: call_id if name == "$ci" else "\n" * 12)
    send(request())
    assert pbx.replies == [Reply(500, "Internal Server Error")]
    [(_, line)] = pbx.log
    assert line.endswith(f" call-id={shown}\n")


def test_a_fault_that_cannot_be_logged_is_answered_all_the_same(
    pbx: MockKSR, routes: Handlers, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    pbx.answer("tm.t_check_trans", raising(ValueError()))
    monkeypatch.setattr("kemi.sip.api.write", raising(SystemError()))
    send(request())
    assert pbx.replies == [Reply(500, "Internal Server Error")]


def test_a_fault_that_cannot_be_answered_stays_in_the_handler(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    for function, fault in (("tm.t_check_trans", ValueError()), ("sl.send_reply", SystemError())):
        pbx.answer(function, raising(fault))
    send(request())
    assert pbx.replies == []
    assert "fault=ValueError@" in pbx.log[-1][1]


def test_a_fault_in_the_failure_route_500(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    pbx.answer("uac.uac_auth", raising(ValueError(PASSWORD)))
    challenge(pbx, routes)
    assert pbx.replies == [Reply(500, "Internal Server Error")]
    assert credential_avps(pbx) == []


def test_system_exit_is_the_way_out_and_passes(pbx: MockKSR, routes: Handlers) -> None:
    pbx.answer("tm.t_check_trans", raising(SystemExit()))
    pbx.receive(request(), source=(PBX, 5060))
    with pytest.raises(SystemExit):
        routes.ksr_request_route(None)
    assert pbx.replies == []


def test_a_process_that_is_no_sip_worker_has_no_trunks(pbx: MockKSR, database: Settings) -> None:
    routes = Handlers(database)
    assert [routes.child_init(rank) for rank in (0, -1, -2)] == [0, 0, 0]
    pbx.receive(request(), source=(PBX, 5060))
    routes.ksr_request_route(None)
    assert pbx.replies == [Reply(500, "Internal Server Error")]


def test_replies_and_sent_messages_pass(routes: Handlers) -> None:
    assert (routes.ksr_reply_route(None), routes.ksr_onsend_route(None)) == (1, 1)


def test_no_log_line_holds_a_password(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert pbx.log
    assert not any(PASSWORD in line for _, line in pbx.log)
