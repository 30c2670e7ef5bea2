"""Preemptive responses: which requests carry them, to whom, and what becomes of them. Over the strict mocked KSR."""

from __future__ import annotations

import re

import pytest

from kemi.auth import nonces
from kemi.handlers import Handlers
from kemi.settings import Settings
from kemi.sip import shared
from kemi.trunks.tables import open_file
from tests.flow.scene import (
    CHALLENGE,
    FAILED,
    PASSWORD,
    PBX,
    Marks,
    Send,
    challenge,
    cseqs,
    execute,
    fail,
    in_dialog,
    reply,
    request,
    routes_with,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply


def carried(ksr: MockKSR, name: str = "Proxy-Authorization") -> list[str]:
    """The credentials on each message that left for the request at hand, as nonce and nc; empty where there are none.
    The mocked uac_auth() writes no nc.
    """
    return [", ".join(map(_nonce_and_count, relayed.message.values(name))) for relayed in ksr.relayed]


def _nonce_and_count(value: bytes) -> str:
    return " ".join(re.findall(r'\b(?:nonce="|nc=)(\w+)', value.decode()))


@pytest.fixture
def learned(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    """A call has been challenged with nonce n1, answered, and accepted."""
    send(request(call_id="call-0"))
    challenge(pbx, routes)
    assert carried(pbx) == ["", "n1"]
    reply(pbx, routes, 180)


@pytest.mark.usefixtures("learned")
def test_the_next_call_is_one_invite(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    reply(pbx, routes, 200)
    assert (carried(pbx), cseqs(pbx)) == (["n1 00000002"], ["1 INVITE"])
    assert 'uri="sip:4930123@carrier.test"' in str(pbx.relayed[0].message.get("Proxy-Authorization"))


@pytest.mark.parametrize("provisional", [100, 180])
def test_only_what_was_accepted_is_carried(pbx: MockKSR, routes: Handlers, send: Send, provisional: int) -> None:
    send(request())
    challenge(pbx, routes)
    reply(pbx, routes, provisional)
    send(request())
    assert carried(pbx) == ["" if provisional == 100 else "n1 00000002"]


def test_a_request_that_fails_has_taught_nothing(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    send(request())
    challenge(pbx, routes)
    reply(pbx, routes, 486)
    in_dialog(pbx)
    send(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"))
    assert carried(pbx) == [""]
    challenge(pbx, routes)
    reply(pbx, routes, 481)
    send(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"))
    assert carried(pbx) == [""]


@pytest.mark.usefixtures("learned")
def test_a_rejected_response_costs_no_more_than_none(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    reply(pbx, routes, 200)
    assert (carried(pbx), cseqs(pbx)) == (["n1 00000002", "n2"], ["1 INVITE", "2 INVITE"])
    assert pbx.called("uac.uac_auth") == [(), ()]  # of both challenged calls
    send(request())
    assert carried(pbx) == ["n2 00000002"]


@pytest.mark.usefixtures("learned")
def test_the_same_nonce_is_asked_for_again_and_counts_on(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    assert carried(pbx) == ["n1 00000002", "n1 00000003"]


@pytest.mark.usefixtures("learned")
def test_credentials_that_are_refused_end_the_call(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    challenge(pbx, routes, CHALLENGE.replace("n1", "n3"))
    assert (len(pbx.relayed), pbx.replies) == (2, [FAILED])


def test_a_carrier_that_rejects_is_backed_off_and_the_log_says_so(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    firsts = []
    for number in range(nonces.MOST_REJECTED + 3):
        send(request())
        firsts.append(carried(pbx)[0] != "")
        challenge(pbx, routes, CHALLENGE.replace("n1", f"n{number}"))
        reply(pbx, routes, 200)
    assert firsts == [False, True, True, True, False, False]
    lines = [text for _, text in pbx.log if "backed-off" in text]
    assert lines == ["trunk=berlin outcome=backed-off seconds=600 call-id=call-1\n"]


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize("method", ["INVITE", "BYE", "UPDATE", "INFO"])
def test_a_request_in_a_dialog_carries_it_too(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks, method: str
) -> None:
    in_dialog(pbx)
    send(marks.request(method, uri=f"sip:callee@{pbx.world.carrier}"))
    assert (carried(pbx), cseqs(pbx)) == (["n1 00000002"], [f"1 {method}"])
    assert ("reply" in pbx.armed) is (method == "INVITE")  # of another one there is nothing to be learned


@pytest.mark.usefixtures("learned")
def test_the_replies_in_a_dialog_are_read_where_the_carrier_names_its_nonces(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    send(request())
    reply(pbx, routes, 200, 'Proxy-Authentication-Info: nextnonce="n2"')
    in_dialog(pbx)
    send(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"))
    reply(pbx, routes, 200, 'Proxy-Authentication-Info: nextnonce="n3"')
    send(request())
    assert carried(pbx) == ["n3 00000001"]


def test_an_accepted_bye_proves_nothing(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    for number in range(nonces.MOST_REJECTED):
        send(request())
        challenge(pbx, routes, CHALLENGE.replace("n1", f"n{number}"))
        reply(pbx, routes, 200, f'Proxy-Authentication-Info: nextnonce="m{number}"')
        in_dialog(pbx)
        send(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"))
        reply(pbx, routes, 200)
        pbx.world.dialog = None
    send(request())
    challenge(pbx, routes)
    assert any("backed-off" in text for _, text in pbx.log)


@pytest.mark.usefixtures("learned")
def test_a_call_that_was_forbidden_after_it_rang_is_forbidden(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    reply(pbx, routes, 180)
    fail(pbx, routes, 403)
    assert (len(pbx.relayed), pbx.replies[-1]) == (1, Reply(403, "No", passed_on=True))


@pytest.mark.usefixtures("learned")
def test_a_request_in_a_dialog_teaches_too(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("BYE"))
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    reply(pbx, routes, 200)
    send(request())
    assert carried(pbx) == ["n2 00000002"]


@pytest.mark.usefixtures("learned")
def test_in_a_dialog_a_host_that_is_not_the_carriers_address_gets_none(pbx: MockKSR, send: Send, marks: Marks) -> None:
    send(request())
    assert carried(pbx) == ["n1 00000002"]
    in_dialog(pbx)
    for uri in ("sip:callee@far.test", "sip:callee@203.0.113.6"):
        send(marks.request("BYE", uri=uri))
        assert carried(pbx) == [""]
    pbx.world.route_leads_to = "sip:203.0.113.6;lr"
    send(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"))
    assert carried(pbx) == [""]


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize(("look_up", "credentials"), [("by_row", ""), ("places", "n1 00000002")])  # its peer is known
def test_a_request_in_a_dialog_goes_whatever_the_file_is_like(
    pbx: MockKSR,
    routes: Handlers,
    send: Send,
    marks: Marks,
    monkeypatch: pytest.MonkeyPatch,
    look_up: str,
    credentials: str,
) -> None:
    def broken(_sought: object) -> None:
        raise OSError("no file")

    monkeypatch.setattr(routes.trunks, look_up, broken)
    in_dialog(pbx)
    send(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"))
    assert (carried(pbx), pbx.replies) == ([credentials], [])
    assert any(text.startswith("fault=OSError@") for _, text in pbx.log)


CHANGES = {
    "another carrier": "auth_proxy = 'sip:192.0.2.99'",
    "another domain": "r_domain = 'other.test'",
    "another realm": "realm = 'other'",
    "no password": "auth_password = ''",
    "an HA1 of another algorithm": f"auth_password = '', auth_ha1 = '{'0' * 64}'",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_row_that_has_changed_meanwhile_carries_nothing(
    pbx: MockKSR, database: Settings, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kemi.trunks.local.FRESH_FOR", 0)
    engine = open_file(database.local_file)
    execute(engine, "REPLACE INTO uacreg (l_uuid, r_domain, realm, auth_proxy, auth_username, auth_password)"
                    " VALUES ('new', 'carrier.test', 'carrier', 'sip:sbc.carrier.test', 'u', 'p')")  # fmt: skip
    routes = pbx.handlers = routes_with(database)

    def call() -> None:
        pbx.receive(request(headers="X-Trunk: new\r\n"), source=(PBX, 5060))
        routes.ksr_request_route(None)

    call()
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    call()
    assert carried(pbx) == ["n1 00000002"]
    execute(engine, f"UPDATE uacreg SET {change} WHERE l_uuid = 'new'")
    call()
    assert carried(pbx) == [""]
    execute(engine, "DELETE FROM uacreg WHERE l_uuid = 'new'")
    engine.dispose()
    routes.trunks.close()


def test_a_row_that_names_no_carrier_carries_nothing(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    call = request(caller="<sip:erin@pbx.test>", uri="sip:1@192.0.2.77")
    send(call)
    challenge(pbx, routes)
    assert (carried(pbx), pbx.replies) == ([""], [FAILED])
    send(call)
    assert carried(pbx) == [""]
    assert pbx.tables.content("nonces") == pbx.tables.content("nonce_counts") == {}


def test_off_is_off(pbx: MockKSR, database: Settings, marks: Marks) -> None:
    routes = pbx.handlers = routes_with(database, {"TRUNKAUTH_PREEMPTIVE": "off"})
    for response in ("n1", "n1 00000002"):  # a nonce that serves several calls is counted all the same
        pbx.receive(request(), source=(PBX, 5060))
        routes.ksr_request_route(None)
        challenge(pbx, routes)
        reply(pbx, routes, 200)
        assert carried(pbx) == ["", response]
    in_dialog(pbx)
    pbx.receive(marks.request("BYE", uri=f"sip:callee@{pbx.world.carrier}"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    routes.trunks.close()
    assert carried(pbx) == [""]
    tables = {args[0] for name, args in pbx.calls if name.startswith("htable")}
    assert tables == {"sequences", "nonce_counts", "acks", "asked"}


@pytest.mark.usefixtures("learned")
def test_a_carrier_that_forbids_preemptive_responses_may_challenge(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    fail(pbx, routes, 403)
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    assert (carried(pbx), cseqs(pbx)) == (["n1 00000002", "", "n2"], ["1 INVITE", "2 INVITE", "3 INVITE"])
    fail(pbx, routes, 403)
    assert pbx.replies == [Reply(403, "No", passed_on=True)]
    send(request())
    assert carried(pbx) == [""]


def test_a_call_that_is_forbidden_is_forbidden(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    fail(pbx, routes, 403)
    assert (len(pbx.relayed), pbx.replies) == (1, [Reply(403, "No", passed_on=True)])


@pytest.mark.usefixtures("learned")
def test_a_cancelled_call_is_not_sent_again(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    pbx.world.cancelled = True
    fail(pbx, routes, 403)
    assert (len(pbx.relayed), pbx.replies) == (1, [Reply(487, "Request Terminated")])


NAMED = 'Proxy-Authentication-Info: nextnonce="n2"'
NEXT = {
    "a proxy's": (NAMED, 200, "n2 00000001"),
    "a proxy's, over two fields": (f"Proxy-Authentication-Info: qop=auth\r\n{NAMED}", 200, "n2 00000001"),
    "a proxy's, by the other name": ('Authentication-Info: nextnonce="n2"', 200, "n2 00000001"),
    "none": ("Authentication-Info: qop=auth", 200, "n1 00000003"),
    "on a ringing": (NAMED, 180, "n1 00000003"),
    "not to be read": ("Proxy-Authentication-Info: nextnonce", 200, "n1 00000003"),
}


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize(("field", "status", "then"), NEXT.values(), ids=NEXT)
def test_the_nonce_that_a_carrier_names_is_the_next(
    pbx: MockKSR, routes: Handlers, send: Send, field: str, status: int, then: str
) -> None:
    send(request())
    reply(pbx, routes, status, field)
    send(request())
    assert carried(pbx) == [then]


def test_a_proxys_and_the_far_ends_are_both_carried(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    send(request())
    challenge(pbx, routes)
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"), code=401)
    reply(pbx, routes, 200)
    send(request())
    assert (carried(pbx), carried(pbx, "Authorization")) == (["n1 00000003"], ["n2 00000002"])
    challenge(pbx, routes, CHALLENGE.replace("n1", "n3"), code=401)
    assert (carried(pbx)[1], carried(pbx, "Authorization")[1]) == ("n1 00000004", "n3 00000001")


def test_a_far_end_of_another_realm_has_to_ask(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    """The next call may go to another one, which has no use for an answer to the first."""
    call = request(caller="<sip:bob@pbx.test>")
    for nonce in ("f1", "f2"):
        send(call)
        if nonce == "f1":
            challenge(pbx, routes)
        assert (carried(pbx)[-1][:2], carried(pbx, "Authorization")[-1]) == ("n1", "")
        challenge(pbx, routes, CHALLENGE.replace("carrier", "far").replace("n1", nonce), code=401)
        reply(pbx, routes, 200)
    assert carried(pbx) == ["n1 00000003", "n1 00000004"]


@pytest.mark.usefixtures("learned")
def test_an_r_uri_that_is_not_utf8_is_relayed_without_a_response(
    pbx: MockKSR, routes: Handlers, send: Send, marks: Marks
) -> None:
    in_dialog(pbx)
    bye = marks.request("BYE", uri=f"sip:@{pbx.world.carrier}").encode().replace(b"sip:@", b"sip:\xff@", 1)
    pbx.receive(bye, source=(PBX, 5060))
    assert routes.ksr_request_route(None) == 1
    assert (carried(pbx), pbx.replies) == ([""], [])


@pytest.mark.usefixtures("learned")
def test_only_the_first_accepting_reply_teaches(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    """Its 200 may come long after its 180, when the nonce has ended and another call has learned the next."""
    send(request())
    challenge(pbx, routes, CHALLENGE.replace("n1", "n2"))
    reply(pbx, routes, 183)
    carrier = ("berlin", "sip:sbc.carrier.test carrier.test")
    held = shared.record(*carrier)
    newer = [one._replace(challenge=one.challenge._replace(nonce="n3"), challenged=True) for one in held.held]
    shared.set_record(*carrier, nonces.accepted(held, newer, carrier[1], now=0))
    for status in (183, 183, 200):
        reply(pbx, routes, status)
    assert shared.record(*carrier).held[0].challenge.nonce == "n3"
    kept = [text for name, text in pbx.called("pv.sets") if name == "$avp(attempt)"]
    accepted = [text for text in kept if ",true,false,true,false,false,[[" in text]
    answered = [text for text in kept if ",true,true,true,false,false,[[" in text]
    assert (len(accepted), len(answered)) == (2, 1)  # this call's, and that of the one before, which rang alone


def test_an_accepted_options_proves_nothing(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    for number in range(nonces.MOST_REJECTED + 1):
        send(request())
        challenge(pbx, routes, CHALLENGE.replace("n1", f"n{number}"))
        reply(pbx, routes, 200)
        send(request("OPTIONS"))
        reply(pbx, routes, 200)
    assert any("backed-off" in text for _, text in pbx.log)


def test_what_is_shared_holds_no_secret(pbx: MockKSR, routes: Handlers, send: Send) -> None:
    for algorithm in ("MD5", "SHA-256"):
        send(request())
        challenge(pbx, routes, CHALLENGE.replace("MD5", algorithm))
        reply(pbx, routes, 200)
        send(request())
        response = re.findall(r'response="(\w+)"', str(pbx.relayed[0].message.get("Proxy-Authorization")))
        shared = str(pbx.tables.content("nonces")) + str(pbx.tables.content("nonce_counts"))
        sent, *others = pbx.state.avps.pop("sent")  # the message as it left, for as long as its transaction
        assert response
        for secret in (PASSWORD, "u4711", response[0]):
            assert secret not in shared + str(pbx.state.avps)
        assert (PASSWORD in str(sent), others) == (False, [])
        challenge(pbx, routes, CHALLENGE.replace("n1", "n0"))
