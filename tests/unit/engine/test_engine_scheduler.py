"""Promises of the scheduler: order, room, turns, and nobody left behind."""

from collections import Counter
from dataclasses import dataclass

import pytest

from worker.engine.protocol import BatchKey
from worker.engine.scheduler import Scheduler

SMALL = BatchKey(8, 8, "float32")
LARGE = BatchKey(32, 32, "float32")


@dataclass(eq=False)
class Wish:
    key: BatchKey = SMALL
    pictures: int = 1


def scheduler(slots: int = 4) -> Scheduler[Wish]:
    return Scheduler(lambda _: slots)


def test_a_lone_request_runs_at_once() -> None:
    line, wish = scheduler(), Wish()
    line.add(wish)
    assert line.admit() == [wish]
    assert list(line.turn()) == [wish]


def test_whoever_fits_joins_in_order_and_the_head_is_never_skipped() -> None:
    line = scheduler(slots=4)
    first, wide, narrow = Wish(pictures=2), Wish(pictures=3), Wish(pictures=1)
    for wish in (first, wide, narrow):
        line.add(wish)
    assert line.admit() == [first]
    line.remove(first)
    assert line.admit() == [wide, narrow]


def test_a_running_batch_is_joined_as_soon_as_there_is_room() -> None:
    line = scheduler(slots=2)
    running, late = Wish(), Wish()
    line.add(running)
    line.admit()
    line.add(late)
    assert line.admit() == [late]
    assert list(line.turn()) == [running, late]


def test_more_pictures_than_slots_run_alone() -> None:
    line = scheduler(slots=4)
    huge, small = Wish(pictures=8), Wish()
    line.add(huge)
    line.add(small)
    assert line.admit() == [huge]
    line.remove(huge)
    assert line.admit() == [small]


def test_sizes_are_never_mixed() -> None:
    line = scheduler()
    for key in (SMALL, LARGE, SMALL, BatchKey(8, 8, "float64")):
        line.add(Wish(key))
    line.admit()
    for _ in range(20):
        assert len({wish.key for wish in line.turn()}) == 1


def test_every_size_gets_the_same_share_of_the_device() -> None:
    line = scheduler(slots=8)
    for _ in range(8):
        line.add(Wish(LARGE))
    line.add(Wish(SMALL))
    line.admit()
    served: Counter[BatchKey] = Counter()
    for _ in range(1000):
        turn = line.turn()
        served[turn[0].key] += sum(wish.pictures * wish.key.picture_px for wish in turn)
    assert served[SMALL] == pytest.approx(served[LARGE], abs=8 * LARGE.picture_px)


def test_a_stream_of_small_ones_does_not_starve_a_large_one() -> None:
    line = scheduler()
    large = Wish(LARGE)
    line.add(large)
    turns_of_large = 0
    for _ in range(200):
        small = Wish(SMALL)
        line.add(small)
        line.admit()
        turn = line.turn()
        turns_of_large += large in turn
        line.remove(small)
    assert turns_of_large >= 10


def test_a_size_that_was_away_has_no_credit() -> None:
    line = scheduler()
    large = Wish(LARGE)
    line.add(large)
    line.admit()
    for _ in range(100):
        line.turn()
    late = Wish(SMALL)
    line.add(late)
    line.admit()
    turns = [line.turn()[0].key for _ in range(17 * 4)]
    assert turns.count(LARGE) >= 3


def test_a_size_that_comes_and_goes_gets_no_more_than_its_share() -> None:
    line = scheduler()
    line.add(Wish(SMALL))
    served: Counter[BatchKey] = Counter()
    for _ in range(100):
        large = Wish(LARGE)
        line.add(large)
        line.admit()
        stepped: set[Wish] = set()
        while large not in stepped:
            stepped = set(line.turn())
            served[next(iter(stepped)).key] += sum(wish.key.picture_px for wish in stepped)
        line.remove(large)
    assert served[SMALL] == pytest.approx(served[LARGE], abs=2 * LARGE.picture_px)


def test_what_a_size_was_served_is_forgotten_when_all_are_gone() -> None:
    line = scheduler()
    for key in (SMALL, LARGE):
        wish = Wish(key)
        line.add(wish)
        line.admit()
        line.turn()
        line.remove(wish)
    line.add(Wish(LARGE))
    line.add(Wish(SMALL))
    line.admit()
    assert {line.turn()[0].key for _ in range(2)} == {SMALL, LARGE}


def test_what_is_removed_is_forgotten_wherever_it_was() -> None:
    line = scheduler(slots=1)
    running, waiting, stranger = Wish(), Wish(), Wish(LARGE)
    for wish in (running, waiting):
        line.add(wish)
    line.admit()
    assert line.running_px() == 2 * SMALL.picture_px
    for wish in (waiting, running, stranger):
        line.remove(wish)
    assert line.entries() == []
    assert line.running_px() == 0
    assert list(line.turn()) == []
