"""The flow of a request that goes on: where each attempt goes, what it carries, and what the caller hears at last."""

from __future__ import annotations

import time

import pytest

from kemi.auth.resend import MOST_ANSWERED
from kemi.handlers import Handlers
from kemi.names.file import NamesFile
from kemi.settings import Settings
from kemi.sip import standings
from kemi.trunks.hops import Hop, Target
from kemi.trunks.plan import MOST_BRANCHES
from kemi.trunks.standing import MOST_FAILURES, UP, Standing, is_out
from tests.flow.scene import CHALLENGE, FAILED, PBX, STALE, challenge, copied, cseqs, fail, reply, request
from tests.ksr.mock import MockKSR
from tests.ksr.state import Reply

ROWS = """
INSERT INTO uacreg (l_uuid, l_username, r_domain, realm, auth_proxy, auth_username, auth_password, socket)
VALUES
 ('one', 'alice', 'one.test', 'carrier', 'sip:203.0.113.1', 'u1', 'p1', 'udp:192.0.2.1:5060'),
 ('two', 'alice', '', 'carrier', 'sip:203.0.113.2', 'u2', 'p2', ''),
 ('three', 'bob', 'three.test', 'carrier', 'sip:203.0.113.3', 'u3', 'p3', '')
"""
POLICIES = "INSERT INTO trunk (l_uuid, priority) VALUES ('one', 1), ('two', 2)"
ONE, TWO = "sip:203.0.113.1", "sip:203.0.113.2"
CARRIERS_503 = Reply(503, "No")


def send(
    pbx: MockKSR, routes: Handlers, headers: str = "", caller: str = "<sip:alice@pbx.test>", method: str = "INVITE"
) -> None:
    pbx.receive(request(method, headers=headers, caller=caller), source=(PBX, 5060))
    routes.ksr_request_route(None)


def went(pbx: MockKSR) -> list[tuple[str, str, str | None]]:
    return [(relayed.next_hop, relayed.ruri, relayed.socket) for relayed in pbx.relayed]


def test_each_attempt_starts_from_the_callers_own_request(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes)
    challenge(pbx, routes)
    fail(pbx, routes, 503)
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    one = (ONE, "sip:4930123@one.test", "udp:192.0.2.1:5060")
    two = (TWO, "sip:4930123@192.0.2.1:5060;transport=udp", None)
    assert went(pbx) == [one, one, two, two]
    answers = [relayed.message.get("Proxy-Authorization") or "" for relayed in pbx.relayed]
    assert ["u1" in answer for answer in answers] == [False, True, False, False]
    assert ["u2" in answer for answer in answers] == [False, False, False, True]
    assert cseqs(pbx) == [f"{number} INVITE" for number in (1, 2, 3, 4)]
    assert pbx.replies[-1].cseq == "1 INVITE"


def test_the_failure_route_of_a_silent_trunk_is_run_by_a_timer_process(
    pbx: MockKSR, routes: Handlers, settings: Settings
) -> None:
    send(pbx, routes)
    assert pbx.called("tm.t_set_fr") == [(180000, 4000)]
    timer = pbx.handlers = Handlers(settings)
    timer.child_init(-1)
    with pbx.timeout() as route:
        getattr(timer, route)(None)
    timer.trunks.close()
    assert [hop for hop, *_ in went(pbx)] == [ONE, TWO]
    assert any("trunk=one outcome=next reason=silent call-id=call-1" in line for _, line in pbx.log)


def test_one_trunk_alone_is_waited_for_as_before(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, caller="<sip:bob@pbx.test>")
    assert pbx.called("tm.t_set_fr") == []
    with pbx.timeout() as route:
        getattr(routes, route)(None)
    assert pbx.replies[-1] == Reply(408, "Request Timeout", passed_on=True)


def test_of_several_calls_one_tries_a_trunk_that_was_down(pbx: MockKSR, routes: Handlers) -> None:
    pbx.receive(request())
    down = Standing(MOST_FAILURES, since=1, until=int(time.time()))
    standings.change("three", lambda _: down)
    send(pbx, routes, caller="<sip:bob@pbx.test>")
    assert is_out(standings.standing("three"), int(time.time()))


def test_a_trunk_is_left_out_for_all_of_a_long_retry_after(
    pbx: MockKSR, routes: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(pbx, routes)
    fail(pbx, routes, 503, "Retry-After: 86400")
    now, monotonic, passed = time.time(), time.monotonic(), 86000
    monkeypatch.setattr(time, "time", lambda: now + passed)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic + passed)
    pbx.tables.pass_time(passed)
    send(pbx, routes)
    assert [hop for hop, *_ in went(pbx)] == [TWO]


def test_a_message_is_not_sent_twice_because_nothing_came(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, method="MESSAGE")
    with pbx.timeout() as route:
        getattr(routes, route)(None)
    assert [hop for hop, *_ in went(pbx)] == [ONE]
    assert pbx.replies[-1] == Reply(408, "Request Timeout", passed_on=True)


def test_a_message_is_waited_for_as_before(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, method="MESSAGE")
    assert pbx.called("tm.t_set_fr") == []
    fail(pbx, routes, 503)
    assert [hop for hop, *_ in went(pbx)] == [ONE, TWO]


def test_when_all_are_used_up_the_caller_gets_the_best_last_word(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes)
    fail(pbx, routes, 503, "Retry-After: 30")
    fail(pbx, routes, 503, "Retry-After: 4")
    assert pbx.replies == [CARRIERS_503]
    assert pbx.replies[0].headers == ("Retry-After: 30",)


def test_answers_are_counted_over_all_places(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes)
    challenge(pbx, routes)
    for _ in range(2):
        challenge(pbx, routes, STALE)
    fail(pbx, routes, 503)
    challenge(pbx, routes)
    challenge(pbx, routes, STALE)
    assert [hop for hop, *_ in went(pbx)] == [ONE] * 4 + [TWO] * 2
    assert pbx.replies == [FAILED]
    assert any("trunk=two" in line and "too many challenges" in line for _, line in pbx.log)


def places(changing: Settings, number: int) -> str:
    """Have so many trunks more; return their X-Trunk."""
    values = [(f"t{place}", f"sip:198.51.100.{place}") for place in range(number)]
    rows = ", ".join(f"('{uuid}', '{hop}', 'carrier', 'u', 'p')" for uuid, hop in values)
    copied(changing, f"INSERT INTO uacreg (l_uuid, auth_proxy, realm, auth_username, auth_password) VALUES {rows}")
    return f"X-Trunk: {', '.join(uuid for uuid, _ in values)}\r\n"


def test_a_trunk_that_asks_when_the_answers_are_spent_is_not_to_blame(
    pbx: MockKSR, routes: Handlers, changing: Settings
) -> None:
    send(pbx, routes, places(changing, MOST_ANSWERED + 2))
    for _ in range(MOST_ANSWERED):
        challenge(pbx, routes)
        fail(pbx, routes, 503)
    challenge(pbx, routes)
    challenge(pbx, routes)
    assert pbx.replies == [CARRIERS_503]
    assert [standings.standing(f"t{place}").failures for place in range(MOST_ANSWERED + 2)] == [1] * MOST_ANSWERED + [
        0,
        0,
    ]


def test_when_no_attempt_is_left_the_caller_gets_the_best_word_so_far_and_nobody_is_blamed(
    pbx: MockKSR, routes: Handlers, changing: Settings
) -> None:
    send(pbx, routes, places(changing, MOST_BRANCHES + 1))
    for _ in range(MOST_BRANCHES):
        fail(pbx, routes, 503)
    assert (len(pbx.relayed), pbx.replies) == (MOST_BRANCHES, [CARRIERS_503])
    assert standings.standing(f"t{MOST_BRANCHES}") == UP


def test_a_challenge_to_the_last_attempt_is_not_answered_and_nobody_is_blamed(
    pbx: MockKSR, routes: Handlers, changing: Settings
) -> None:
    send(pbx, routes, places(changing, MOST_BRANCHES))
    for _ in range(MOST_BRANCHES - 1):
        fail(pbx, routes, 503)
    challenge(pbx, routes)
    assert (len(pbx.relayed), pbx.replies) == (MOST_BRANCHES, [CARRIERS_503])
    assert standings.standing(f"t{MOST_BRANCHES - 1}") == UP


def test_what_cannot_be_sent_takes_an_attempt_too(pbx: MockKSR, routes: Handlers, changing: Settings) -> None:
    pbx.world.unreachable |= {f"sip:198.51.100.{place}" for place in range(MOST_BRANCHES)}
    send(pbx, routes, places(changing, MOST_BRANCHES + 1))
    assert (pbx.relayed, pbx.replies) == ([], [Reply(503, "Next Hop Unreachable")])


def test_a_trunk_whose_places_take_all_attempts_in_vain_has_failed(
    pbx: MockKSR, routes: Handlers, settings: Settings, changing: Settings
) -> None:
    hops = tuple([Hop(f"198.51.100.{place}", 5060, "udp", "many.test") for place in range(MOST_BRANCHES + 1)])
    file = NamesFile(settings.names_file)
    file.open()
    file.keep({Target("many.test").key: hops}, {}, frozenset())
    file.close()
    copied(changing, "UPDATE uacreg SET auth_proxy = 'sip:many.test' WHERE l_uuid = 'one'")
    routes.trunks.look_again()
    pbx.world.unreachable |= {hop.uri for hop in hops}
    send(pbx, routes)
    assert pbx.replies == [Reply(503, "Next Hop Unreachable")]
    assert [standings.standing(uuid).failures for uuid in ("one", "two")] == [1, 0]


def test_a_retry_after_counts_after_it_rang_as_well(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes)
    reply(pbx, routes, 183)
    fail(pbx, routes, 503, "Retry-After: 30")
    assert pbx.replies[-1] == CARRIERS_503
    send(pbx, routes)
    assert [hop for hop, *_ in went(pbx)] == [TWO]


def test_a_refused_challenge_moves_on_and_is_the_last_word_over_503(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes)
    challenge(pbx, routes, CHALLENGE.replace("carrier", "elsewhere"))
    fail(pbx, routes, 503)
    assert (len(pbx.relayed), pbx.replies) == (2, [FAILED])


def test_a_trunk_that_cannot_be_sent_to_is_passed_over(pbx: MockKSR, routes: Handlers) -> None:
    pbx.world.unreachable.add(ONE)
    send(pbx, routes)
    challenge(pbx, routes)
    assert [hop for hop, *_ in went(pbx)] == [TWO, TWO]
    pbx.world.unreachable.add(TWO)
    send(pbx, routes)
    assert pbx.replies == [Reply(503, "Next Hop Unreachable")]


def test_a_next_hop_that_goes_away_meanwhile_moves_the_call_on(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes)
    pbx.world.unreachable.add(ONE)
    challenge(pbx, routes)
    assert [hop for hop, *_ in went(pbx)] == [ONE, TWO]


@pytest.mark.parametrize("reply", [503, 407], ids=["to the next trunk", "with an answer"])
def test_a_cancel_that_comes_while_a_failure_is_handled_is_nobodys_fault(
    pbx: MockKSR, routes: Handlers, monkeypatch: pytest.MonkeyPatch, reply: int
) -> None:
    def branch(_message: object) -> int:
        pbx.world.cancelled = True  # by another process; t_relay then answers as if it could not send
        pbx.world.unreachable |= {ONE, TWO}
        return 1

    send(pbx, routes)
    monkeypatch.setattr(routes, "BRANCH", branch)
    fail(pbx, routes, reply, f"Proxy-Authenticate: {CHALLENGE}")
    assert pbx.replies == [Reply(487, "Request Terminated")]
    assert not any("outcome=unreachable" in line for _, line in pbx.log)
    assert standings.standing("two") == UP


def test_x_trunk_is_the_order(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "X-Trunk: two, nobody,three\r\n")
    fail(pbx, routes, 503)
    fail(pbx, routes, 503)
    assert [hop for hop, *_ in went(pbx)] == [TWO, "sip:203.0.113.3"]


def test_x_trunk_may_have_several_lines(pbx: MockKSR, routes: Handlers) -> None:
    send(pbx, routes, "X-Trunk: two\r\nX-Trunk: nobody, three\r\n")
    fail(pbx, routes, 503)
    assert [hop for hop, *_ in went(pbx)] == [TWO, "sip:203.0.113.3"]


def test_a_trunk_that_the_dba_disables_takes_no_new_call(pbx: MockKSR, routes: Handlers, changing: Settings) -> None:
    send(pbx, routes)
    copied(changing, "UPDATE trunk SET enabled = 0")
    routes.trunks.look_again()
    fail(pbx, routes, 503)  # the second is not enabled any more
    assert pbx.replies == [CARRIERS_503]
    send(pbx, routes)
    assert pbx.replies == [Reply(404, "No Trunk")]
    assert any('trunk=one outcome=unusable reason="it is not enabled"' in line for _, line in pbx.log)


def test_only_a_source_with_the_tag_may_use_a_trunk(pbx: MockKSR, routes: Handlers, changing: Settings) -> None:
    copied(changing, "UPDATE trunk SET source_tag = 'pbx-a'")
    send(pbx, routes)
    assert pbx.replies == [Reply(403, "Forbidden")]
    assert any(f"trunk=one outcome=forbidden source={PBX} call-id=call-1" in line for _, line in pbx.log)


@pytest.mark.parametrize(("reason", "headers", "hops"), [
    ("User channel limit exceeded", (), [ONE, TWO]), ("Forbidden", ("Retry-After: 5",), [ONE, TWO]),
    ("Forbidden", (), [ONE, ONE]),
])  # fmt: skip
def test_a_carrier_that_is_over_its_limit_is_not_asked_again_without_credentials(
    pbx: MockKSR, routes: Handlers, reason: str, headers: tuple[str, ...], hops: list[str]
) -> None:
    send(pbx, routes)
    challenge(pbx, routes)
    reply(pbx, routes, 200)
    send(pbx, routes)
    assert "u1" in (pbx.relayed[0].message.get("Proxy-Authorization") or "")
    reply(pbx, routes, 403)
    with pbx.failure_route(403, reason, headers) as route:
        getattr(routes, route)(None)
    assert [hop for hop, *_ in went(pbx)] == hops
