"""Nonces that all workers share, over the strict mocked tables: what is known of a carrier, and the count of each."""

from __future__ import annotations

import pytest

from kemi import ksr as sip
from kemi import nonces
from kemi.auth.challenge import parse
from kemi.auth.session import Answered
from tests.ksr.fixtures import installed
from tests.ksr.htable import CONFIG
from tests.ksr.mock import MockKSR

KEY = nonces.trunk_key("berlin", "sip:sbc.carrier.test carrier.test")
ASKED = (Answered(407, parse('Digest realm="carrier", nonce="n1", qop="auth"')[0]),)
FAR_END = (Answered(401, parse('Digest realm="carrier", nonce="n1", qop="auth"')[0]),)


class Clock:
    """Both clocks, that of the process and that of the shared tables."""

    def __init__(self, ksr: MockKSR) -> None:
        self._ksr = ksr
        self.now = 1000.0

    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self._ksr.tables.pass_time(seconds)


@pytest.fixture
def clock(ksr: MockKSR, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(ksr)
    monkeypatch.setattr(nonces, "monotonic", lambda: clock.now)
    ksr.receive(
        "OPTIONS sip:x@y SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    return clock


pytestmark = pytest.mark.usefixtures("clock")


def challenged(nonce: str = "n1") -> tuple[Answered, ...]:
    """A call that is challenged with this nonce, and answers."""
    one = ASKED[0]
    return nonces.count_again(KEY, (one._replace(challenge=one.challenge._replace(nonce=nonce)),))


def learn(nonce: str = "n1") -> None:
    """A challenge with this nonce was answered, and the answer was accepted."""
    nonces.accepted(KEY, challenged(nonce))


def taken() -> list[tuple[str, int]]:
    """Nonce and count of what a request carries from the start."""
    record, counts = nonces.take(KEY)
    return [(one.challenge.nonce, count) for one, count in zip(record.held, counts, strict=True)] if counts else []


def turn_down() -> bool:
    """A request that carries what is known is turned down."""
    return nonces.turned_down(KEY, nonces.take(KEY)[0].held)


def name_next(nonce: str, status: int = 407) -> None:
    """A request that carries what is known is accepted, and the carrier names its next nonce."""
    nonces.replaced(KEY, nonces.take(KEY)[0].held, status, nonce)


def test_nothing_is_carried_to_a_carrier_that_is_not_known() -> None:
    assert not taken()
    challenged()
    assert not taken()  # the answer was not accepted yet


def test_an_accepted_nonce_is_carried_with_a_growing_count() -> None:
    learn()
    assert [taken() for _ in range(3)] == [[("n1", 2)], [("n1", 3)], [("n1", 4)]]
    assert nonces.take(KEY)[0].held == (ASKED[0]._replace(asked=False),)


def test_another_trunk_or_another_carrier_knows_nothing_of_it() -> None:
    learn()
    for other in (nonces.trunk_key("hamburg", "sip:sbc.carrier.test carrier.test"), nonces.trunk_key("berlin", "x")):
        assert not nonces.take(other)[1]


def test_no_two_workers_have_the_same_count(ksr: MockKSR) -> None:
    learn()
    with installed(MockKSR(ksr.version, tables=ksr.tables)) as other:
        other.receive("OPTIONS sip:x@y SIP/2.0\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n")
        assert taken() == [("n1", 2)]
    assert taken() == [("n1", 3)]


def test_calls_that_are_challenged_with_one_nonce_count_together() -> None:
    assert [challenged()[0].nc for _ in range(3)] == [1, 2, 3]
    assert challenged("n2")[0].nc == 1


def test_trunks_to_one_carrier_count_a_nonce_together() -> None:
    learn()
    other = nonces.trunk_key("hamburg", "sip:sbc.carrier.test carrier.test")
    assert nonces.count_again(other, ASKED)[0].nc == 2
    assert taken() == [("n1", 3)]


def test_a_record_that_was_written_while_it_was_read_says_nothing() -> None:
    learn()
    text = sip.nonces_record(KEY)
    for torn in (text[:-1], text.replace("n1", "n2"), "", "x"):
        sip.set_nonces_record(KEY, torn)
        assert not taken()


def test_without_qop_nothing_is_counted(ksr: MockKSR) -> None:
    plain = (ASKED[0]._replace(challenge=ASKED[0].challenge._replace(qop=())),)
    nonces.accepted(KEY, nonces.count_again(KEY, plain))
    assert taken() == [("n1", 1)] == taken()
    assert ksr.tables.content("nonce_counts") == {}


def test_a_proxy_and_the_far_end_are_known_together() -> None:
    nonces.accepted(KEY, (ASKED[0]._replace(nc=2, accepted=True), *FAR_END))
    known = nonces.take(KEY)[0].held
    assert [one.status for one in known] == [407, 401]
    name_next("n2", status=401)
    assert taken() == [("n1", 3), ("n2", 1)]


def test_a_far_end_of_another_realm_is_not_kept(ksr: MockKSR) -> None:
    far_end = FAR_END[0]._replace(challenge=FAR_END[0].challenge._replace(realm="far"))
    nonces.accepted(KEY, (*challenged(), far_end))
    assert taken() == [("n1", 2)]
    record = sip.nonces_record(KEY)
    nonces.accepted(KEY, (*nonces.take(KEY)[0].held, far_end))  # from the start; and the far end has asked again
    assert sip.nonces_record(KEY) == record
    assert len(ksr.tables.content("nonce_counts")) == 1


def test_the_next_nonce_takes_the_place_of_the_one_before() -> None:
    learn()
    name_next("n2")
    assert taken() == [("n2", 1)]
    name_next("n2")
    name_next("n" * (nonces.LONGEST_NONCE + 1))
    assert taken() == [("n2", 4)]


def test_a_late_word_of_a_next_nonce_is_of_no_use() -> None:
    learn()
    carried = nonces.take(KEY)[0].held
    nonces.replaced(KEY, carried, 407, "n2")
    nonces.replaced(KEY, carried, 407, "n3")  # a retransmission, or another call's
    assert taken() == [("n2", 1)]


def test_the_count_of_a_nonce_that_was_replaced_goes_on_elsewhere(clock: Clock) -> None:
    """Another trunk to the same carrier may hold it, and carry it for as long as its record is there."""
    other = nonces.trunk_key("hamburg", "sip:sbc.carrier.test carrier.test")
    learn()
    nonces.accepted(other, nonces.count_again(other, ASKED))
    name_next("n2")
    clock.pass_time(1800)
    assert nonces.take(other)[1] == (4,)


def test_the_count_of_a_nonce_that_is_not_accepted_ends_soon(ksr: MockKSR, clock: Clock) -> None:
    challenged()
    clock.pass_time(nonces.NOT_ACCEPTED + 1)
    assert ksr.tables.content("nonce_counts") == {}


def test_a_count_is_kept_as_long_as_one_that_was_just_used() -> None:
    assert f"nonce_counts=>size=12;autoexpire={nonces.COUNT_KEPT};" in CONFIG.read_text()


@pytest.mark.parametrize("ringing", [1, nonces.NOT_ACCEPTED])
def test_a_nonce_is_forgotten_before_its_count(clock: Clock, ringing: int) -> None:
    """However long it takes until the carrier says that it accepts it, or names it."""
    mine = challenged()
    clock.pass_time(ringing)
    nonces.accepted(KEY, mine)
    clock.pass_time(1800)
    assert taken() == [("n1", 2)]
    turn_down()
    learn("n2")
    carried = nonces.take(KEY)[0].held
    clock.pass_time(ringing)
    nonces.replaced(KEY, carried, 407, "n3")
    clock.pass_time(1800)
    assert taken() == [("n3", 1)]
    assert challenged("n2")[0].nc == 3


def test_what_cannot_be_counted_is_not_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    learn()
    monkeypatch.setattr(sip, "next_nonce_count", lambda _counter: -255)
    assert not taken()
    assert challenged("n2")[0].nc == 1


def test_a_nonce_that_is_turned_down_is_not_carried_again() -> None:
    learn()
    assert not turn_down()
    assert taken() == []
    learn("n2")
    assert taken() == [("n2", 2)]


def test_a_carrier_that_turns_down_three_in_a_row_is_left_alone_for_ten_minutes(ksr: MockKSR, clock: Clock) -> None:
    for nonce in ("n1", "n2"):
        learn(nonce)
        assert not turn_down()
    learn("n3")
    assert turn_down()
    clock.pass_time(nonces.LEFT_ALONE - 1)
    learn("n4")
    assert taken() == []
    clock.pass_time(1)
    learn("n5")
    assert taken() == [("n5", 2)]
    assert turn_down()  # the one try
    learn("n6")
    assert taken() == []


def test_a_carrier_that_is_left_alone_is_counted_all_the_same() -> None:
    """It may give several calls one nonce."""
    for number in range(nonces.MOST_TURNED_DOWN):
        learn(f"n{number}")
        turn_down()
    assert [challenged("m")[0].nc for _ in range(3)] == [1, 2, 3]
    assert challenged("n0")[0].nc == 3


def test_what_is_carried_in_part_is_turned_down_or_accepted_in_part() -> None:
    """A row may answer one of two; what was asked afterwards has nothing to do with it."""
    both = (ASKED[0], *FAR_END)
    asked = (FAR_END[0]._replace(challenge=FAR_END[0].challenge._replace(nonce="n2")),)
    for number in range(nonces.MOST_TURNED_DOWN - 1):
        nonces.accepted(KEY, both)
        assert not nonces.turned_down(KEY, (*nonces.take(KEY)[0].held[:1], *asked))
        assert nonces._read(KEY, sip.nonces_record(KEY)).turned_down == number + 1
    nonces.accepted(KEY, both)
    nonces.accepted(KEY, nonces.take(KEY)[0].held[:1])
    assert nonces._read(KEY, sip.nonces_record(KEY)).turned_down == 0


def test_one_that_is_accepted_between_begins_the_row_anew() -> None:
    for nonce in ("n1", "n2"):
        learn(nonce)
        turn_down()
    learn("n3")
    challenged_too = challenged("n3")
    nonces.accepted(KEY, challenged_too)  # an answered challenge proves nothing here
    assert nonces._read(KEY, sip.nonces_record(KEY)).turned_down == 2
    nonces.accepted(KEY, nonces.take(KEY)[0].held)
    assert not turn_down()
    learn("n4")
    assert taken() == [("n4", 2)]


def test_calls_that_had_the_same_nonce_are_turned_down_once() -> None:
    learn()
    carried = [nonces.take(KEY)[0].held for _ in range(5)]
    assert [nonces.turned_down(KEY, one) for one in carried] == [False] * 5
    learn("n2")
    assert [nonces.turned_down(KEY, one) for one in carried] == [False] * 5
    assert taken() == [("n2", 2)]


def test_a_late_acceptance_of_a_nonce_that_was_turned_down_changes_nothing() -> None:
    learn()
    carried = nonces.take(KEY)[0].held
    turn_down()
    nonces.accepted(KEY, carried)
    assert taken() == []


def test_a_nonce_of_a_page_is_not_kept(ksr: MockKSR) -> None:
    learn("n" * nonces.LONGEST_NONCE)
    assert len(taken()) == 1
    nonces.turned_down(KEY, nonces.take(KEY)[0].held)
    learn("m" * (nonces.LONGEST_NONCE + 1))
    assert taken() == []
    assert all(len(key) == 32 for key in ksr.tables.content("nonce_counts"))
