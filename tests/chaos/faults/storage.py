"""The store full, failing, slow and silent; Redis full.

A disk is full for a process whose files may not grow (RLIMIT_FSIZE): its writes fail as they do on a full one, and
its log comes through a pipe. The bucket is a real S3 server behind a road that can be blocked.
"""

import asyncio
import resource

from tests.chaos.parts import Part
from tests.chaos.scene import Fault, Inject, Scene
from tests.chaos.stores import lacking_s3

_FULL_S = 1.5
_BLOCKED_S = 3.0


async def _full(scene: Scene) -> None:
    for part in _writers(scene):
        _limit(part, 0)
    scene.note("no byte more fits")
    await asyncio.sleep(_FULL_S)
    for part in _writers(scene):
        _limit(part, resource.RLIM_INFINITY)


async def _roomy(scene: Scene) -> None:
    for part in _writers(scene):
        _limit(part, resource.RLIM_INFINITY)


def _writers(scene: Scene) -> list[Part]:
    return [part for part in scene.stage.parts.values() if part.is_running]


def _limit(part: Part, most: int) -> None:
    resource.prlimit(part.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


async def _redis_full(scene: Scene) -> None:
    await scene.stage.ask("CONFIG", "SET", "maxmemory", "1mb")
    scene.note("Redis takes nothing new", "valkey")
    await asyncio.sleep(_FULL_S)
    await _redis_roomy(scene)


async def _redis_roomy(scene: Scene) -> None:
    await scene.stage.ask("CONFIG", "SET", "maxmemory", "0")


def _blocked(state: str) -> Inject:
    async def inject(scene: Scene) -> None:
        scene.stage.store.road.state = state
        scene.note(f"the bucket is {state}")
        await asyncio.sleep(_BLOCKED_S)
        await _opened(scene)

    return inject


async def _opened(scene: Scene) -> None:
    scene.stage.store.road.state = "open"


FAULTS = [
    Fault("disk-full", "the disk of the store is full for a while", _full, heal=_roomy),
    Fault("redis-full", "Redis is full for a while", _redis_full, heal=_redis_roomy),
    *(
        Fault(f"bucket-{state}", what, _blocked(state), heal=_opened, store="bucket", needs=lacking_s3)
        for state, what in (
            ("failing", "the bucket answers 503 to everything"),
            ("slow", "the bucket is slow: some hundred bytes at a time"),
            ("silent", "the bucket does not answer"),
        )
    ),
]
