"""The nonce cache that all workers share, over the strict mocked tables: its records, and the count of each nonce."""

from __future__ import annotations

import time

import pytest

from kemi.auth import codec, nonces, session
from kemi.auth.attempt import Attempt, Sent
from kemi.auth.challenge import parse
from kemi.auth.credentials import Credentials
from kemi.auth.nonces import Record
from kemi.flow import responses
from kemi.sip import shared
from tests.ksr.fixtures import installed
from tests.ksr.htable import CONFIG
from tests.ksr.mock import MockKSR

DESTINATION = "sip:sbc.carrier.test carrier.test"
BERLIN = Attempt("berlin", DESTINATION, "INVITE")
HAMBURG = Attempt("hamburg", DESTINATION, "INVITE")
CREDENTIALS = Credentials(DESTINATION, "", "u", "p")
CHALLENGED = (Sent(407, parse('Digest realm="carrier", nonce="n1", qop="auth"')[0]),)
OPTIONS = "OPTIONS sip:x@y SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
FAR_END = (Sent(401, parse('Digest realm="carrier", nonce="n1", qop="auth"')[0]),)


class Clock:
    """Both clocks, that of the process and that of the shared tables."""

    def __init__(self, ksr: MockKSR) -> None:
        self._ksr = ksr
        self.now = 1_800_000_000.0

    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self._ksr.tables.pass_time(seconds)


@pytest.fixture
def clock(ksr: MockKSR, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(ksr)
    monkeypatch.setattr(time, "time", lambda: clock.now)
    ksr.receive(OPTIONS)
    return clock


pytestmark = pytest.mark.usefixtures("clock")


def challenged(nonce: str = "n1", attempt: Attempt = BERLIN) -> Attempt:
    """A call is challenged with this nonce, and is sent again."""
    one = CHALLENGED[0]
    return responses.counted(attempt._replace(sent=(one._replace(challenge=one.challenge._replace(nonce=nonce)),)))


def accept(attempt: Attempt) -> None:
    """The carrier accepts the call."""
    responses.learn(180, attempt)


def learn(nonce: str = "n1") -> None:
    """A challenge with this nonce was answered, and the response was accepted."""
    accept(challenged(nonce))


def held(attempt: Attempt = BERLIN) -> Attempt:
    """A request that carries the responses that are held."""
    return attempt._replace(sent=shared.record(attempt.trunk, attempt.destination).held)


def taken(attempt: Attempt = BERLIN) -> list[tuple[str, int]]:
    """Nonce and count of the preemptive responses that a new request carries."""
    record = shared.record(attempt.trunk, attempt.destination)
    return [(one.challenge.nonce, one.nc) for one in responses.preemptive(attempt, record, CREDENTIALS).sent]


def reject(attempt: Attempt) -> int:
    """The carrier rejects the preemptive responses of a request; returns how often in a row."""
    responses.forget(attempt, tuple(one for one in attempt.sent if not one.challenged))
    return shared.record(attempt.trunk, attempt.destination).rejected


def name_next(attempt: Attempt, nonce: str, status: int = 407) -> None:
    """The carrier accepts a request and names its next nonce."""
    record = shared.record(attempt.trunk, attempt.destination)
    after = session.after_reply(record, attempt, False, {status: nonce}, time.time())
    if after is not record:
        shared.set_record(attempt.trunk, attempt.destination, after)


def test_nothing_is_carried_to_an_unknown_carrier() -> None:
    assert not taken()
    challenged()
    assert not taken()  # the response was not accepted yet


def test_an_accepted_nonce_is_carried_with_a_growing_count() -> None:
    learn()
    assert [taken() for _ in range(3)] == [[("n1", 2)], [("n1", 3)], [("n1", 4)]]
    assert held().sent == (CHALLENGED[0]._replace(challenged=False),)


def test_another_trunk_or_another_destination_has_its_own_record() -> None:
    learn()
    assert not taken(HAMBURG)
    assert not taken(BERLIN._replace(destination="x"))


def test_no_two_workers_have_the_same_count(ksr: MockKSR) -> None:
    learn()
    with installed(MockKSR(ksr.version, tables=ksr.tables)) as other:
        other.receive(OPTIONS)
        assert taken() == [("n1", 2)]
    assert taken() == [("n1", 3)]


def test_calls_that_are_challenged_with_one_nonce_count_together() -> None:
    assert [challenged().sent[0].nc for _ in range(3)] == [1, 2, 3]
    assert challenged("n2").sent[0].nc == 1


def test_trunks_to_one_destination_count_a_nonce_together() -> None:
    learn()
    assert challenged(attempt=HAMBURG).sent[0].nc == 2
    assert taken() == [("n1", 3)]


def test_a_record_that_was_written_while_it_was_read_counts_as_unknown(ksr: MockKSR) -> None:
    learn()
    [(key, text)] = ksr.tables.content("nonces").items()
    for torn in (str(text)[:-1], str(text).replace("n1", "n2"), "", "x"):
        ksr.htable.sht_sets("nonces", key, torn)
        assert not taken()


def test_without_qop_nothing_is_counted(ksr: MockKSR) -> None:
    plain = (CHALLENGED[0]._replace(challenge=CHALLENGED[0].challenge._replace(qop=())),)
    accept(responses.counted(BERLIN._replace(sent=plain)))
    assert taken() == [("n1", 1)] == taken()
    assert ksr.tables.content("nonce_counts") == {}


def test_a_proxys_and_the_far_ends_are_held_together() -> None:
    accept(BERLIN._replace(sent=(CHALLENGED[0]._replace(nc=2, proven=True), *FAR_END)))
    assert [one.status for one in held().sent] == [407, 401]
    name_next(held(), "n2", status=401)
    assert taken() == [("n1", 1), ("n2", 1)]


def test_a_far_end_of_another_realm_is_not_held(ksr: MockKSR) -> None:
    far_end = FAR_END[0]._replace(challenge=FAR_END[0].challenge._replace(realm="far"))
    accept(BERLIN._replace(sent=(challenged().sent[0]._replace(proven=True), far_end)))
    assert taken() == [("n1", 2)]
    record = ksr.tables.content("nonces")
    accept(
        BERLIN._replace(sent=(held().sent[0]._replace(proven=True), far_end))
    )  # preemptive; and the far end has challenged again
    assert ksr.tables.content("nonces") == record
    assert len(ksr.tables.content("nonce_counts")) == 1


def test_the_next_nonce_takes_the_place_of_the_old_one() -> None:
    learn()
    name_next(held(), "n2")
    assert taken() == [("n2", 1)]
    name_next(held(), "n2")
    name_next(held(), "n" * (nonces.LONGEST_NONCE + 1))
    assert taken() == [("n2", 2)]


def test_a_next_nonce_that_comes_late_is_ignored() -> None:
    learn()
    carried = held()
    name_next(carried, "n2")
    name_next(carried, "n3")  # a retransmission, or another call's
    assert taken() == [("n2", 1)]


def test_the_count_of_a_replaced_nonce_goes_on_elsewhere(clock: Clock) -> None:
    """Another trunk to the same destination may hold it, and carry it for as long as its record is there."""
    learn()
    accept(challenged(attempt=HAMBURG))
    name_next(held(), "n2")
    clock.pass_time(1800)
    assert taken(HAMBURG) == [("n1", 3)]


def test_the_count_of_a_nonce_that_is_not_accepted_ends_soon(ksr: MockKSR, clock: Clock) -> None:
    challenged()
    clock.pass_time(nonces.COUNT_UNPROVEN + 1)
    assert ksr.tables.content("nonce_counts") == {}


def test_a_count_is_kept_as_long_as_one_that_was_just_used() -> None:
    assert f"nonce_counts=>size=12;autoexpire={nonces.COUNT_KEPT};" in CONFIG.read_text()


@pytest.mark.parametrize("ringing", [1, nonces.COUNT_UNPROVEN])
def test_a_nonce_is_forgotten_before_its_count(clock: Clock, ringing: int) -> None:
    """However long the carrier takes to accept or name it."""
    mine = challenged()
    clock.pass_time(ringing)
    accept(mine)
    clock.pass_time(1800)
    assert taken() == [("n1", 2)]
    reject(held())
    learn("n2")
    carried = held()
    clock.pass_time(ringing)
    name_next(carried, "n3")
    clock.pass_time(1800)
    assert taken() == [("n3", 1)]
    assert challenged("n2").sent[0].nc == 2


def test_a_nonce_that_cannot_be_counted_is_not_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    learn()
    monkeypatch.setattr(shared, "next_count", lambda _counter: -255)
    assert not taken()
    assert challenged("n2").sent[0].nc == 1


def test_a_rejected_nonce_is_not_carried_again() -> None:
    learn()
    assert reject(held()) == 1
    assert taken() == []
    learn("n2")
    assert taken() == [("n2", 2)]


def test_a_carrier_that_rejects_three_in_a_row_is_backed_off_for_ten_minutes(ksr: MockKSR, clock: Clock) -> None:
    for nonce in ("n1", "n2", "n3"):
        assert not any("backed-off" in line for _, line in ksr.log)
        learn(nonce)
        reject(held())
    assert any("backed-off" in line for _, line in ksr.log)
    clock.pass_time(nonces.BACK_OFF - 1)
    learn("n4")
    assert taken() == []
    clock.pass_time(1)
    learn("n5")
    assert taken() == [("n5", 2)]
    reject(held())  # the one try
    learn("n6")
    assert taken() == []


def test_nonces_are_counted_during_the_back_off() -> None:
    """The carrier may give several calls one nonce."""
    for number in range(nonces.MOST_REJECTED):
        learn(f"n{number}")
        reject(held())
    assert [challenged("m").sent[0].nc for _ in range(3)] == [1, 2, 3]
    assert challenged("n0").sent[0].nc == 2


def test_responses_that_are_carried_in_part_are_rejected_or_accepted_in_part() -> None:
    """A row may answer one of two; a later challenge of the same request does not matter."""
    both = BERLIN._replace(sent=(CHALLENGED[0], *FAR_END))
    later = (FAR_END[0]._replace(challenge=FAR_END[0].challenge._replace(nonce="n2")),)
    for number in range(nonces.MOST_REJECTED - 1):
        accept(both)
        assert reject(BERLIN._replace(sent=(*held().sent[:1], *later))) == number + 1
    accept(both)
    accept(BERLIN._replace(sent=held().sent[:1]))
    assert shared.record(BERLIN.trunk, BERLIN.destination).rejected == 0


def test_an_accepted_one_ends_the_row_of_rejections() -> None:
    for nonce in ("n1", "n2"):
        learn(nonce)
        reject(held())
    learn("n3")
    accept(challenged("n3"))  # an answered challenge proves nothing here
    assert shared.record(BERLIN.trunk, BERLIN.destination).rejected == 2
    accept(held())
    assert reject(held()) == 1
    learn("n4")
    assert taken() == [("n4", 2)]


def test_requests_that_carried_the_same_nonce_are_rejected_once() -> None:
    learn()
    carried = [held() for _ in range(5)]
    assert [reject(one) for one in carried] == [1] * 5
    learn("n2")
    assert [reject(one) for one in carried] == [1] * 5
    assert taken() == [("n2", 2)]


def test_a_late_acceptance_of_a_rejected_nonce_ends_the_row_and_brings_no_nonce_back() -> None:
    """The carrier takes nonces again: it has rejected a count that another request had overtaken."""
    learn()
    carried = held()
    assert reject(carried) == 1
    accept(carried)
    assert taken() == []
    assert shared.record(BERLIN.trunk, BERLIN.destination).rejected == 0


def test_a_nonce_that_fills_a_page_is_not_held(ksr: MockKSR) -> None:
    learn("n" * nonces.LONGEST_NONCE)
    assert len(taken()) == 1
    reject(held())
    learn("m" * (nonces.LONGEST_NONCE + 1))
    assert taken() == []
    assert all(len(key) == 32 for key in ksr.tables.content("nonce_counts"))


def test_the_age_of_a_record_is_told_by_the_wall_clock() -> None:
    """Another node, or the next boot, has another monotonic clock."""
    learn()
    assert shared.record(BERLIN.trunk, BERLIN.destination).since == 1_800_000_000
    assert codec.record(codec.record_text(Record(since=7))).since == 7
