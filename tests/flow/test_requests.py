"""New requests over the mocked KSR: who may call, over which trunk, to where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kemi.auth import codec
from kemi.handlers import Handlers
from kemi.health.memory import Guard, Memory
from kemi.line import word
from kemi.replica import copy as replica
from kemi.settings import Settings
from tests.flow.scene import (
    HOSTS,
    PBX,
    SBC,
    Marks,
    Send,
    challenge,
    copied,
    in_dialog,
    request,
    routes_with,
)
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply


def test_a_call_goes_to_its_trunk(pbx: MockKSR, send: Send) -> None:
    send(request())
    [relayed] = pbx.relayed
    assert relayed.ruri == "sip:4930123@carrier.test"
    assert relayed.next_hop == SBC
    assert "Record-Route" in relayed.message.names
    assert pbx.state.dialog == {}
    assert pbx.state.keepalive == "ka-src"
    assert pbx.replies == []


SELECTED = {
    "X-Trunk": (request(headers="X-Trunk: plain\r\n"), "plain"),
    "X-Trunk before the caller": (request(headers="X-Trunk:  any-domain \r\n"), "any-domain"),
    "caller's user and domain": (request(), "berlin"),
    "caller's domain in capitals": (request(caller="<sip:alice@PBX.Test>"), "berlin"),
    "caller's user, any domain": (request(caller="<sip:bob@anywhere.test>"), "any-domain"),
    "R-URI's domain": (request(caller="<sip:nobody@x.test>", uri="sip:1@bobs.test"), "any-domain"),
    "no user in From": (request(caller="<sip:pbx.test>", uri="sip:1@bobs.test"), "any-domain"),
    "the default": (request(caller="<sip:nobody@x.test>"), "plain"),
}


@pytest.mark.parametrize(("message", "trunk"), SELECTED.values(), ids=SELECTED)
def test_the_first_rule_that_hits_selects_the_trunk(pbx: MockKSR, database: Settings, message: str, trunk: str) -> None:
    routes = routes_with(database, {"TRUNKAUTH_DEFAULT_TRUNK": "plain"})
    pbx.receive(message, source=(PBX, 5060))
    routes.ksr_request_route(None)
    routes.trunks.close()
    assert codec.attempt(str(pbx.state.avps["attempt"][0])).trunk == trunk


def test_without_a_trunk_404(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:nobody@x.test>"))
    assert pbx.replies == [Reply(404, "No Trunk")]
    assert pbx.relayed == []


UNUSABLE = {
    "X-Trunk names it": (request(headers="X-Trunk: bad-ha1\r\n"), "bad-ha1", "auth_ha1 is not 32 or 64 hex digits"),
    "it is the caller's": (
        request(caller="<sip:ivan@x.test>", uri="sip:1@bobs.test"), "bad-ha1", "auth_ha1 is not 32 or 64 hex digits",
    ),
    "it has no secret": (request(caller="<sip:heidi@x.test>"), "no-secret", "auth_password and auth_ha1 are empty"),
    "its socket is another's": (
        request(caller="<sip:frank@x.test>"), "bad-socket", "socket is not one that Kamailio listens on",
    ),
    "it is the default": (request(caller="<sip:nobody@x.test>"), "bad-ha1", "auth_ha1 is not 32 or 64 hex digits"),
}  # fmt: skip


@pytest.mark.parametrize(("message", "trunk", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_row_that_cannot_be_used_ends_the_call(
    pbx: MockKSR, database: Settings, message: str, trunk: str, reason: str
) -> None:
    """The rules further down would find `any-domain` or `bad-ha1`: somebody else's bill."""
    routes = routes_with(database, {"TRUNKAUTH_DEFAULT_TRUNK": "bad-ha1"})
    pbx.receive(message, source=(PBX, 5060))
    routes.ksr_request_route(None)
    routes.trunks.close()
    assert (pbx.replies, pbx.relayed) == ([Reply(404, "No Trunk")], [])
    assert pbx.log[0] == ("warn", f"trunk={trunk} outcome=unusable reason={word(reason)} call-id=call-1\n")


def test_an_x_trunk_that_no_row_has_is_not_sent_over_another(pbx: MockKSR, send: Send) -> None:
    send(request(headers="X-Trunk: none\r\n"))
    assert (pbx.replies, pbx.relayed) == ([Reply(404, "No Trunk")], [])


def test_an_unlisted_source_403(pbx: MockKSR, send: Send) -> None:
    send(request(headers="X-Trunk: berlin\r\n"), source="198.51.100.7")
    assert pbx.replies == [Reply(403, "Forbidden")]
    assert pbx.relayed == []


def test_private_headers_and_routes_go_no_further(pbx: MockKSR, send: Send) -> None:
    private = ("Authorization", "Proxy-Authorization", "Route")
    send(request(headers="".join(f"{name}: <sip:elsewhere.test;lr>\r\n" for name in private)
                 + "X-Trunk: berlin\r\nX-Trunk: plain\r\nX-Kept: yes\r\n"))  # fmt: skip
    assert not {*private, "X-Trunk"} & set(pbx.relayed[0].message.names)
    assert "X-Kept" in pbx.relayed[0].message.names


def test_without_r_domain_the_dialled_domain_is_kept(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:carol@x.test>", uri="sip:4930123@dialled.test"))
    assert (pbx.relayed[0].ruri, pbx.relayed[0].next_hop) == ("sip:4930123@dialled.test", SBC)


def test_without_auth_proxy_r_domain_is_the_next_hop(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:bob@x.test>"))
    [relayed] = pbx.relayed
    assert (relayed.ruri, relayed.next_hop) == ("sip:4930123@bobs.test", f"sip:{HOSTS['bobs.test']}:5060;transport=udp")


NEXT_HOPS = ("sip:192.0.2.9", "sip:[2001:db8::9]:5070;transport=tcp;lr")


@pytest.mark.parametrize("uri", NEXT_HOPS)
def test_an_auth_proxy_that_is_an_address_is_the_next_hop(pbx: MockKSR, database: Settings, uri: str) -> None:
    value = uri.replace(":", r"\:")  # SQLAlchemy reads :5070 as a parameter
    row = f"REPLACE INTO uacreg (l_uuid, auth_proxy, auth_username, auth_password) VALUES ('new', '{value}', 'u', 'p')"
    copied(database, row)
    routes = pbx.handlers = routes_with(database)
    pbx.receive(request(headers="X-Trunk: new\r\n"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    routes.trunks.close()
    assert pbx.relayed[0].next_hop == uri


def with_next_hop(database: Settings, host: str) -> None:
    row = (
        f"REPLACE INTO uacreg (l_uuid, auth_proxy, auth_username, auth_password) VALUES ('new', 'sip:{host}', 'u', 'p')"
    )
    copied(database, row)


def test_a_name_that_cannot_be_resolved_503(pbx: MockKSR, database: Settings, send: Send) -> None:
    with_next_hop(database, "nowhere.test")
    send(request(headers="X-Trunk: new\r\n"))
    assert (pbx.relayed, pbx.replies) == ([], [Reply(503, "Next Hop Unreachable")])
    assert pbx.log[0] == ("warn", "trunk=new outcome=unreachable call-id=call-1\n")


@pytest.mark.parametrize(("transport", "replies"), [("UDP", []), ("TCP", [Reply(503, "Next Hop Unreachable")])])
def test_a_name_that_was_not_tried_yet_waits_for_the_request_to_come_again(
    pbx: MockKSR, database: Settings, send: Send, transport: str, replies: list[Reply]
) -> None:
    with_next_hop(database, "unheard-of.test")
    send(request(headers="X-Trunk: new\r\n").replace("SIP/2.0/UDP", f"SIP/2.0/{transport}"))
    assert (pbx.relayed, pbx.replies) == ([], replies)


def test_a_trunk_that_leads_back_to_us_is_no_trunk(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:erin@x.test>"))
    assert pbx.replies == [Reply(404, "No Trunk")]
    assert any("trunk=no-next-hop" in line for _, line in pbx.log)


def test_the_rows_socket_sends(pbx: MockKSR, send: Send) -> None:
    send(request(caller="<sip:grace@x.test>"))
    assert pbx.relayed[0].socket == "udp:192.0.2.1:5060"


def test_a_next_hop_that_cannot_be_sent_to_503(pbx: MockKSR, send: Send) -> None:
    pbx.world.unreachable.add(SBC)
    send(request())
    assert pbx.replies == [Reply(503, "Next Hop Unreachable")]


@pytest.mark.parametrize("field", ["Call-ID: call-1", "Proxy-Require: a"])
def test_a_field_that_is_folded_where_it_must_not_be_400(pbx: MockKSR, send: Send, field: str) -> None:
    send(request(headers="Proxy-Require: a\r\n" * field.startswith("Proxy")).replace(field, f"{field}\r\n b"))
    assert [reply.code for reply in pbx.replies] == [400]
    assert pbx.relayed == []


@pytest.mark.parametrize("method", ["MESSAGE", "PUBLISH", "OPTIONS"])
def test_a_request_that_starts_no_dialog_is_relayed_without_record_route(pbx: MockKSR, send: Send, method: str) -> None:
    send(request(method))
    assert pbx.relayed[0].ruri == "sip:4930123@carrier.test"
    assert "Record-Route" not in pbx.relayed[0].message.names
    assert pbx.state.dialog is None


def test_register_405_names_what_is_served(pbx: MockKSR, send: Send) -> None:
    send(request("REGISTER", uri="sip:192.0.2.1"))
    assert pbx.replies == [Reply(405, "Method Not Allowed")]
    assert pbx.called("hdr.append_to_reply")[0][0].startswith("Allow: INVITE, ")


def test_options_to_the_proxy_200_for_everyone(pbx: MockKSR, send: Send) -> None:
    send(request("OPTIONS", uri="sip:192.0.2.1:5060"), source="198.51.100.7")
    assert pbx.replies == [Reply(200, "OK")]


def test_too_many_hops_483(pbx: MockKSR, send: Send) -> None:
    send(request().replace("Max-Forwards: 70", "Max-Forwards: 0"))
    assert pbx.replies == [Reply(483, "Too Many Hops")]
    assert pbx.relayed == []


def test_octets_after_the_body_are_discarded(pbx: MockKSR, send: Send) -> None:
    send(request().replace("Content-Length: 0", "Content-Length: 2") + "ab\r\n")
    assert pbx.relayed[0].message.body == b"ab"


def test_a_content_length_beyond_the_body_400(pbx: MockKSR, send: Send) -> None:
    send(request().replace("Content-Length: 0", "Content-Length: 3") + "ab")
    assert [reply.code for reply in pbx.replies] == [400]
    assert pbx.relayed == []


def test_without_max_forwards_70(pbx: MockKSR, send: Send) -> None:
    send(request().replace("Max-Forwards: 70\r\n", ""))
    assert pbx.relayed[0].message.get("Max-Forwards") == "70"


@pytest.mark.parametrize(
    ("rows", "unsupported"), [("Proxy-Require: a, b\r\nProxy-Require: c\r\n", "a, b, c"), ("Proxy-Require:\r\n", "")]
)
def test_proxy_require_420_names_all_that_is_unsupported(pbx: MockKSR, send: Send, rows: str, unsupported: str) -> None:
    send(request(headers=rows))
    assert [reply.code for reply in pbx.replies] == [420] * bool(unsupported)
    assert pbx.called("hdr.append_to_reply") == [(f"Unsupported: {unsupported}\r\n",)] * bool(unsupported)


def test_what_is_not_sane_goes_no_further(pbx: MockKSR, send: Send) -> None:
    pbx.world.sane = False
    send(request())
    assert [reply.code for reply in pbx.replies] == [400]
    assert pbx.relayed == []


def test_what_is_not_utf8_400(pbx: MockKSR, routes: Handlers) -> None:
    pbx.receive(request(headers="X-Trunk: @\r\n").encode().replace(b"@\r\n", b"\xff\r\n"), source=(PBX, 5060))
    routes.ksr_request_route(None)
    assert pbx.replies == [Reply(400, "Not UTF-8")]


def test_a_nul_which_no_function_of_kamailio_takes_400(pbx: MockKSR, send: Send) -> None:
    send(request("MESS\0AGE"))
    assert pbx.replies == [Reply(400, "Bad Request")]


def test_a_retransmission_is_left_to_its_transaction(pbx: MockKSR, send: Send) -> None:
    pbx.world.transaction_known = 0
    send(request())
    assert (pbx.relayed, pbx.replies) == ([], [])


def test_a_cancel_follows_its_invite(pbx: MockKSR, send: Send) -> None:
    pbx.world.transaction_known = 1
    send(request("CANCEL"))
    assert len(pbx.relayed) == 1


@pytest.mark.parametrize(("known", "source"), [(-1, PBX), (1, "203.0.113.9")])
def test_a_cancel_of_nothing_or_of_anothers_is_481(pbx: MockKSR, send: Send, known: int, source: str) -> None:
    pbx.world.transaction_known = known
    send(request("CANCEL"), source=source)
    assert (pbx.relayed, [reply.code for reply in pbx.replies]) == ([], [481])


def test_an_ack_of_nothing_is_dropped(pbx: MockKSR, send: Send) -> None:
    send(request("ACK"))
    send(request("ACK", to_tag="b"))
    assert (pbx.relayed, pbx.replies) == ([], [])


RETRY_LATER = [(503, "Service Unavailable", ("Retry-After: 10",))]


def told(pbx: MockKSR) -> list[tuple[int, str, tuple[str, ...]]]:
    """What the caller was told, header fields of ours included."""
    return [(reply.code, reply.reason, reply.headers) for reply in pbx.replies]


@pytest.fixture
def full_memory() -> Iterator[None]:
    Guard().judge(Memory(total=1024, free=10), now=100.0)
    yield
    Guard().judge(Memory(total=1024, free=1000), now=100.0)


@pytest.mark.usefixtures("full_memory")
def test_while_memory_is_full_a_new_call_503_retry_after(pbx: MockKSR, send: Send) -> None:
    send(request())
    assert told(pbx) == RETRY_LATER
    assert pbx.relayed == []


@pytest.mark.usefixtures("full_memory")
def test_while_memory_is_full_calls_that_are_up_go_on(pbx: MockKSR, routes: Handlers, send: Send, marks: Marks) -> None:
    in_dialog(pbx)
    send(marks.request("BYE"))
    challenge(pbx, routes)
    assert ([relayed.message.method for relayed in pbx.relayed], pbx.replies) == ([b"BYE", b"BYE"], [])


PROBE = request("OPTIONS", uri="sip:192.0.2.1:5060")


@pytest.mark.usefixtures("full_memory")
def test_while_memory_is_full_options_503_retry_after(pbx: MockKSR, send: Send) -> None:
    send(PROBE, source="198.51.100.7")
    assert told(pbx) == RETRY_LATER


def test_before_names_were_tried_options_503_retry_after(
    pbx: MockKSR, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kemi.health.ready._ARE_TRIED", bytearray(1))
    send(PROBE)
    assert told(pbx) == RETRY_LATER
    send(request())  # whose trunk's name may be known from an earlier run
    assert len(pbx.relayed) == 1


@pytest.mark.parametrize("message", [request(), PROBE], ids=["a call", "OPTIONS"])
def test_before_the_first_copy_503_retry_after(pbx: MockKSR, tmp_path: Path, message: str) -> None:
    settings = Settings.from_environment({
        "TRUNKAUTH_STATE_DIR": str(tmp_path), "TRUNKAUTH_DB_URL": "postgresql+psycopg://u@h/d",
    })  # fmt: skip
    replica.prepare(settings.local_file, settings.db_url, settings.rules)
    pbx.receive(message, source=(PBX, 5060))
    serve_once(settings)
    assert told(pbx) == RETRY_LATER


@pytest.mark.parametrize("content", [b"", b"no database at all\n" * 1000, None], ids=["empty", "damaged", "gone"])
def test_while_the_trunks_cannot_be_read_options_503_retry_after(
    pbx: MockKSR, tmp_path: Path, content: bytes | None
) -> None:
    settings = Settings.from_environment({"TRUNKAUTH_STATE_DIR": str(tmp_path)})
    if content is not None:
        settings.local_file.write_bytes(content)
    pbx.receive(PROBE, source=(PBX, 5060))
    serve_once(settings)
    assert told(pbx) == RETRY_LATER


def serve_once(settings: Settings) -> None:
    """Have a worker with these settings serve the request at hand."""
    routes = Handlers(settings)
    routes.child_init(1)
    routes.ksr_request_route(None)
    routes.trunks.close()
