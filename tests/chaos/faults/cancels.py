"""Requests that are taken back at the worst moments: while nobody can run them, and at every phase of a run."""

import itertools
import signal

from shared.queue.states import State
from tests.chaos.faults.workers import PHASES
from tests.chaos.scene import Fault, Scene

_RACES = ("claimed", "downloading", "stepping", "before-finish", "after-finish")


async def _waiting(scene: Scene) -> None:
    """The workers are frozen meanwhile. Doorbells have been rung for it, and its picture's address is known."""
    for worker in scene.stage.workers:
        worker.signal(signal.SIGSTOP)
    try:
        ids = [await scene.load.wish(picture="url", cancel="") for _ in range(3)]
        waited = [id for id in ids if await scene.state(id) == State.QUEUED]
        for id in waited:
            await scene.load.take_back(id, waiting=True)
        scene.note(f"{len(waited)} cancelled while they waited")
    finally:
        for worker in scene.stage.workers:
            worker.signal(signal.SIGCONT)
    for id in ids:
        await scene.load.watch(id)


async def _running(scene: Scene) -> None:
    """One phase after the other: the worker and its owner speak to Redis at once, and the owner is heard first."""
    rounds = scene.memory.setdefault("phases", itertools.cycle(_RACES))
    assert isinstance(rounds, itertools.cycle)
    phase = str(next(rounds))  # pyright: ignore[reportUnknownArgumentType]
    reached = await PHASES[phase](scene)
    for id in {reached.request, *await scene.stage.held_by(reached.worker.name)} - {""}:
        await scene.load.take_back(id)
    scene.note(f"cancelled {phase}", reached.worker.name)
    reached.let_go()


FAULTS = [
    Fault("cancel-waiting", "requests are cancelled before anybody has claimed them", _waiting),
    Fault("cancel-running", "requests are cancelled at each phase of their run", _running, rounds=len(_RACES)),
]
