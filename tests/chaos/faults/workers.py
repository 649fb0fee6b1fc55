"""Workers that are killed, frozen or asked to go, at every phase of a request.

A phase is hit from outside: by what the worker says to Redis and what it hears back, or by a picture that does not
come to its end. At that moment the wire (or the picture) is held, so the phase lasts until the signal has struck.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from shared.queue import keys
from shared.queue.states import State
from tests.chaos.parts import Part
from tests.chaos.scene import PATIENCE_S, Fault, Scene
from tests.chaos.wire import Spoken

_LEFT_ALONE_S = 1.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Reached:
    """A worker that stands at a phase. `let_go` lets the world go on, `drop` does so as if nobody had been there."""

    worker: Part
    let_go: Callable[[], object]
    drop: Callable[[], object]
    request: str = ""
    """Which request brought it there, as far as that is known."""


def _nothing() -> None:
    return


async def idle(scene: Scene) -> Reached:
    """A worker that holds nothing: it waits for a doorbell."""
    found: list[Part] = []

    async def one() -> bool:
        running = [worker for worker in scene.stage.workers if worker.is_running]
        found.extend([worker for worker in running if not await scene.stage.held_by(worker.name)])
        return bool(found)

    await scene.stage.until(one, "a worker is idle", PATIENCE_S)
    return Reached(found[0], _nothing, _nothing)


def said(verb: str, *, answered: bool, fits: Callable[[Spoken, Any], bool] = lambda _s, _r: True) -> "Phase":
    """A worker's command is on its way to Redis, or (`answered`) Redis' answer on its way back."""

    async def reach(scene: Scene) -> Reached:
        caught = await scene.stage.board.catch(
            verb,
            answered=answered,
            within_s=PATIENCE_S,
            fits=lambda spoken, reply: spoken.part.startswith("worker") and fits(spoken, reply),
        )
        request = str(caught.reply[0]) if verb == "claim" else caught.spoken.args[0]
        return Reached(scene.stage.parts[caught.spoken.part], caught.let_go, caught.drop, request)

    return reach


async def downloading(scene: Scene) -> Reached:
    """Half of the picture has come, and the request is still that worker's."""
    for _ in range(_TRIES):
        reached = await _half_a_picture(scene)
        if reached is not None:
            return reached
    raise TimeoutError("no download of a held request")


async def _half_a_picture(scene: Scene) -> Reached | None:
    stage = scene.stage
    half = await stage.world.half_a_picture(PATIENCE_S)

    async def acknowledged() -> bool:
        return half.token in scene.load.requests

    await stage.until(acknowledged, "the submit is acknowledged", PATIENCE_S)
    request = scene.load.requests[half.token]
    owner = str(await stage.ask("HGET", keys.request(request), "worker")).partition("@")[0]
    if owner not in stage.parts:
        half.let_go()
        return None
    return Reached(stage.parts[owner], half.let_go, half.let_go, request)


async def uploading(scene: Scene) -> Reached:
    """The result's file has just been announced: it is being written."""
    reached = await said("expect_files", answered=True)(scene)
    reached.let_go()
    await asyncio.sleep(scene.chance.uniform(0, 0.008))
    return Reached(reached.worker, _nothing, _nothing)


def _is_a_step(spoken: Spoken, _: Any) -> bool:
    return spoken.args[3] != "" and int(spoken.args[3]) < int(spoken.args[4])


Phase = Callable[[Scene], Awaitable[Reached]]

PHASES: dict[str, Phase] = {
    "idle": idle,
    "claimed": said("claim", answered=True, fits=lambda _, reply: bool(reply)),
    "downloading": downloading,
    "stepping": said("report", answered=True, fits=_is_a_step),
    "uploading": uploading,
    "before-finish": said("finish", answered=False),
    "after-finish": said("finish", answered=True),
}

WHEN = {
    "idle": "while it waits for work",
    "claimed": "when Redis has given it a request, before it knows",
    "downloading": "in the middle of a download",
    "stepping": "between two steps",
    "uploading": "while it writes its result",
    "before-finish": "before Redis hears of its result",
    "after-finish": "when Redis has its result, before it knows",
}


def _killed(phase: str) -> Fault:
    """There is always another one that could take over: how long that takes is measured."""

    async def inject(scene: Scene) -> None:
        await scene.stage.has_workers(2)
        reached = await PHASES[phase](scene)
        await scene.stage.kill(scene.fault, reached.worker, f"SIGKILL, {phase}")
        reached.drop()

    what = f"a worker is killed (SIGKILL) {WHEN[phase]}"
    return Fault(f"kill-{phase}", what, inject, rounds=3, longer=6, at_once=_clients(phase))


def _frozen(phase: str) -> Fault:
    """For longer than its lease: what it held goes to another, and what it says afterwards must not count.

    It wakes just when another has begun with what was its own; what it had on its way arrives only then.
    """

    async def inject(scene: Scene) -> None:
        reached = await PHASES[phase](scene)
        reached.worker.signal(signal.SIGSTOP)
        scene.note(f"SIGSTOP, {phase}", reached.worker.name)
        await _taken_over(scene, reached.worker)
        reached.let_go()
        reached.worker.signal(signal.SIGCONT)

    what = f"a worker is frozen (SIGSTOP) {WHEN[phase]}, for longer than its lease, and thawed"
    return Fault(f"freeze-{phase}", what, inject, rounds=1, longer=4, at_once=_clients(phase))


async def _taken_over(scene: Scene, frozen: Part) -> None:
    """Returns when another worker has been given something of the frozen one's, or when there is nothing to be given:
    it held nothing, or only what was cancelled meanwhile."""
    lost = await scene.stage.held_by(frozen.name)
    lease_s = scene.stage.pace.lease_s
    if not lost:
        await asyncio.sleep(lease_s + _LEFT_ALONE_S)
        return

    def is_another(spoken: Spoken, reply: Any) -> bool:
        return spoken.part != frozen.name and bool(reply) and str(reply[0]) in lost

    within_s = lease_s + PATIENCE_S
    claim = asyncio.create_task(scene.stage.board.catch("claim", answered=True, within_s=within_s, fits=is_another))

    async def is_decided() -> bool:
        return claim.done() or all([State(await scene.state(id)).is_final for id in lost])

    try:
        await scene.stage.until(is_decided, "what it held is another's, or over", within_s)
    finally:
        if claim.done():
            claim.result().let_go()
        claim.cancel()


def _asked_to_go(phase: str) -> Fault:
    async def inject(scene: Scene) -> None:
        reached = await PHASES[phase](scene)
        reached.worker.signal(signal.SIGTERM)
        scene.note(f"SIGTERM, {phase}", reached.worker.name)
        if phase != "downloading":
            reached.let_go()
        await reached.worker.ended(PATIENCE_S)
        reached.drop()

    what = f"a worker is asked to go (SIGTERM) {WHEN[phase]}"
    return Fault(f"drain-{phase}", what, inject, rounds=1, longer=10, at_once=_clients(phase))


def _clients(phase: str) -> int:
    """Few enough to leave a worker idle, or as many as keep all of them busy."""
    return 2 if phase == "idle" else 8


FAULTS = [make(phase) for make in (_killed, _frozen, _asked_to_go) for phase in PHASES]
