"""States into calls of the UNet, and what it says back to each state.

A call's rows are the negative prompts of all its guided pictures, then the positive ones in the same order, then the
pictures without guidance. For a request alone that is the stock pipeline's own order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.state import DenoiseState
from worker.model.libraries import UNet


@dataclass(frozen=True, slots=True)
class Part:
    """Some pictures of one state: all of them, but for a request that is cut."""

    state: DenoiseState
    first: int
    count: int

    @property
    def latents(self) -> Tensor:
        return self.state.latents[self.first : self.first + self.count]

    @property
    def guided(self) -> bool:
        return self.state.negative is not None


def cut(states: Sequence[DenoiseState], slots: int) -> Iterator[list[Part]]:
    """Calls of at most `slots` pictures. A request is torn apart only when it has more than that by itself."""
    call: list[Part] = []
    for state in states:
        for first in range(0, state.pictures, slots):
            part = Part(state, first, min(slots, state.pictures - first))
            if sum(other.count for other in call) + part.count > slots:
                yield call
                call = []
            call.append(part)
    if call:
        yield call


def predict(unet: UNet, dtype: torch.dtype, states: Sequence[DenoiseState], slots: int) -> list[Tensor]:
    """The guided prediction for each state's next step, shaped as its latents; `dtype` is the UNet's.

    Changes no state.
    """
    said: dict[int, list[Tensor]] = {id(state): [] for state in states}
    for parts in cut(states, slots):
        parts.sort(key=lambda part: not part.guided)
        for part, prediction in zip(parts, _call(unet, dtype, parts), strict=True):
            said[id(part.state)].append(prediction)
    return [pieces[0] if len(pieces) == 1 else torch.cat(pieces) for pieces in said.values()]


def _call(unet: UNet, dtype: torch.dtype, parts: Sequence[Part]) -> Sequence[Tensor]:
    """Of parts in the order guided, unguided."""
    guided = [part for part in parts if part.guided]
    rows = [*guided, *parts]
    latents = torch.cat([part.latents for part in rows])
    negatives = [(part, part.state.negative) for part in guided]
    heard = [*negatives, *((part, part.state.positive) for part in parts)]
    prompts = [(part.count, prompt) for part, prompt in heard if prompt is not None]
    # One copy to the device carries what differs by row: the noise level's scale, the timestep, the guidance.
    table = torch.tensor([_numbers(part) for part in rows for _ in range(part.count)]).to(latents.device)
    scales, timesteps, guidance = table.T
    noise = unet(
        (latents / scales.view(-1, 1, 1, 1)).to(dtype),
        timesteps,
        encoder_hidden_states=torch.cat([_rows(prompt.embeds, count) for count, prompt in prompts]),
        added_cond_kwargs={
            "text_embeds": torch.cat([_rows(prompt.pooled, count) for count, prompt in prompts]),
            "time_ids": torch.cat([_rows(part.state.time_ids, part.count) for part in rows]),
        },
        return_dict=False,
    )[0]
    count = sum(part.count for part in guided)
    negative, positive, plain = noise[:count], noise[count : 2 * count], noise[2 * count :]
    weights = guidance[:count].view(-1, 1, 1, 1)
    mixed = (negative + weights * (positive - negative)).to(noise.dtype)
    return torch.split(torch.cat([mixed, plain]), [part.count for part in parts])


def _numbers(part: Part) -> tuple[float, float, float]:
    state = part.state
    return state.solver.scales[state.step], state.solver.timesteps[state.step], state.guidance_scale


def _rows(once: Tensor, count: int) -> Tensor:
    return once.expand(count, *once.shape[1:])
