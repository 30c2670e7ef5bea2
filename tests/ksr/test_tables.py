"""The mock's shared tables: as strict as the module, seen by every worker, and gone when their time is over."""

from __future__ import annotations

import pytest

from tests.ksr.htable import CONFIG, SharedTables
from tests.ksr.mock import MockKSR
from tests.ksr.state import MisuseError

INVITE = "INVITE sip:5550100@carrier.example SIP/2.0\nCall-ID: c-1\nCSeq: 1 INVITE\nTo: <sip:5550100@pbx.example>"

TEXTS = "texts=>size=4;autoexpire=60;"
COUNTS = "counts=>size=4;autoexpire=60;initval=0;"
FOR_EVER = "for_ever=>size=4;"


def worker(version: str, tables: SharedTables) -> MockKSR:
    ksr = MockKSR(version, tables=tables)
    ksr.receive(INVITE)
    return ksr


@pytest.fixture
def ksr(ksr_version: str) -> MockKSR:
    return worker(ksr_version, SharedTables(TEXTS, COUNTS, FOR_EVER))


def test_tables_are_those_of_our_own_configuration(ksr: MockKSR) -> None:
    ours = worker(ksr.version, SharedTables.of(CONFIG))
    assert ours.htable.sht_get("nonces", "x") is None
    assert ours.htable.sht_inc("nonce_counts", "x") == 1
    assert MockKSR(ksr.version).tables.content("nonce_counts") == {}


def test_two_workers_see_and_count_the_same(ksr: MockKSR) -> None:
    other = worker(ksr.version, ksr.tables)
    ksr.htable.sht_sets("texts", "a", "x")
    assert other.htable.sht_get("texts", "a") == "x"
    assert [each.htable.sht_inc("counts", "n") for each in (ksr, other, ksr, other)] == [1, 2, 3, 4]
    assert other.htable.sht_rm("texts", "a") == 1
    assert ksr.htable.sht_get("texts", "a") is None


def test_workers_of_another_kamailio_see_nothing(ksr: MockKSR) -> None:
    ksr.htable.sht_inc("counts", "n")
    assert worker(ksr.version, SharedTables(COUNTS)).htable.sht_get("counts", "n") == 0


def test_tables_outlive_the_request(ksr: MockKSR) -> None:
    ksr.htable.sht_sets("texts", "a", "x")
    ksr.receive(INVITE)
    assert ksr.htable.sht_get("texts", "a") == "x"
    assert ksr.tables.content("texts") == {"a": "x"}


def test_entry_lives_for_its_last_second_and_no_longer(ksr: MockKSR) -> None:
    ksr.htable.sht_sets("texts", "a", "x")
    ksr.htable.sht_sets("for_ever", "a", "x")
    ksr.tables.pass_time(60)
    assert ksr.htable.sht_get("texts", "a") == "x"
    ksr.tables.pass_time(1)
    assert ksr.htable.sht_get("texts", "a") is None
    assert ksr.tables.content("texts") == {}
    assert ksr.htable.sht_get("for_ever", "a") == "x"


def test_update_renews_an_entry_and_reading_does_not(ksr: MockKSR) -> None:
    for key in ("updated", "read"):
        ksr.htable.sht_sets("texts", key, "x")
    ksr.htable.sht_inc("counts", "updated")
    ksr.tables.pass_time(50)
    ksr.htable.sht_sets("texts", "updated", "y")
    ksr.htable.sht_get("texts", "read")
    ksr.htable.sht_inc("counts", "updated")
    ksr.tables.pass_time(50)
    assert ksr.tables.content("texts") == {"updated": "y"}
    assert ksr.tables.content("counts") == {"updated": 2}


def test_setex_moves_the_end_of_an_entry_and_keeps_its_value(ksr: MockKSR) -> None:
    for key, seconds in (("cut", 10), ("lengthened", 100)):
        ksr.htable.sht_sets("texts", key, key)
        assert ksr.htable.sht_setex("texts", key, seconds) == 1
    ksr.tables.pass_time(10)
    assert ksr.tables.content("texts") == {"cut": "cut", "lengthened": "lengthened"}
    ksr.tables.pass_time(1)
    assert ksr.tables.content("texts") == {"lengthened": "lengthened"}
    ksr.tables.pass_time(89)
    assert ksr.htable.sht_get("texts", "lengthened") == "lengthened"
    ksr.tables.pass_time(1)
    assert ksr.htable.sht_get("texts", "lengthened") is None


def test_setex_is_from_now_on(ksr: MockKSR) -> None:
    ksr.htable.sht_sets("texts", "a", "x")
    ksr.tables.pass_time(50)
    ksr.htable.sht_setex("texts", "a", 20)
    ksr.tables.pass_time(20)
    assert ksr.htable.sht_get("texts", "a") == "x"
    ksr.tables.pass_time(1)
    assert ksr.htable.sht_get("texts", "a") is None


def test_count_goes_on_after_setex_and_starts_again_when_its_time_is_over(ksr: MockKSR) -> None:
    assert [ksr.htable.sht_inc("counts", "n") for _ in range(2)] == [1, 2]
    ksr.htable.sht_setex("counts", "n", 10)
    assert ksr.htable.sht_get("counts", "n") == 2
    ksr.tables.pass_time(11)
    assert ksr.htable.sht_get("counts", "n") == 0
    assert ksr.htable.sht_inc("counts", "n") == 1


@pytest.mark.parametrize("seconds", [0, 10, 600])
def test_update_after_setex_goes_back_to_the_tables_own_time(ksr: MockKSR, seconds: int) -> None:
    ksr.htable.sht_sets("texts", "a", "x")
    ksr.htable.sht_inc("counts", "n")
    for table, key in (("texts", "a"), ("counts", "n")):
        ksr.htable.sht_setex(table, key, seconds)
    ksr.htable.sht_sets("texts", "a", "y")
    assert ksr.htable.sht_inc("counts", "n") == 2
    ksr.tables.pass_time(60)
    assert (ksr.htable.sht_get("texts", "a"), ksr.htable.sht_get("counts", "n")) == ("y", 2)
    ksr.tables.pass_time(1)
    assert (ksr.htable.sht_get("texts", "a"), ksr.htable.sht_get("counts", "n")) == (None, 0)


@pytest.mark.parametrize("seconds", [0, -1])
def test_entry_stays_for_ever_after_setex_of_no_time(ksr: MockKSR, seconds: int) -> None:
    ksr.htable.sht_sets("texts", "a", "x")
    assert ksr.htable.sht_setex("texts", "a", seconds) == 1
    ksr.tables.pass_time(10**6)
    assert ksr.htable.sht_get("texts", "a") == "x"


def test_setex_in_one_worker_counts_in_the_other(ksr: MockKSR) -> None:
    other = worker(ksr.version, ksr.tables)
    ksr.htable.sht_sets("texts", "a", "x")
    other.htable.sht_setex("texts", "a", 10)
    ksr.tables.pass_time(11)
    assert ksr.htable.sht_get("texts", "a") is None


def test_setex_of_an_expired_entry_raises(ksr: MockKSR) -> None:
    ksr.htable.sht_inc("counts", "n")
    ksr.tables.pass_time(61)
    with pytest.raises(MisuseError, match="has expired"):
        ksr.htable.sht_setex("counts", "n", 10)


@pytest.mark.parametrize("key", ["a", "missing"])
def test_setex_in_a_table_without_autoexpire_raises(ksr: MockKSR, key: str) -> None:
    ksr.htable.sht_sets("for_ever", "a", "x")
    with pytest.raises(MisuseError, match="no autoexpire"):
        ksr.htable.sht_setex("for_ever", key, 10)


def test_counting_on_after_an_expired_number_without_initval_raises(ksr: MockKSR) -> None:
    ksr.htable.sht_seti("texts", "n", 5)
    ksr.tables.pass_time(61)
    with pytest.raises(MisuseError, match="has expired"):
        ksr.htable.sht_inc("texts", "n")


def test_number_that_would_turn_negative_raises(ksr: MockKSR) -> None:
    ksr.htable.sht_seti("counts", "n", 2**31 - 2)
    assert ksr.htable.sht_inc("counts", "n") == 2**31 - 1
    with pytest.raises(MisuseError, match="does not fit"):
        ksr.htable.sht_inc("counts", "n")


def test_lock_is_given_back_before_anyone_takes_it_again(ksr: MockKSR) -> None:
    other = worker(ksr.version, ksr.tables)
    assert ksr.htable.sht_lock("texts", "a") == 1
    ksr.htable.sht_sets("texts", "a", "x")
    assert other.htable.sht_lock("texts", "b") == 1
    with pytest.raises(MisuseError, match="which is locked"):
        other.htable.sht_lock("texts", "a")
    assert ksr.htable.sht_unlock("texts", "a") == 1
    with pytest.raises(MisuseError, match="not locked"):
        ksr.htable.sht_unlock("texts", "a")
    assert other.htable.sht_lock("texts", "a") == 1


def test_table_that_is_not_there_raises(ksr: MockKSR) -> None:
    tables = ksr.htable
    for call in (tables.sht_get, tables.sht_inc, tables.sht_rm, tables.sht_lock, tables.sht_unlock):
        with pytest.raises(MisuseError, match="no table 'COUNTS'"):
            call("COUNTS", "a")
    with pytest.raises(MisuseError):
        ksr.htable.sht_sets("COUNTS", "a", "x")
    with pytest.raises(MisuseError):
        ksr.htable.sht_setex("COUNTS", "a", 1)


def test_key_with_a_nul_byte_raises(ksr: MockKSR) -> None:
    with pytest.raises((SystemError, MisuseError)):
        ksr.htable.sht_sets("texts", "a\0b", "x")
    with pytest.raises((SystemError, MisuseError)):
        ksr.htable.sht_setex("texts", "a\0b", 1)
    assert ksr.tables.content("texts") == {}


def test_full_memory_is_for_a_test_to_say(ksr: MockKSR) -> None:
    ksr.answer("htable.sht_sets", -1)
    assert ksr.htable.sht_sets("texts", "a", "x") == -1
    assert ksr.tables.content("texts") == {}


@pytest.mark.parametrize(
    "definition", ["nonces", "nonces=>size=10", "nonces=>size=big;", "nonces=>autoexpire=1;updateexpire=0;"]
)
def test_definition_that_was_never_tried_is_refused(definition: str) -> None:
    with pytest.raises(ValueError, match="table"):
        SharedTables(definition)
