"""Every process but Redis and the clients has a clock that is an hour off, some early and some late (libfaketime)."""

import importlib.util
import signal
from pathlib import Path
from typing import Final

from tests.chaos.scene import PATIENCE_S, Fault, Scene

_OFF: Final = {"worker-1": "+1h", "worker-2": "-1h", "api-1": "-1h", "api-2": "+1h", "courier": "+1h"}
_NAMES: Final = ("LD_PRELOAD", "FAKETIME", "DONT_FAKE_MONOTONIC")


async def _set(scene: Scene) -> None:
    for name, by in _OFF.items():
        part = scene.stage.parts[name]
        part.environment |= dict(zip(_NAMES, (str(_library()), by, "1"), strict=True))
        part.signal(signal.SIGTERM)
        await part.ended(PATIENCE_S)
        scene.note(f"its clock is set {by}", name)
    await scene.stage.is_whole()


async def _set_right(scene: Scene) -> None:
    for name in _OFF:
        part = scene.stage.parts[name]
        for variable in _NAMES:
            part.environment.pop(variable, None)
        part.signal(signal.SIGTERM)
        await part.ended(PATIENCE_S)


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
    )
]
