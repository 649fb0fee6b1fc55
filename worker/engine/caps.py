"""How many pictures of a size may share a step: measured once for a device, a torch and a model, and kept on disk.

More rows in a call pay until the device is full; from there they only make everybody's step longer. Where that is
depends on the card and is measured, by `measure`, with the runner that will paint. No torch here.
"""

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from shared.errors import OutOfMemory
from worker.engine.job import Job
from worker.engine.protocol import Runner, Unusable

_log = logging.getLogger(__name__)

SIDES: Final = (256, 512, 768, 1024, 1536, 2048)
"""Of the squares that are measured, in pixels."""
_MOST_PICTURES: Final = 64
_LONGEST_STEP_S: Final = 2.0
"""Whoever joins, leaves or is cancelled waits for a step to end: no company is worth a longer one."""
_WORTH_IT: Final = 0.95
"""A larger call must make each picture cheaper than this share of what it cost."""
_STEPS: Final = 3

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Caps:
    """`pictures`: the cap by the number of pixels of a picture. `made_for` says what it holds for."""

    made_for: Mapping[str, str]
    pictures: Mapping[int, int]

    def of(self, picture_px: int) -> int:
        """That of the next larger size that was measured; beyond the largest, as many as have its pixels."""
        for px in sorted(self.pictures):
            if picture_px <= px:
                return self.pictures[px]
        largest = max(self.pictures)
        return max(1, self.pictures[largest] * largest // picture_px)


def load(folder: Path, made_for: Mapping[str, str]) -> Caps | None:
    """What was measured for this device, torch and model; None where nothing was, or the file is of no use."""
    file = _file(folder, made_for)
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        caps = Caps(content["made_for"], {int(px): int(most) for px, most in content["pictures"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        _log.warning("%s cannot be read: estimating instead", file)
        return None
    usable = caps.made_for == dict(made_for) and caps.pictures and min(*caps.pictures, *caps.pictures.values()) > 0
    return caps if usable else None


def save(folder: Path, caps: Caps) -> Path:
    """Replaces what was measured before for the same."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(folder, caps.made_for)
    content = {"made_for": dict(caps.made_for), "pictures": {str(px): most for px, most in caps.pictures.items()}}
    beside = file.with_suffix(f".{uuid.uuid4().hex}.new")  # workers that share a folder may measure at once
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(file)
    return file


def measure(
    runner: Runner[Any, Any], sides: Sequence[int] = SIDES, *, clock: Clock = time.perf_counter
) -> Mapping[int, int]:
    """Caps by pixels, for `Caps`. A size that does not fit at all ends the list; at least one must.

    The runner must have the device for itself. Raises `OutOfMemory` where not even the smallest picture fits.
    """
    caps: dict[int, int] = {}
    for side in sides:
        try:
            caps[side * side] = _cap(runner, side, clock)
        except OutOfMemory:
            if not caps:
                raise
            break
        _log.info("%d pictures of %d×%d share a step", caps[side * side], side, side)
    return caps


def _cap(runner: Runner[Any, Any], side: int, clock: Clock) -> int:
    """The smallest call that is about as cheap for each picture as any. Raises `OutOfMemory` where one does not fit.

    Doubles the pictures until that has not paid twice in a row: one step that something else made long ends nothing.
    """
    each_s, pictures, in_vain = {1: _step_s(runner, side, 1, clock)}, 1, 0
    while pictures < _MOST_PICTURES and in_vain < 2:
        pictures *= 2
        try:
            step_s = _step_s(runner, side, pictures, clock)
        except OutOfMemory:
            break
        if step_s > _LONGEST_STEP_S:
            break
        each_s[pictures] = step_s / pictures
        in_vain = 0 if each_s[pictures] < _WORTH_IT * each_s[pictures // 2] else in_vain + 1
    cheapest_s = min(each_s.values())
    return min(pictures for pictures, cost_s in each_s.items() if cost_s * _WORTH_IT <= cheapest_s)


def _step_s(runner: Runner[Any, Any], side: int, pictures: int, clock: Clock) -> float:
    """The shortest of a few guided steps: other work only ever makes one longer. The first is none of them, in which
    the preparation ends and kernels are chosen. All are decoded in the end: what does not fit then is too many, too."""
    key = runner.key(side, side, precise=False)
    state = runner.prepare(_job(side, pictures), key)
    _step(runner, state, pictures)
    runner.settle()
    shortest_s = float("inf")
    for _ in range(_STEPS):
        began_s = clock()
        _step(runner, state, pictures)
        shortest_s = min(shortest_s, clock() - began_s)
        if shortest_s > _LONGEST_STEP_S:
            break
    with suppress(Unusable):  # which says nothing of its time or memory
        runner.decode(state, job=_job(side, pictures))
    return shortest_s


def _step(runner: Runner[Any, Any], state: Any, pictures: int) -> None:
    runner.advance([state], runner.predict([state], slots=pictures))
    if (shown := runner.preview(state)) is not None:
        shown()  # waits for the device


def _job(side: int, pictures: int) -> Job:
    return Job(
        id="measuring",
        request="measuring",
        prompt="a photo of a cat",
        negative_prompt="",
        image=Image.linear_gradient("L").resize((side, side)).convert("RGB"),
        strength=1.0,
        steps=2 + _STEPS,
        guidance_scale=5.0,
        seed=0,
        images=pictures,
        solver="EulerDiscreteScheduler",
        check_safety=False,
    )


def _file(folder: Path, made_for: Mapping[str, str]) -> Path:
    """One file for each device, torch and model."""
    name = hashlib.sha256(json.dumps(dict(sorted(made_for.items()))).encode()).hexdigest()[:16]
    return folder / f"{name}.json"
