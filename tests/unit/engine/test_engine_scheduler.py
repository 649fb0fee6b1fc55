"""Promises of the scheduler: order, room, turns, and nobody left behind."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from worker.engine.protocol import BatchKey
from worker.engine.scheduler import CALL_PX, Scheduler

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


def slowed(line: Scheduler[Wish], wishes: list[Wish], cost: Callable[[BatchKey, int], float]) -> dict[Wish, float]:
    """How many times longer a step of each takes than it would alone, where one of so many pictures costs so much."""
    took, steps = 0.0, Counter[Wish]()
    for wish in wishes:
        line.add(wish)
    line.admit()
    for _ in range(20_000):
        turn = line.turn()
        took += cost(turn[0].key, sum(wish.pictures for wish in turn))
        steps.update(turn)
    return {wish: took / (count * cost(wish.key, wish.pictures)) for wish, count in steps.items()}


TINY, HUGE, ODD = BatchKey(2, 2, "float32"), BatchKey(128, 128, "float32"), BatchKey(64, 63, "float32")
MIDDLE = BatchKey(64, 64, "float32")


@pytest.mark.parametrize("call_px", [20_000, 65_536, 250_000])
@pytest.mark.parametrize(
    "keys", [[TINY, HUGE], [TINY] + 8 * [HUGE], 8 * [TINY] + [HUGE], [ODD] + 8 * [MIDDLE], [TINY, SMALL, LARGE, HUGE]]
)
def test_whoever_is_in_flight_is_slowed_down_alike(call_px: int, keys: list[BatchKey]) -> None:
    """Whatever a call itself costs on this device."""
    slow = slowed(
        scheduler(slots=8), [Wish(key) for key in keys], lambda key, pictures: call_px + pictures * key.picture_px
    )
    assert max(slow.values()) / min(slow.values()) < 4.5
    assert max(slow.values()) < 4.5 * len(keys)


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize(("many", "one"), [(HUGE, MIDDLE), (HUGE, TINY), (MIDDLE, HUGE), (TINY, HUGE)])
def test_a_request_of_many_pictures_slows_others_down_no_more_than_itself(
    slots: int, many: BatchKey, one: BatchKey
) -> None:
    def cost(key: BatchKey, pictures: int) -> float:
        return -(-pictures // slots) * CALL_PX + pictures * key.picture_px

    slow = slowed(scheduler(slots), [Wish(many, 8), Wish(one)], cost)
    assert list(slow.values()) == pytest.approx([2, 2], rel=0.05)


@pytest.mark.parametrize(
    ("staying", "coming"), [([HUGE, MIDDLE, ODD], TINY), ([HUGE], TINY), ([TINY, SMALL, LARGE], HUGE), ([LARGE], SMALL)]
)
def test_who_comes_and_goes_has_a_share_like_who_stays(staying: list[BatchKey], coming: BatchKey) -> None:
    line = scheduler()
    cost_px: Counter[BatchKey] = Counter()
    for key in (*staying, coming):
        line.add(Wish(key))
    for _ in range(8000):
        line.admit()
        (wish,) = line.turn()
        cost_px[wish.key] += CALL_PX + wish.key.picture_px
        if wish.key == coming:
            line.remove(wish)
            line.add(Wish(coming))
    assert cost_px[coming] / cost_px.total() * len(cost_px) == pytest.approx(1, rel=0.05)


def test_a_stream_of_small_ones_does_not_starve_a_large_one() -> None:
    """Small ones of which each comes when the last one is done."""
    line = scheduler()
    large = Wish(HUGE)
    line.add(large)
    turns_of_large = 0
    for _ in range(200):
        small = Wish(TINY)
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
    turns = [line.turn()[0].key for _ in range(8)]
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
            served[next(iter(stepped)).key] += 1
        line.remove(large)
    cost_px = {key: steps * (CALL_PX + key.picture_px) for key, steps in served.items()}
    assert cost_px[SMALL] == pytest.approx(cost_px[LARGE], abs=2 * (CALL_PX + LARGE.picture_px))


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
    assert line.entries() == [running, waiting]
    for wish in (waiting, running, stranger):
        line.remove(wish)
    assert line.entries() == []
    assert list(line.turn()) == []


@pytest.mark.parametrize("beside", [2, 15])
def test_a_stream_of_sizes_that_come_and_go_does_not_starve_who_is_there(beside: int) -> None:
    line, large = scheduler(), Wish(BatchKey(128, 128, "float32"))
    flood = [Wish(BatchKey(8, 8 + number, "float32")) for number in range(beside)]
    for wish in (large, *flood):
        line.add(wish)
    served = 0
    for number in range(2000):
        line.admit()
        (wish,) = line.turn()
        served += wish is large
        if wish is not large:
            line.remove(wish)
            line.add(Wish(BatchKey(8, 100 + number, "float32")))
    assert served >= 2000 / (beside + 1) / 16, "less than half of its share of what a step of its own costs"
