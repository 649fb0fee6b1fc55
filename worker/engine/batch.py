"""States into calls of the UNet, and what it says back to each state.

A call's rows are the negative prompts of all its guided pictures, then the positive ones in the same order, then the
pictures without guidance. For a request alone that is the stock pipeline's own order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.state import DenoiseState
from worker.model.denoiser import Denoiser
from worker.model.device import Device


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


def cut(states: Sequence[DenoiseState], most: int, *, by_rows: bool = False) -> Iterator[list[Part]]:
    """Calls of at most `most` pictures, or rows. A request is torn apart only when it has more than that by itself."""
    call: list[Part] = []
    free = most
    for state in states:
        each = 2 if by_rows and state.negative is not None else 1
        for first in range(0, state.pictures, most // each):
            part = Part(state, first, min(most // each, state.pictures - first))
            if part.count * each > free:
                yield call
                call, free = [], most
            call.append(part)
            free -= part.count * each
    if call:
        yield call


def predict(
    denoiser: Denoiser,
    device: Device,
    states: Sequence[DenoiseState],
    slots: int,
    *,
    fixed_rows: int | None = None,
) -> list[Tensor]:
    """The guided prediction for each state's next step, shaped as its latents and as precise.

    Changes no state. With `fixed_rows`, at least 2, every call has exactly so many rows whatever `slots` says: kernels
    are chosen by a call's shape, so a row then comes out the same in any company.
    """
    said: dict[int, list[Tensor]] = {id(state): [] for state in states}
    for parts in cut(states, fixed_rows or slots, by_rows=fixed_rows is not None):
        parts.sort(key=lambda part: not part.guided)
        for part, prediction in zip(parts, _call(denoiser, device, parts, fixed_rows or 0), strict=True):
            said[id(part.state)].append(prediction)
    return [pieces[0] if len(pieces) == 1 else torch.cat(pieces) for pieces in said.values()]


def _call(denoiser: Denoiser, device: Device, parts: Sequence[Part], least_rows: int) -> Sequence[Tensor]:
    """Of parts in the order guided, unguided."""
    guided = [part for part in parts if part.guided]
    rows = [*guided, *parts]
    count = sum(part.count for part in rows)
    fill = max(0, least_rows - count)  # rows that are copies of the first one, whose results nobody reads
    pieces = [part.latents for part in rows]
    latents = torch.cat([*pieces, _rows(pieces[0][:1], fill)]) if fill else torch.cat(pieces)
    if least_rows:
        latents = latents.contiguous()  # convolutions choose their kernel by the layout, which the first row would set
    negatives = [(part, part.state.negative) for part in guided]
    heard = [*negatives, *((part, part.state.positive) for part in parts)]
    prompts = [prompt for part, prompt in heard if prompt is not None for _ in range(part.count)]
    # One copy to the device carries what differs by row: the noise level's scale, the timestep, the guidance.
    numbers = [_numbers(part) for part in rows for _ in range(part.count)]
    scales, timesteps, guidance = device.send(torch.tensor(numbers + numbers[:1] * fill)).T
    noise = denoiser(latents / scales.view(-1, 1, 1, 1), timesteps, prompts + prompts[:1] * fill)[:count]
    noise = noise.to(latents.dtype)
    pairs = sum(part.count for part in guided)
    negative, positive, plain = noise[:pairs], noise[pairs : 2 * pairs], noise[2 * pairs :]
    weights = guidance[:pairs].view(-1, 1, 1, 1)
    mixed = (negative + weights * (positive - negative)).to(noise.dtype)
    return torch.split(torch.cat([mixed, plain]), [part.count for part in parts])


def _numbers(part: Part) -> tuple[float, float, float]:
    state = part.state
    return state.solver.scales[state.step], state.solver.timesteps[state.step], state.guidance_scale


def _rows(once: Tensor, count: int) -> Tensor:
    return once.expand(count, *once.shape[1:])
