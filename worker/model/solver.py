"""fal's six schedulers as diffusers' classes, built on the checkpoint's own noise schedule, one instance per request.

A solver (diffusers says scheduler) decides which noise levels the steps visit and how a prediction moves the latents.
It remembers earlier predictions, so live requests never share one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from worker.model.libraries import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    NoiseScheduler,
    UniPCMultistepScheduler,
)

_Recipe = tuple[Any, Mapping[str, Any]]
_RECIPES: Mapping[str, _Recipe] = {
    "EulerDiscreteScheduler": (EulerDiscreteScheduler, {}),
    "EulerAncestralDiscreteScheduler": (EulerAncestralDiscreteScheduler, {}),
    "DPMSolverMultistepScheduler": (DPMSolverMultistepScheduler, {}),
    "DPMSolverMultistepScheduler_SDE_karras": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    "UniPCMultistepScheduler": (UniPCMultistepScheduler, {}),
    "DEISMultistepScheduler": (DEISMultistepScheduler, {}),
}
NAMES = tuple(_RECIPES)
_NOISY = frozenset({"EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler_SDE_karras"})
_GROWING = frozenset({"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"})
"""Those whose latents are picture + sigma * noise, so that their size grows with sigma; the others' keep size one."""


def noise_scheduler(name: str, schedule: Mapping[str, object]) -> NoiseScheduler:
    """diffusers' instance for fal's name; `schedule` is the checkpoint's scheduler configuration. KeyError: unknown."""
    kind, options = _RECIPES[name]
    return cast("NoiseScheduler", kind.from_config(schedule, **options))


def steps_to_do(steps: int, strength: float) -> int:
    """Of `steps` in the full schedule. Truncates as diffusers does, but never to none: fal's schema allows that."""
    return max(1, min(int(steps * strength), steps))


def _floats(tensor: Tensor) -> list[float]:
    numbers: list[float] = tensor.to(torch.float32).tolist()  # pyright: ignore
    return numbers


class Solver:
    """One request's way down the noise levels. Latents are (pictures, 4, h, w)."""

    def __init__(self, name: str, schedule: Mapping[str, object], *, steps: int, strength: float) -> None:
        self._scheduler = noise_scheduler(name, schedule)
        self._scheduler.set_timesteps(steps)
        self.steps = steps_to_do(steps, strength)
        """Steps this request does."""
        begin = steps - self.steps
        self._scheduler.set_begin_index(begin)
        self._timesteps = self._scheduler.timesteps[begin:]
        self._sigmas: list[float] = _floats(self._scheduler.sigmas[begin:])
        self._growing = name in _GROWING
        self._noisy = name in _NOISY
        self.timesteps: list[float] = _floats(self._timesteps)
        """What the UNet is told at each step."""
        sizes = (self._scheduler.sigmas[begin:] ** 2 + 1) ** 0.5
        self.scales: list[float] = _floats(sizes) if self._growing else [1.0] * len(self._sigmas)
        """What the latents are divided by, for the UNet, at each step."""

    def begin(self, latents: Tensor, noise: Tensor) -> Tensor:
        """The clean latents with as much noise as the first step expects."""
        return self._scheduler.add_noise(latents, noise, self._timesteps[:1].repeat(len(latents)))

    def step(self, done: int, prediction: Tensor, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The latents after step `done` (counted from 0), exactly as diffusers' scheduler computes them."""
        timestep = self._timesteps[done]
        if self._growing:
            self._scheduler.scale_model_input(latents, timestep)  # sets the flag that silences a warning
        options = {"generator": list(generators)} if self._noisy else {}
        return self._scheduler.step(prediction, timestep, latents, return_dict=False, **options)[0]

    def clean(self, done: int, prediction: Tensor, latents: Tensor) -> Tensor:
        """The picture that `prediction` at step `done` points to, with the latents from before that step."""
        sigma = self._sigmas[done]
        return (latents if self._growing else latents * (sigma**2 + 1) ** 0.5) - sigma * prediction
