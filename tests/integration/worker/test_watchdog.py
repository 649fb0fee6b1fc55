"""A worker that hears nothing although requests wait ends itself, and no other does."""

import time

import pytest

from shared.queue import commands, keys
from tests.integration.worker.floor import Floor
from worker.watchdog import Watchdog


class Stage:
    def __init__(self, floor: Floor) -> None:
        self.busy = False
        self.heard_s = float("-inf")
        self.ends: list[int] = []
        self.watchdog = Watchdog(
            floor.redis, busy=lambda: self.busy, heard_s=lambda: self.heard_s, stall_s=0.0, end=self.ends.append
        )

    def rounds(self) -> list[int]:
        """Two are needed: the first sees that requests wait, the second that they still do."""
        self.watchdog.round()
        self.watchdog.round()
        return self.ends


@pytest.fixture
def stage(floor: Floor) -> Stage:
    return Stage(floor)


def test_a_deaf_worker_ends(floor: Floor, stage: Stage) -> None:
    floor.submit()
    assert stage.rounds() == [70]


def test_an_idle_worker_stays(stage: Stage) -> None:
    assert stage.rounds() == []


def test_requests_that_wait_for_their_own_key_alone_are_no_sign_of_deafness(floor: Floor, stage: Stage) -> None:
    for _ in range(2):
        floor.submit(max_running=1)
    for claim in ("one", "two"):
        floor.do(commands.claim("w", claim, budget_px=2**30, lease_ms=60_000, retention_s=60))
    assert floor.do(commands.fleet()).parked == 1
    assert stage.rounds() == []


def test_a_busy_worker_stays(floor: Floor, stage: Stage) -> None:
    floor.submit()
    stage.busy = True
    assert stage.rounds() == []


def test_one_that_has_just_heard_a_doorbell_stays(floor: Floor, stage: Stage) -> None:
    floor.submit()
    stage.heard_s = time.monotonic() + 60
    assert stage.rounds() == []


def test_the_wait_begins_anew_when_the_queue_was_empty_meanwhile(floor: Floor, stage: Stage) -> None:
    id = floor.submit()
    stage.watchdog.round()
    floor.cancel(id)
    stage.watchdog.round()
    floor.submit()
    stage.watchdog.round()
    assert stage.ends == []
    assert floor.do(commands.fleet()).queued == 1
    assert floor.redis.execute_command("LLEN", keys.DOORBELL) == 2
