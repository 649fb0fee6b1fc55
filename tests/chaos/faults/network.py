"""Connections that stay open and carry nothing any more, and a worker that cannot reach Redis at all."""

import asyncio

from tests.chaos.scene import Fault, Scene

_LONGER_S = 1.0
_FOUND_OUT_S = 60.0


async def _half_open(scene: Scene) -> None:
    """Of a worker and of an API by turns, until it works again: it can connect anew, the old connections are mute."""
    stage = scene.stage
    part, verb = (_any(scene, "worker"), "claim") if scene.takes_turns() else (_any(scene, "api"), "submit")
    stage.wires[part].go_dead()
    scene.note("half-open", part)
    alive = await stage.board.catch(verb, answered=True, within_s=_FOUND_OUT_S, fits=lambda s, _: s.part == part)
    alive.let_go()


def _any(scene: Scene, kind: str) -> str:
    return scene.chance.choice([name for name in scene.stage.parts if name.startswith(kind)])


async def _parted(scene: Scene) -> None:
    """For longer than its lease: it must stop by its own clock, for somebody else has its requests then."""
    worker = scene.chance.choice(scene.stage.workers)
    wire = scene.stage.wires[worker.name]
    wire.parted = True
    wire.cut()
    scene.note("cut off from Redis", worker.name)
    await asyncio.sleep(scene.stage.pace.lease_s + _LONGER_S)
    wire.parted = False


async def _joined(scene: Scene) -> None:
    for wire in scene.stage.wires.values():
        wire.parted = False


FAULTS = [
    Fault("half-open", "connections to Redis stay open and carry nothing any more", _half_open),
    Fault("parted", "a worker cannot reach Redis for longer than its lease", _parted, heal=_joined),
]
