"""The API killed between a submit and its answer, and asked to go under load; the courier killed in mid-delivery."""

import asyncio
import signal

from tests.chaos.scene import PATIENCE_S, Fault, Scene


async def _killed(scene: Scene) -> None:
    """By turns before Redis has heard of the request, and after: both look the same to the client."""
    answered = scene.takes_turns()
    caught = await scene.stage.board.catch("submit", answered=answered, within_s=PATIENCE_S)
    part = scene.stage.parts[caught.spoken.part]
    await scene.stage.kill(scene.fault, part, f"SIGKILL {'after' if answered else 'before'} the submit was recorded")
    caught.drop()


async def _asked_to_go(scene: Scene) -> None:
    part = scene.stage.parts[scene.chance.choice(list(scene.stage.ports))]
    part.signal(signal.SIGTERM)
    scene.note("SIGTERM of an API", part.name)
    await part.ended(PATIENCE_S)


async def _courier_killed(scene: Scene) -> None:
    """By turns while the receiver has heard and not answered, and before Redis hears how the delivery went."""
    stage, courier = scene.stage, scene.stage.parts["courier"]
    if scene.takes_turns():
        caught = await stage.board.catch("settle", answered=False, within_s=PATIENCE_S)
        await stage.kill(scene.fault, courier, "SIGKILL of the courier before a delivery is settled")
        caught.drop()
        return
    while not stage.world.calling.empty():
        stage.world.calling.get_nowait()
    stage.world.told.clear()
    await asyncio.wait_for(stage.world.calling.get(), PATIENCE_S)
    await stage.kill(scene.fault, courier, "SIGKILL of the courier while a receiver thinks")
    stage.world.told.set()


FAULTS = [
    Fault("api-killed", "an API is killed (SIGKILL) between a submit and its answer", _killed, rounds=4),
    Fault("api-drained", "an API is asked to go (SIGTERM) under its clients", _asked_to_go),
    Fault("courier-killed", "the courier is killed (SIGKILL) in the middle of a delivery", _courier_killed),
]
