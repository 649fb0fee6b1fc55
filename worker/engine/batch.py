"""States into calls of the UNet, and what it says back to each state.

A call's rows are the negative prompts of all its guided pictures, then the positive ones in the same order, then the
pictures without guidance. For a request alone that is the stock pipeline's own order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

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
    def deep(self) -> Sequence[Tensor]:
        return self.state.deep[self.first : self.first + self.count]

    @property
    def guided(self) -> bool:
        return self.state.negative is not None


def cut(states: Sequence[DenoiseState], most: int, *, by_rows: bool = False) -> Iterator[list[Part]]:
    """Calls of at most `most` pictures, or rows. A request is torn apart only when it has more than that by itself.

    Two rows are never shared by two pictures: of two, how a row is rounded depends on which it is.
    """
    call: list[Part] = []
    free = most
    for state in states:
        each = 2 if by_rows and (state.negative is not None or most == 2) else 1
        for first in range(0, state.pictures, most // each):
            part = Part(state, first, min(most // each, state.pictures - first))
            if part.count * each > free:
                yield call
                call, free = [], most
            call.append(part)
            free -= part.count * each
    if call:
        yield call


@dataclass(frozen=True, slots=True)
class Prediction:
    """For a state's next step: the guided noise, shaped as its latents and as precise, and its `deep` after it."""

    noise: Tensor
    deep: Sequence[Tensor]


def predict(
    denoiser: Denoiser,
    device: Device,
    states: Sequence[DenoiseState],
    slots: int,
    *,
    fixed_rows: int | None = None,
    step_cache: int = 1,
) -> list[Prediction]:
    """One for each state. Changes none of them.

    With `fixed_rows`, at least 2, every call has exactly so many rows whatever `slots` says: kernels are chosen by a
    call's shape, so a row then comes out the same in any company. `step_cache` is `Tuning.lossy_step_cache`: who runs
    the whole UNet and who does not cannot share a call.
    """
    said: dict[int, list[Prediction]] = {id(state): [] for state in states}
    whole = [state for state in states if state.step % step_cache == 0]
    others = [state for state in states if state.step % step_cache]
    for alike in (whole, others):
        for parts in cut(alike, fixed_rows or slots, by_rows=fixed_rows is not None):
            parts.sort(key=lambda part: not part.guided)
            predictions = _call(denoiser, device, parts, fixed_rows or 0, whole=alike is whole)
            for part, prediction in zip(parts, predictions, strict=True):
                said[id(part.state)].append(prediction)
    return [pieces[0] if len(pieces) == 1 else _joined(pieces) for pieces in said.values()]


def _joined(pieces: Sequence[Prediction]) -> Prediction:
    return Prediction(torch.cat([piece.noise for piece in pieces]), [each for piece in pieces for each in piece.deep])


def _call(
    denoiser: Denoiser, device: Device, parts: Sequence[Part], least_rows: int, *, whole: bool
) -> Iterator[Prediction]:
    """Of parts in the order guided, unguided."""
    guided = [part for part in parts if part.guided]
    rows = [*guided, *parts]
    count = sum(part.count for part in rows)
    fill = max(0, least_rows - count)  # rows that are copies of the first one, whose results nobody reads
    latents = _filled([part.latents for part in rows], fill)
    if least_rows:
        latents = latents.contiguous()  # convolutions choose their kernel by the layout, which the first row would set
    negatives = [(part, part.state.negative) for part in guided]
    heard = [*negatives, *((part, part.state.positive) for part in parts)]
    prompts = [prompt for part, prompt in heard if prompt is not None for _ in range(part.count)]
    # One copy to the device carries what differs by row: the noise level's scale, the timestep, the guidance.
    numbers = [_numbers(part) for part in rows for _ in range(part.count)]
    scales, timesteps, guidance = device.send(torch.tensor(numbers + numbers[:1] * fill)).T
    deep = None if whole else _filled(_deep_rows(guided, parts), fill)
    scaled = latents / scales.view(-1, 1, 1, 1)
    said = denoiser(scaled, timesteps, prompts + prompts[:1] * fill, deep=deep)
    noise = said.noise[:count].to(latents.dtype)
    pairs = sum(part.count for part in guided)
    negative, positive, plain = noise[:pairs], noise[pairs : 2 * pairs], noise[2 * pairs :]
    weights = guidance[:pairs].view(-1, 1, 1, 1)
    mixed = (negative + weights * (positive - negative)).to(noise.dtype)
    counts = [part.count for part in parts]
    if said.deep is None:
        deeps: list[Sequence[Tensor]] = [()] * len(parts)
    elif whole:
        deeps = _deep_pictures(said.deep, pairs, counts)
    else:
        deeps = [part.deep for part in parts]
    return map(Prediction, torch.split(torch.cat([mixed, plain]), counts), deeps)


def _filled(pieces: Sequence[Tensor], fill: int) -> Tensor:
    first = pieces[0][:1]
    return torch.cat([*pieces, first.expand(fill, *first.shape[1:])]) if fill else torch.cat(list(pieces))


def _deep_rows(guided: Sequence[Part], parts: Sequence[Part]) -> list[Tensor]:
    """In the order of a call's rows."""
    negative = [each[:1] for part in guided for each in part.deep]
    return negative + [each[-1:] for part in parts for each in part.deep]


def _deep_pictures(rows: Tensor, pairs: int, counts: Sequence[int]) -> list[Sequence[Tensor]]:
    """By part and picture; copies, for what a call says is overwritten by the next one."""
    negative, positive, plain = rows[:pairs], rows[pairs : 2 * pairs], rows[2 * pairs : pairs + sum(counts)]
    pictures = iter([*torch.stack((negative, positive), 1).unbind(), *plain.unsqueeze(1).clone().unbind()])
    return [tuple(islice(pictures, count)) for count in counts]


def _numbers(part: Part) -> tuple[float, float, float]:
    state = part.state
    return state.solver.scales[state.step], state.solver.timesteps[state.step], state.guidance_scale
