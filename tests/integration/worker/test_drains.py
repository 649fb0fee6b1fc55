"""Workers that are restarted one after the other, as an upgrade does: nothing is lost, counted or kept waiting."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.queue import commands
from shared.queue.states import State
from tests.integration.worker.conftest import Spawn
from tests.integration.worker.floor import DEADLINE_S, Floor, Worker

LONG: dict[str, Any] = {"num_inference_steps": 100, "strength": 1.0}
RUN: dict[str, Any] = {"num_inference_steps": 20, "strength": 1.0}
"""A second of slow steps."""
SLOW = {"FAKE_STEP_S": "0.05"}
FOUR, ONE = {"CONCURRENCY": "4"}, {"CONCURRENCY": "1"}


def until(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def ready(floor: Floor) -> int:
    """As the API's /ready counts them."""
    return sum(worker.ready and not worker.draining for worker in floor.do(commands.fleet()).workers)


def test_readiness_goes_first_and_nothing_more_is_claimed(floor: Floor, spawn: Spawn) -> None:
    worker = spawn(**SLOW, **FOUR)
    running = floor.submit(**LONG)
    floor.running(running)
    until(lambda: ready(floor) == 1)
    worker.signal(signal.SIGTERM)
    until(lambda: ready(floor) == 0)
    assert floor.view(running).state is State.RUNNING, "it is finished after that"
    late = floor.submit()
    assert worker.exit_status() == 0
    assert floor.view(running).state is State.SUCCEEDED
    assert (floor.view(late).state, floor.view(late).attempts) == (State.QUEUED, 0)
    floor.cancel(late)


def roll(floor: Floor, spawn: Spawn, workers: list[Worker], **settings: str) -> None:
    """Each in turn; the next only when the one before has a successor that is ready."""
    for number, worker in enumerate(workers):
        until(lambda: ready(floor) == len(workers))
        worker.signal(signal.SIGTERM)
        until(lambda: ready(floor) == len(workers) - 1)
        assert worker.exit_status() == 0
        spawn(WORKER_NAME=f"new-{number}", **SLOW, **FOUR, **settings)
    until(lambda: ready(floor) == len(workers))


@pytest.mark.parametrize("grace_s", ["30", "0"], ids=["runs fit the grace", "no run fits the grace"])
def test_a_rolling_restart_loses_nothing(floor: Floor, spawn: Spawn, grace_s: str) -> None:
    workers = [spawn(WORKER_NAME=f"old-{number}", GRACE_S=grace_s, **SLOW, **FOUR) for number in range(2)]
    ids = [floor.submit(retry=False, **RUN) for _ in range(40)]
    for id in ids[:8]:
        floor.until(id, lambda view: view.state is not State.QUEUED)
    roll(floor, spawn, workers, GRACE_S=grace_s)
    assert [floor.finished(id).status for id in ids] == [200] * len(ids)
    assert {(floor.view(id).attempts, floor.crashes(id)) for id in ids} == {(1, 0)}
    told = [[event.state for event in floor.events(id) if not event.step and not event.message] for id in ids]
    interrupted = sum(states != [State.QUEUED, State.RUNNING, State.SUCCEEDED] for states in told)
    if grace_s == "30":
        assert interrupted == 0, "nobody waits for a restart where runs fit the grace"
    else:
        assert interrupted > 0
        assert max(states.count(State.RUNNING) for states in told) <= 1 + len(workers), "once more for each restart"


def test_what_goes_back_is_the_next_to_run(floor: Floor, spawn: Spawn) -> None:
    """So it waits no longer than until the next place is free: one run."""
    first = spawn(WORKER_NAME="first", GRACE_S="0", **SLOW, **ONE)
    returned = floor.submit(**LONG)
    floor.running(returned)
    others = [floor.submit(**RUN) for _ in range(5)]
    first.signal(signal.SIGTERM)
    assert first.exit_status() == 0
    assert floor.view(returned).position == 0
    spawn(WORKER_NAME="second", **SLOW, **ONE)
    for id in (returned, *others):
        floor.finished(id)
    began = [floor.view(id).started_ms or 0 for id in (returned, *others)]
    assert min(began) == began[0]
