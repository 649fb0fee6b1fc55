"""The whole engine with a real model: mixed jobs of several sizes at once, each as if it were alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from shared.errors import Cancelled
from tests.unit.engine.jobs import job, picture, unheard
from worker.engine.engine import Engine
from worker.engine.job import Job, Painting, Progress
from worker.engine.runner import TorchRunner
from worker.model.solver import NAMES


def mixed(k: int) -> Job:
    return job(
        id=str(k),
        image=picture(*((64, 64), (72, 64), (64, 64))[k % 3], seed=k),
        prompt=("a cat", "a dog on the road", "")[k % 3],
        negative_prompt=("", "blurry")[k % 2],
        strength=(0.3, 0.85, 1.0, 0.01)[k % 4],
        steps=(3, 5, 4)[k % 3],
        guidance_scale=(5.0, 1.0, 7.5)[k % 3],
        seed=100 * k,
        images=1 + k % 2,
        solver=NAMES[k % 6],
    )


@pytest.fixture
def engine(runner: TorchRunner) -> Any:
    engine: Engine[Any, Any] = Engine(runner, previews_s=0.0)
    engine.start()
    yield engine
    engine.close(wait=False)


def test_twelve_mixed_jobs_at_once_are_as_if_each_were_alone(engine: Engine[Any, Any]) -> None:
    heard: list[tuple[str, Progress]] = []

    def submit(k: int) -> Painting:
        return engine.submit(mixed(k), lambda said: heard.append((str(k), said))).result(100)

    with ThreadPoolExecutor(12) as callers:
        together = list(callers.map(submit, range(12)))
    ticks = engine.stats().ticks
    for k, ours in enumerate(together):
        alone = engine.submit(mixed(k), unheard).result(100)
        assert len(ours.pictures) == len(alone.pictures) == 1 + k % 2
        for left, right in zip(ours.pictures, alone.pictures, strict=True):
            assert left.size == mixed(k).image.size
            assert np.abs(np.asarray(left, np.int16) - np.asarray(right, np.int16)).max() <= 1
        steps = [said.step for name, said in heard if name == str(k)]
        assert steps == list(range(1, len(steps) + 1))
    assert ticks < engine.stats().ticks - ticks, "together took as many calls as one after the other"
    shown = next(said.preview for _, said in heard if said.preview is not None)
    assert shown().size in {(8, 8), (9, 8)}


def test_cancel_takes_effect_within_a_step(engine: Engine[Any, Any]) -> None:
    second_step = threading.Event()
    steps: list[int] = []

    def listen(said: Progress) -> None:
        steps.append(said.step)
        if said.step == 2:
            engine.cancel("long")
            second_step.set()

    future = engine.submit(job(id="long", steps=150, strength=1.0), listen)
    assert second_step.wait(60)
    assert isinstance(future.exception(60), Cancelled)
    assert steps == [1, 2]
