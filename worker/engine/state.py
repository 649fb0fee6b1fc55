"""The truth about one request between two steps. Batches are made from it and forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.protocol import BatchKey
from worker.model.prompt import Prompt
from worker.model.solver import Solver


@dataclass(slots=True)
class DenoiseState:
    """Only `key` must be equal among those that share a step; all else is this request's own.

    latents     (pictures, 4, key.height, key.width), scaled as the UNet has them, after `step` steps
    generators  one per picture, seeded seed + k; each served its encoded sample and its first noise already
    negative    None without guidance (guidance_scale <= 1): then a picture is one row of a call, not two
    time_ids    (1, 6): what the UNet is told about the picture's size
    before      the latents that `said` was predicted from, both of the last step, for previews
    ended       the device's name for the moment of the last step
    """

    key: BatchKey
    latents: Tensor
    solver: Solver
    generators: Sequence[torch.Generator]
    guidance_scale: float
    positive: Prompt
    negative: Prompt | None
    time_ids: Tensor
    step: int = 0
    before: Tensor | None = None
    said: Tensor | None = None
    ended: object = None

    @property
    def steps(self) -> int:
        return self.solver.steps

    @property
    def pictures(self) -> int:
        return len(self.latents)
