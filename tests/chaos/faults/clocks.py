"""Clocks that are an hour off (libfaketime): of all but Redis and the clients, or of Redis, set while it is in use."""

import asyncio
import importlib.util
import signal
from pathlib import Path
from typing import Final, cast

from shared.queue import keys
from tests.chaos.parts import Part
from tests.chaos.scene import PATIENCE_S, Fault, Scene

_OFF: Final = {
    "worker-1": "+1h",
    "worker-2": "-1h",
    "worker-3": "+1h",
    "api-1": "-1h",
    "api-2": "+1h",
    "courier": "+1h",
}
_JUST_NOW_MS: Final = 60_000
_NAMES: Final = ("LD_PRELOAD", "FAKETIME", "DONT_FAKE_MONOTONIC")


async def _set(scene: Scene) -> None:
    await asyncio.gather(*(_restart(scene, scene.stage.parts[name], by) for name, by in _OFF.items()))
    await scene.stage.is_whole()


async def _set_right(scene: Scene) -> None:
    await asyncio.gather(*(_restart(scene, scene.stage.parts[name]) for name in _OFF))


async def _set_redis(scene: Scene) -> None:
    """Forwards, and back at the next turn, in the middle of everybody's leases."""
    await _restart(scene, scene.stage.valkey, "" if scene.memory.pop("set", False) else "+1h")
    scene.memory["set"] = "FAKETIME" in scene.stage.valkey.environment
    await scene.stage.redis_is_back()
    await _looked_at(scene)


async def _looked_at(scene: Scene) -> None:
    """A rescuer has seen the clock. One that is set and set back while none looks is not found out."""
    stage = scene.stage

    async def looked() -> bool:
        now_ms = int(cast("tuple[int, int]", await stage.ask("TIME"))[0]) * 1000
        return abs(int(str(await stage.ask("GET", keys.WATCHED) or 0)) - now_ms) < _JUST_NOW_MS

    await stage.until(looked, "a rescuer looks at Redis", PATIENCE_S)


async def _set_redis_right(scene: Scene) -> None:
    if "FAKETIME" in scene.stage.valkey.environment:
        await _restart(scene, scene.stage.valkey)


async def _restart(scene: Scene, part: Part, by: str = "") -> None:
    """With another clock, or with the right one."""
    faked = dict(zip(_NAMES, (str(_library()), by, "1"), strict=True)) if by else {}
    kept = {name: value for name, value in part.environment.items() if name not in _NAMES}
    part.environment = kept | faked
    part.signal(signal.SIGTERM)
    await part.ended(PATIENCE_S)
    scene.note(f"its clock is set {by or 'right'}", part.name)


def _library() -> Path | None:
    found = importlib.util.find_spec("libfaketime")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.rglob("libfaketime.so*"), None)


def _lacking() -> str | None:
    return None if _library() else "needs libfaketime, which is there for Linux only"


FAULTS = [
    Fault(
        "clocks-off",
        "the clocks of all but Redis are an hour off",
        _set,
        heal=_set_right,
        rounds=1,
        longer=1,
        needs=_lacking,
    ),
    Fault(
        "redis-clock",
        "the clock of Redis is set an hour forwards, and back",
        _set_redis,
        heal=_set_redis_right,
        needs=_lacking,
    ),
]
