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
    positive    as the denoiser heard it; so is the negative one
    negative    None without guidance (guidance_scale <= 1): then a picture is one row of a call, not two
    deep        what the last step that ran the whole UNet left for those after it that do not, for each picture: (rows,
                channels, h, w), its negative row first; empty where every step runs the whole
    before      the latents that `said` was predicted from, both of the last step, for previews
    ready       the device's name for the moment from which all of this may be read
    ended       that of the last step
    """

    key: BatchKey
    latents: Tensor
    solver: Solver
    generators: Sequence[torch.Generator]
    guidance_scale: float
    positive: Prompt
    negative: Prompt | None
    step: int = 0
    deep: Sequence[Tensor] = ()
    before: Tensor | None = None
    said: Tensor | None = None
    ready: object = None
    ended: object = None

    @property
    def tensors(self) -> list[Tensor]:
        """What was made for it beside the steps."""
        prompts = [prompt for prompt in (self.positive, self.negative) if prompt is not None]
        return [self.latents, *(tensor for prompt in prompts for tensor in (prompt.embeds, prompt.pooled))]

    @property
    def steps(self) -> int:
        return self.solver.steps

    @property
    def pictures(self) -> int:
        return len(self.latents)
