"""Which TCP connections are closed."""

from __future__ import annotations

from kemi.health.connections import BUFFER, LIFE, Connection, Guard, most, most_of_a_source

PORT = 5060
PBX, STRANGER = "192.0.2.10", "198.51.100.7"


def connections(source: str, *numbers: int, port: int = PORT) -> list[Connection]:
    return [Connection(number, source, 40000 + number, port) for number in numbers]


def is_pbx(one: Connection) -> bool:
    return one.source == PBX


def guard(limit: int = 9) -> Guard:
    return Guard(frozenset({PORT}), limit)


def test_a_strangers_connection_is_closed_when_its_life_is_over_and_a_listed_ones_is_not() -> None:
    all_, judge = [*connections(STRANGER, 1), *connections(PBX, 2)], guard()
    assert [judge.to_close(all_, is_pbx, now) for now in (5.0, 5.0 + LIFE - 0.1)] == [[], []]
    assert judge.to_close(all_, is_pbx, 5.0 + LIFE) == connections(STRANGER, 1)


def test_strangers_live_no_longer_than_a_look_once_half_of_all_are_taken() -> None:
    others = [connections(f"198.51.100.{number}", number) for number in range(1, 9)]
    few, many = [one for (one,) in others[:7]], [one for (one,) in others]
    pbxs = connections(PBX, 20)
    assert guard(limit=4).to_close([*few, *pbxs], is_pbx, 0.0) == []
    assert guard(limit=4).to_close([*many, *pbxs], is_pbx, 0.0) == many


def test_a_life_begins_anew_with_each_connection() -> None:
    judge = guard()
    judge.to_close(connections(STRANGER, 1), is_pbx, 0.0)
    judge.to_close([], is_pbx, 1.0)
    assert judge.to_close(connections(STRANGER, 1), is_pbx, LIFE) == []


def test_a_connection_to_a_carrier_is_left_alone() -> None:
    judge, ours = guard(limit=1), connections(STRANGER, 1, 2, port=33333)
    assert [judge.to_close(ours, is_pbx, now) for now in (0.0, 2 * LIFE)] == [[], []]


def test_the_newest_connections_of_one_source_are_the_surplus() -> None:
    assert guard(limit=2).to_close(connections(PBX, 9, 3, 7, 5), is_pbx, 0.0) == connections(PBX, 7, 9)


def test_there_are_as_many_as_an_eighth_of_the_memory_holds_and_a_source_has_a_quarter() -> None:
    assert [(most(size), most_of_a_source(size)) for size in (32, 512)] == [(64, 16), (1024, 256)]
    assert most(512) * BUFFER == 512 * 1024 // 8
    assert most(1048576) == 4096


def test_the_log_says_it_once_a_minute() -> None:
    judge, closed = guard(), connections(STRANGER, 1, 2)
    said = {now: judge.line(closed, now) for now in (10.0, 10.5, 69.5, 70.0)}
    assert [(now, line.fields["count"]) for now, line in said.items() if line] == [(10.0, 2), (70.0, 6)]
    assert judge.line([], 200.0) is None
