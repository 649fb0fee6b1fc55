"""Pixels are handed out once, a freed slot is claimed for at once, and slow pictures keep nobody waiting."""

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from queue import SimpleQueue

import pytest

from shared.queue.records import Attempt, Held
from worker import admission
from worker.admission import UNLIMITED_PX, Admission, Grant

MEGAPIXEL = 1024 * 1024
DEADLINE_S = 10


def attempt(cost_px: int) -> Attempt:
    return Attempt(Held("id", 1, "claim"), "tenant", "{}", None, "http://x", cost_px, 0, None, None, True)


class Queue:
    """As claim.lua: the head, if it fits, never one behind it."""

    def __init__(self, *costs_px: int) -> None:
        self.waiting = deque(costs_px)
        self.budgets: list[int] = []
        self.avoided: list[str] = []

    def claim(self, budget_px: int, avoided: Collection[str] = ()) -> Attempt | None:
        self.avoided = list(avoided)
        self.budgets.append(budget_px)
        if self.waiting and self.waiting[0] <= budget_px:
            return attempt(self.waiting.popleft())
        return None


def desk(*, capacity_px: int = 4 * MEGAPIXEL, read_ahead_px: int = 0, seats: int = 4) -> Admission:
    return Admission(lambda: capacity_px, read_ahead_px=read_ahead_px, seats=seats)


def taken(admission: Admission, queue: Queue) -> Grant:
    grant = admission.take(queue.claim)
    assert grant is not None
    return grant


class Taker(threading.Thread):
    """A thread in its seat that asks for an attempt."""

    def __init__(self, admission: Admission, queue: Queue, finished: "SimpleQueue[Taker] | None" = None) -> None:
        super().__init__(daemon=True)
        self.finished: SimpleQueue[Taker] = finished or SimpleQueue()
        self._admission = admission
        self._queue = queue
        self.seated = threading.Event()
        self.grant: Grant | None = None
        self.start()
        assert self.seated.wait(DEADLINE_S)

    def run(self) -> None:
        with self._admission.seat():
            self.seated.set()
            self.grant = self._admission.take(self._queue.claim)
        self.finished.put(self)

    def ended(self) -> bool:
        self.join(DEADLINE_S)
        return not self.is_alive()


def test_what_was_granted_is_not_granted_again() -> None:
    admission, queue = desk(seats=1), Queue(3 * MEGAPIXEL, 2 * MEGAPIXEL)
    taken(admission, queue)
    with admission.seat():
        assert admission.take(queue.claim) is None
    assert queue.budgets == [UNLIMITED_PX, MEGAPIXEL]
    assert admission.free_px() == MEGAPIXEL


def test_what_is_larger_than_everything_comes_when_nothing_else_is_here() -> None:
    admission, queue = desk(), Queue(40 * MEGAPIXEL, 1)
    grant = taken(admission, queue)
    assert admission.free_px() == 0
    grant.denoised()
    assert taken(admission, queue).px == 1


def test_reads_ahead_of_what_the_engine_can_run() -> None:
    admission, queue = desk(capacity_px=MEGAPIXEL, read_ahead_px=MEGAPIXEL), Queue(MEGAPIXEL, MEGAPIXEL)
    taken(admission, queue)
    taken(admission, queue)
    assert queue.budgets == [UNLIMITED_PX, MEGAPIXEL]


def test_the_true_size_counts_once_the_picture_is_here() -> None:
    admission, queue = desk(), Queue(4 * MEGAPIXEL, 4 * MEGAPIXEL - 64 * 64)
    grant = taken(admission, queue)
    grant.arrived(64 * 64)
    taken(admission, queue)
    assert admission.free_px() == 0


def test_denoised_twice_frees_once() -> None:
    admission, queue = desk(), Queue(MEGAPIXEL, MEGAPIXEL)
    first, _ = taken(admission, queue), taken(admission, queue)
    first.denoised()
    first.denoised()
    assert admission.free_px() == 3 * MEGAPIXEL


@pytest.fixture
def waiting() -> Iterator[tuple[Admission, Queue, Grant, Taker]]:
    """One request fills everything, the next does not fit, and a thread waits for it."""
    admission, queue = desk(), Queue(4 * MEGAPIXEL, MEGAPIXEL, 4 * MEGAPIXEL)
    grant = taken(admission, queue)
    grant.arrived(4 * MEGAPIXEL)
    taker = Taker(admission, queue)
    yield admission, queue, grant, taker
    admission.close()
    assert taker.ended()


Waiting = tuple[Admission, Queue, Grant, Taker]


def test_a_freed_slot_is_claimed_for_by_whoever_waits(waiting: Waiting) -> None:
    _, _, grant, taker = waiting
    grant.denoised()
    assert taker.ended()
    assert taker.grant is not None
    assert taker.grant.px == MEGAPIXEL


def test_where_nothing_is_held_any_more_nobody_waits() -> None:
    admission, queue = desk(seats=8), Queue(4 * MEGAPIXEL)
    grant = taken(admission, queue)
    grant.arrived(4 * MEGAPIXEL)
    takers = [Taker(admission, queue) for _ in range(2)]
    deadline_s = time.monotonic() + DEADLINE_S
    while admission._waiting < len(takers):  # pyright: ignore[reportPrivateUsage]
        assert time.monotonic() < deadline_s
    grant.denoised()
    assert all(taker.ended() for taker in takers)
    admission.close()


def test_no_more_than_a_quarter_of_the_threads_waits(waiting: Waiting) -> None:
    """Others would be missed where the doorbell rings."""
    admission, queue, grant, first = waiting
    second = Taker(admission, queue, first.finished)
    not_needed = first.finished.get(timeout=DEADLINE_S)
    assert not_needed.grant is None
    grant.denoised()
    waited = first if not_needed is second else second
    assert waited.ended()
    assert waited.grant is not None


def test_nobody_waits_where_no_other_thread_would_be_left(waiting: Waiting) -> None:
    del waiting
    admission, queue = desk(seats=1), Queue(4 * MEGAPIXEL, MEGAPIXEL)
    taken(admission, queue).arrived(4 * MEGAPIXEL)
    taker = Taker(admission, queue)
    assert taker.ended()
    assert taker.grant is None


def test_nobody_waits_when_nothing_is_here_and_nothing_is_queued() -> None:
    with (admission := desk()).seat():
        assert admission.take(Queue().claim) is None


def test_closing_ends_the_wait(waiting: Waiting) -> None:
    admission, queue, grant, taker = waiting
    admission.close()
    assert taker.ended()
    assert taker.grant is None
    grant.denoised()
    assert admission.take(queue.claim) is None
    assert admission.empty(DEADLINE_S)


def test_an_error_of_the_claim_leaves_the_turn_to_others() -> None:
    admission, queue = desk(), Queue(MEGAPIXEL)

    def away(_budget_px: int, _avoided: Collection[str]) -> Attempt | None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        admission.take(away)
    assert taken(admission, queue)


def test_slow_pictures_do_not_keep_pixels_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_SLOW_S", -1.0)
    here, queue = desk(seats=4), Queue(*[2 * MEGAPIXEL] * 4)
    slow = [taken(here, queue) for _ in range(3)]
    assert here.free_px() == 4 * MEGAPIXEL
    slow[0].arrived(2 * MEGAPIXEL)
    assert here.free_px() == 2 * MEGAPIXEL, "it counts again once it is in the engine"


def test_the_cap_may_shrink_under_what_is_running() -> None:
    caps = iter([4 * MEGAPIXEL, MEGAPIXEL, MEGAPIXEL])
    admission = Admission(lambda: next(caps), read_ahead_px=0, seats=8)
    queue = Queue(2 * MEGAPIXEL)
    taken(admission, queue)
    assert admission.free_px() == 2 * MEGAPIXEL
    assert admission.free_px() == 0


def test_a_tenant_whose_pictures_do_not_come_leaves_a_quarter_of_the_seats_to_others() -> None:
    admission, queue = desk(capacity_px=99 * MEGAPIXEL, seats=8), Queue(*[MEGAPIXEL] * 8)
    grants: list[Grant] = []
    for _ in range(6):
        grants.append(taken(admission, queue))
        assert queue.avoided == []
    taken(admission, queue)
    assert queue.avoided == ["tenant"]
    grants[0].arrived(MEGAPIXEL)
    grants[1].arrived(MEGAPIXEL)
    taken(admission, queue)
    assert queue.avoided == []


def test_a_tenant_that_left_as_much_behind_as_there_are_spare_threads_has_to_wait() -> None:
    """Or one that submits and cancels would have all threads at work for it."""
    admission, queue = desk(seats=4), Queue(*[MEGAPIXEL] * 6)
    behind = [Future[None]() for _ in range(4)]
    for work in behind:
        grant = taken(admission, queue)
        assert queue.avoided == []
        grant.leaves(work)
        grant.denoised()
    taken(admission, queue).denoised()
    assert queue.avoided == ["tenant"]
    behind[0].set_result(None)
    taken(admission, queue).denoised()
    assert queue.avoided == []
