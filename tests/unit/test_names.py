"""When names are asked for: before their time runs out, again while nobody answers, and never more than fits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from kemi.names import names as module
from kemi.names.names import MOST_NAMED, Names
from kemi.names.nameserver import NoAnswerError
from kemi.names.resolver import Answer
from kemi.trunks.hops import Hop, Hops, Target
from tests.lines import told

ONE, TWO = Target("one.test"), Target("two.test")
HERE: Hops = (Hop("192.0.2.1", 5060, "udp", "one.test"),)
THERE: Hops = (Hop("192.0.2.2", 5060, "udp", "one.test"),)


class World:
    """The clock, and a name server: what it answers by target; None: it never does."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.answers: dict[Target, Answer | Exception | None] = {ONE: Answer(HERE, 60)}
        self.asked: list[Target] = []

    async def resolve(self, target: Target) -> Answer:
        self.asked.append(target)
        answer = self.answers[target]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert answer
        return answer


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(module, "monotonic", lambda: found.now)
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)
    return found


@pytest.fixture
def names(world: World) -> Iterator[Names]:
    found = Names(world.resolve, {})
    yield found
    found.close()


def tick(names: Names, *wanted: Target) -> list[str]:
    return [told(line) for line in names.tick(frozenset(wanted or {ONE}), 0.05)]


def test_a_name_is_resolved_at_once_and_again_before_its_time_is_over(names: Names, world: World) -> None:
    assert tick(names) == []
    assert names.hops() == {ONE: HERE}
    world.answers[ONE] = Answer(THERE, 60)
    world.now += 53
    tick(names)
    assert names.hops() == {ONE: HERE}
    world.now += 2  # 55 of 60 s
    tick(names)
    assert (names.hops(), world.asked) == ({ONE: THERE}, [ONE] * 2)


def test_a_ttl_of_one_is_asked_for_once_a_second(names: Names, world: World) -> None:
    world.answers[ONE] = Answer(HERE, 1)
    for _ in range(20):  # of a tenth of a second
        tick(names)
        world.now += 0.1
    assert len(world.asked) == 2


def test_what_was_known_is_used_while_nobody_answers_and_that_is_said_once(names: Names, world: World) -> None:
    tick(names)
    world.answers[ONE] = NoAnswerError("no answer")
    said: list[str] = []
    for _ in range(100):
        world.now += 10
        said += tick(names)
        assert names.hops() == {ONE: HERE}
    assert said == ['name=one.test outcome=not-refreshed reason="no answer"']
    world.answers[ONE] = Answer(THERE, 60)
    world.now += 31
    assert tick(names) == ["outcome=names-refreshed seconds=971"]  # 1031 less the 60 of the first tick that failed
    assert names.hops() == {ONE: THERE}


def test_it_is_asked_for_again_at_growing_intervals_up_to_half_a_minute(names: Names, world: World) -> None:
    world.answers[ONE] = NoAnswerError("no answer")
    tries: list[float] = []
    for _ in range(2000):
        before = len(world.asked)
        tick(names)
        if len(world.asked) > before:
            tries.append(world.now)
        world.now += 0.1
    gaps = [round(late - early) for early, late in itertools.pairwise(tries)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_a_new_name_without_an_address_is_named_once_and_once_that_it_has_one(names: Names, world: World) -> None:
    world.answers[ONE] = Answer((), 60)
    said = tick(names)
    world.now += 2
    said += tick(names)
    assert said == ['name=one.test outcome=unresolved reason="it does not exist"']
    assert names.hops() == {ONE: ()}
    world.answers[ONE] = Answer(HERE, 60)
    world.now += 3
    assert tick(names) == ["name=one.test outcome=resolved"]


def test_a_name_that_exists_no_longer_is_used_no_longer(names: Names, world: World) -> None:
    tick(names)
    world.answers[ONE] = Answer((), 60)
    world.now += 60
    assert tick(names) == ['name=one.test outcome=unresolved reason="it does not exist"']
    assert names.hops() == {ONE: ()}


def test_a_name_that_hangs_holds_up_no_other(names: Names, world: World) -> None:
    world.answers |= {ONE: None, TWO: Answer(THERE, 60)}
    tick(names, ONE, TWO)
    assert names.hops() == {TWO: THERE}
    world.now += 1.1
    tick(names, ONE, TWO)
    assert names.hops() == {TWO: THERE, ONE: ()}  # whoever waited for it waits no longer
    assert world.asked.count(ONE) == 1


def test_what_an_earlier_run_stored_is_good_until_there_is_an_answer(world: World) -> None:
    world.answers[ONE] = NoAnswerError("no answer")
    names = Names(world.resolve, {ONE.key: HERE})
    assert tick(names) == ['name=one.test outcome=not-refreshed reason="no answer"']
    assert names.hops() == {ONE: HERE}
    names.close()


def test_a_name_that_nobody_wants_is_forgotten(names: Names, world: World) -> None:
    world.answers |= {ONE: None, TWO: Answer(THERE, 60)}
    tick(names, ONE, TWO)
    tick(names, TWO)
    assert names.hops() == {TWO: THERE}


def test_so_many_are_asked_for_at_once_and_the_others_next(
    names: Names, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 3)
    many = [Target(f"{number}.test") for number in range(8)]
    world.answers |= dict.fromkeys(many, Answer(HERE, 60))
    for asked in (3, 6, 8, 8):
        tick(names, *many)
        assert len(world.asked) == asked


def test_a_flood_of_lines_is_cut(names: Names, world: World) -> None:
    many = [Target(f"{number}.test") for number in range(MOST_NAMED + 5)]
    world.answers |= dict.fromkeys(many, Answer((), 60))
    said = tick(names, *many)
    assert (len(said), said[-1]) == (MOST_NAMED + 1, "outcome=more-names lines=5")


def test_a_fault_of_one_name_is_its_own(names: Names, world: World) -> None:
    world.answers |= {ONE: ValueError("odd"), TWO: Answer(THERE, 60)}
    assert tick(names, ONE, TWO) == ["name=one.test outcome=unresolved reason=ValueError"]
    assert names.hops() == {ONE: (), TWO: THERE}
