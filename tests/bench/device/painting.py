"""One picture from its request to its pixels, by this engine's runner or the stock pipeline, and how long it took."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from tests.unit.engine.jobs import job, picture
from tests.unit.engine.stock import Stock
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.engine.state import DenoiseState
from worker.model.checkpoint import Checkpoint
from worker.model.libraries import KolorsImg2ImgPipeline
from worker.model.solver import noise_scheduler

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Scale:
    """What is measured at: the model, sides in pixels, and fal's usual 50 steps at .85 on a GPU."""

    model: str
    side: int
    sides: tuple[int, ...]
    steps: int
    requests: int
    pictures: tuple[int, ...]

    def job(self, number: int, **changes: Any) -> Job:
        """Each number has a prompt of its own, as real requests have."""
        wanted: dict[str, Any] = {
            "id": str(number),
            "image": picture(self.side, self.side, seed=number),
            "prompt": f"an oil painting of a city at night, number {number}",
            "steps": self.steps,
            "strength": 0.85,
            "seed": number,
            "check_safety": False,
        }
        return job(**{**wanted, **changes})


FULL = Scale("full", 1024, (512, 768, 1024), 50, 24, (1, 2, 4, 8))
TINY = Scale("tiny", 32, (32,), 3, 3, (1, 2))


def apart(ours: Tensor, wanted: Tensor) -> float:
    """The norm of their difference, as a share of what was wanted."""
    mine, theirs = ours.double().numpy(), wanted.double().numpy()
    return float(np.linalg.norm(mine - theirs) / np.linalg.norm(theirs))


def levels_apart(ours: Pixels, wanted: Pixels) -> dict[str, float]:
    """In grey levels of 255."""
    levels = np.abs(ours.astype(np.int16) - wanted.astype(np.int16))
    return {"levels_mean": float(levels.mean()), "levels_most": float(levels.max())}


@dataclass(frozen=True, slots=True)
class Painted:
    seconds: float
    latents: Tensor
    pixels: Pixels

    def beside(self, other: "Painted") -> dict[str, float]:
        """How far apart: latents by the norm of their difference, and pictures."""
        return {"latents_differ": apart(self.latents, other.latents), **levels_apart(self.pixels, other.pixels)}


def joined(runner: TorchRunner, one: Job) -> DenoiseState:
    return runner.prepare(one, runner.key(one.image.width, one.image.height, precise=False))


def step(runner: TorchRunner, states: Sequence[DenoiseState]) -> None:
    runner.advance(states, runner.predict(states, slots=64))


def paint(runner: TorchRunner, one: Job) -> Painted:
    runner.checkpoint.device.finish()
    began_s = time.perf_counter()
    state = joined(runner, one)
    while state.step < state.steps:
        step(runner, [state])
    pixels = np.asarray(runner.decode(state, job=one).pictures[0])
    return Painted(time.perf_counter() - began_s, state.latents.float().cpu(), pixels)


def step_s(runner: TorchRunner, states: Sequence[DenoiseState], steps: int) -> float:
    """Of a step when one follows the other; two steps more are taken before."""
    for _ in range(2):
        step(runner, states)
    runner.checkpoint.device.finish()
    began_s = time.perf_counter()
    for _ in range(steps):
        step(runner, states)
    runner.checkpoint.device.finish()
    return (time.perf_counter() - began_s) / steps


def stock_pipeline(checkpoint: Checkpoint) -> Stock:
    """diffusers' own pipeline on the same weights: as it comes, so the autoencoder in float32 where the rest is in
    float16."""
    vae: Any = copy.deepcopy(checkpoint.vae)
    pipeline = KolorsImg2ImgPipeline(
        vae=vae.to(checkpoint.dtype),
        text_encoder=checkpoint.text_encoder,
        tokenizer=checkpoint.tokenizer,
        unet=checkpoint.unet,
        scheduler=noise_scheduler("EulerDiscreteScheduler", checkpoint.schedule),
        force_zeros_for_empty_prompt=False,
    )
    return Stock(pipeline, checkpoint.schedule)


def paint_stock(pipeline: Stock, checkpoint: Checkpoint, one: Job) -> tuple[float, Pixels]:
    """What a picture of the stock pipeline takes, and what it is."""
    checkpoint.device.finish()
    began_s = time.perf_counter()
    pictures = pipeline.paint(one)
    checkpoint.device.finish()
    return time.perf_counter() - began_s, np.asarray(pictures[0])
