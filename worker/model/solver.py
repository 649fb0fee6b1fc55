"""fal's six schedulers as diffusers' classes, built on the checkpoint's own noise schedule, one instance per request.

A solver (diffusers says scheduler) decides which noise levels the steps visit and how a prediction moves the latents.
It remembers earlier predictions, so live requests never share one. `together` moves several at once.
"""

import copy
import math
from collections import OrderedDict
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
_REQUIRED = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")
_PAINTED_WITH: Mapping[str, object] = {
    "prediction_type": "epsilon",
    "solver_order": 2,
    "algorithm_type": "dpmsolver++",
    "thresholding": False,
    "use_flow_sigmas": False,
    "variance_type": None,
}
"""What `clean`, `remembered`, `coefficients` and the UNet's output take for granted, as far as a schedule says it."""
_TABLES = 256
"""Coefficient tables that are kept: one per name, steps and strength, at most 150 times 72 bytes each."""


def noise_scheduler(name: str, schedule: Mapping[str, object]) -> NoiseScheduler:
    """diffusers' instance for fal's name; `schedule` is the checkpoint's scheduler configuration. KeyError: unknown."""
    kind, options = _RECIPES[name]
    return cast("NoiseScheduler", kind.from_config(schedule, **options))


def check_schedule(schedule: Mapping[str, object]) -> None:
    """Raises ValueError, or what diffusers raises, for one that not all of the solvers can paint with."""
    for name in _REQUIRED:
        if name not in schedule:
            raise ValueError(f"{name} is missing")
    for name, needed in _PAINTED_WITH.items():
        if schedule.get(name, needed) != needed:
            raise ValueError(f"{name} is {schedule[name]}, and this product paints with {needed}")
    solvers = Solvers(schedule)
    for name in NAMES:
        solvers.open(name, steps=2, strength=1.0)


def steps_to_do(steps: int, strength: float) -> int:
    """Of `steps` in the full schedule. Truncates as diffusers does, but never to none: fal's schema allows that."""
    return max(1, min(int(steps * strength), steps))


class Solvers:
    """Opens solvers on one noise schedule, and keeps what they have in common: instances to copy, coefficients."""

    def __init__(self, schedule: Mapping[str, object]) -> None:
        self._schedule = schedule
        self._templates: dict[str, NoiseScheduler] = {}
        self._tables: OrderedDict[tuple[str, int, int], dict[int, Tensor]] = OrderedDict()

    def open(self, name: str, *, steps: int, strength: float) -> "Solver":
        """For `steps` in the full schedule, of which `strength` leaves the last part. KeyError: unknown name."""
        if name not in self._templates:
            self._templates[name] = noise_scheduler(name, self._schedule)
        begin = steps - steps_to_do(steps, strength)
        table = self._tables.pop((name, steps, begin), {})
        self._tables[name, steps, begin] = table
        if len(self._tables) > _TABLES:
            self._tables.popitem(last=False)
        return Solver(name, copy.deepcopy(self._templates[name]), steps, begin, table)


class Solver:
    """One request's way down the noise levels. Latents are (pictures, 4, h, w); `done` counts its steps from 0."""

    def __init__(self, name: str, scheduler: NoiseScheduler, steps: int, begin: int, table: dict[int, Tensor]) -> None:
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(begin)
        self._scheduler: Any = scheduler
        self._begin = begin
        self._table = table
        self._timesteps = scheduler.timesteps[begin:]
        self._sigmas: list[float] = _floats(scheduler.sigmas[begin:])
        self._growing = name in _GROWING
        self.noisy = name in _NOISY
        """Whether a step wants fresh noise."""
        self.steps = steps - begin
        """Steps this request does."""
        self.timesteps: list[float] = _floats(self._timesteps)
        """What the UNet is told at each step."""
        sizes = (scheduler.sigmas[begin:] ** 2 + 1) ** 0.5
        self.scales: list[float] = _floats(sizes) if self._growing else [1.0] * len(self._sigmas)
        """What the latents are divided by, for the UNet, at each step."""

    def begin(self, latents: Tensor, noise: Tensor) -> Tensor:
        """The clean latents with as much noise as the first step expects, as diffusers adds it to two numbers."""
        one = torch.ones(1, dtype=latents.dtype)
        kept, added = (
            float(self._scheduler.add_noise(first, second, self._timesteps[:1]))
            for first, second in ((one, one * 0), (one * 0, one))
        )
        return latents * kept + noise * added

    def step(self, done: int, prediction: Tensor, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The latents after this step, exactly as diffusers' scheduler computes them."""
        timestep = self._timesteps[done]
        if self._growing:
            self._scheduler.scale_model_input(latents, timestep)  # sets the flag that silences a warning
        options = {"generator": list(generators)} if self.noisy else {}
        return self._scheduler.step(prediction, timestep, latents, return_dict=False, **options)[0]

    def clean(self, done: int, prediction: Tensor, latents: Tensor) -> Tensor:
        """The picture that `prediction` at this step points to, with the latents from before it."""
        sigma = self._sigmas[done]
        return (latents if self._growing else latents * (sigma**2 + 1) ** 0.5) - sigma * prediction

    def remembered(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The last converted prediction, the one before it, and UniPC's last sample, as far as there are any."""
        if self._growing:
            return None, None, None
        earlier = self._scheduler.model_outputs
        return earlier[-1], earlier[-2], getattr(self._scheduler, "last_sample", None)

    def remember(self, done: int, converted: Tensor, sample: Tensor) -> None:
        """Puts the instance where its own `step` would have left it after this step."""
        self._place(self._scheduler, done + 1)
        if not self._growing:
            self._scheduler.model_outputs = [self._scheduler.model_outputs[-1], converted]
        if hasattr(self._scheduler, "last_sample"):
            self._scheduler.last_sample = sample

    def coefficients(self, done: int) -> Tensor:
        """(3, 6): what this step makes of its six inputs, see `worker.model.together`."""
        if done not in self._table:
            self._table[done] = self._euler(done) if self._growing else self._probe(done)
        return self._table[done]

    def _euler(self, done: int) -> Tensor:
        """x + (down - sigma) e + up n: of the next level's noise, `up` is drawn afresh and `down` was there before."""
        sigma, after = self._sigmas[done], self._sigmas[done + 1]
        up = after * math.sqrt(sigma**2 - after**2) / sigma if self.noisy else 0.0
        down = math.sqrt(after**2 - up**2)
        return torch.tensor([[1.0, down - sigma, 0, 0, 0, up], [0.0] * 6, [0.0] * 6])

    def _probe(self, done: int) -> Tensor:
        """diffusers' own step, given unit vectors: it is linear in each of its inputs."""
        latents, prediction, last, before, sample, noise = torch.split(torch.eye(6), 1)
        probe: Any = copy.copy(self._scheduler)
        self._place(probe, done)
        probe.model_outputs = [before if done > 1 else None, last if done else None]
        if hasattr(probe, "last_sample"):
            probe.last_sample = sample if done else None
            probe.timestep_list = list(probe.timestep_list)
        options: dict[str, Tensor] = {"variance_noise": noise} if self.noisy else {}
        after: Tensor = probe.step(prediction, self._timesteps[done], latents, return_dict=False, **options)[0]
        converted = cast("Tensor", probe.model_outputs[-1])
        corrected: Tensor = getattr(probe, "last_sample", torch.zeros_like(after))
        return torch.cat([after, converted, corrected])

    def _place(self, scheduler: Any, done: int) -> None:
        """Its counters, as after so many steps. `this_order` is the order of UniPC's last prediction."""
        index = self._begin + done
        scheduler._step_index = index  # noqa: SLF001 - diffusers offers no way to set it
        if self._growing:
            return
        order = scheduler.config.solver_order
        scheduler.lower_order_nums = min(done, order)
        if hasattr(scheduler, "last_sample") and done:
            left = len(scheduler.timesteps) - index + 1 if scheduler.config.lower_order_final else order
            scheduler.this_order = min(order, left, done)


def _floats(tensor: Tensor) -> list[float]:
    numbers: list[float] = tensor.to(torch.float32).tolist()  # pyright: ignore
    return numbers
