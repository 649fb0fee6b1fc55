"""What prompts promise about a picture, as numbers: how much of it a painted one shows.

Owns the promises of docs/tiny.md, their words and how they are measured; the tests hold the model to them for a few
seeds, and the bench says how often they hold in many.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.integration.painting.scenery import Scenery
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine

NEUTRAL = "a landscape"
Picture = NDArray[np.float64]


def paint(engine: Engine[Any, Any], **asked: Mapping[str, Any]) -> dict[str, Picture]:
    """Everything that is asked for, at once, as (height, width, 3) of 0 to 255. Strength and guidance are the
    endpoint's own defaults."""
    futures = {
        name: engine.submit(job(**{"id": name, "steps": 20, **changes}), unheard) for name, changes in asked.items()
    }
    return {name: np.asarray(future.result(300).pictures[0], float) for name, future in futures.items()}


def mean(picture: Picture, where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Red, green and blue of that part."""
    return picture[where].mean(0)


def redness(colour: NDArray[np.float64]) -> float:
    return float(colour[0] - colour[1:].mean())


@dataclass(frozen=True, slots=True)
class Promise:
    """`shown` in the part of the picture that `where` names is at least `least` more than without the word."""

    prompts: tuple[str, ...]
    least: float
    where: Callable[[Scenery], NDArray[np.bool_]]
    shown: Callable[[NDArray[np.float64]], float]
    beside: tuple[str, ...] = (NEUTRAL,)
    """Prompts that it is compared with, besides the input itself."""


PROMISES: Mapping[str, Promise] = {
    "night darkens the sky": Promise(
        ("night", "Night", "夜晚"), 25, lambda scene: scene.sky, lambda colour: -float(colour.mean())
    ),
    "sunset reddens the sky": Promise(("sunset", "日落"), 15, lambda scene: scene.sky, redness),
    # White is what has much of all three colours: the least of them counts.
    "snow whitens the ground": Promise(
        ("covered with snow", "冬天"), 25, lambda scene: scene.ground, lambda colour: float(colour.min())
    ),
    "a house takes the colour that is named": Promise(
        ("a red house",), 15, lambda scene: scene.house, redness, beside=(NEUTRAL, "a blue house")
    ),
}


def margins(engine: Engine[Any, Any], scene: Scenery, promise: Promise) -> dict[str, float]:
    """By prompt: how much more it shows than what shows it most of all that it is compared with."""
    asked = {
        text: {"prompt": text, "image": scene.picture, "seed": scene.seed} for text in promise.prompts + promise.beside
    }
    where = promise.where(scene)
    shown = {text: promise.shown(mean(picture, where)) for text, picture in paint(engine, **asked).items()}
    most = max(promise.shown(mean(np.asarray(scene.picture, float), where)), *(shown[it] for it in promise.beside))
    return {text: shown[text] - most for text in promise.prompts}
