"""Moves several requests one step at once, whatever their solvers.

Alone, a request is stepped by its diffusers instance, which makes it bitwise the stock pipeline's. In company that
would cost the host up to a millisecond for each request, one after the other. But each of the six rules is linear:
the next latents, the converted prediction and UniPC's corrected sample are sums of latents, prediction, three
remembered tensors and noise. So six weighted sums of (3, numbers) per picture do it for everybody, equal to diffusers
within rounding, and the instances are left as if they had done it themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.model.device import Device
from worker.model.solver import Solver


@dataclass(frozen=True, slots=True)
class Move:
    """Step `done` of one request: tensors are (pictures, 4, h, w), of one h and w among those who move together."""

    solver: Solver
    done: int
    prediction: Tensor
    latents: Tensor
    generators: Sequence[torch.Generator]


def step_alone(move: Move) -> Tensor:
    """The latents after its step, by its diffusers instance."""
    return move.solver.step(move.done, move.prediction, move.latents, move.generators)


def step_together(moves: Sequence[Move], device: Device) -> list[Tensor]:
    """The latents of each after its step, in its own precision; computed in float32 or better.

    Summed number by number, not by a matrix product, whose rounding could depend on how many come together.
    """
    latents = torch.cat([move.latents for move in moves])
    nothing = torch.zeros_like(latents)
    columns = zip(*(_given(move, nothing, device) for move in moves), strict=True)
    precision = torch.promote_types(latents.dtype, torch.float32)
    inputs = [latents, *(torch.cat(column) for column in columns)]
    table = torch.stack([move.solver.coefficients(move.done) for move in moves for _ in move.generators])
    weights = device.send(table.to(precision)).unsqueeze(-1).unbind(2)
    sums = torch.zeros((), dtype=precision, device=latents.device)
    for weight, column in zip(weights, inputs, strict=True):
        sums = torch.addcmul(sums, weight, column.to(precision).flatten(1).unsqueeze(1))
    rows = sums.to(latents.dtype).view(len(latents), 3, *latents.shape[1:]).unbind(1)
    counts = [len(move.latents) for move in moves]
    after, converted, sample = (torch.split(each, counts) for each in rows)
    for place, move in enumerate(moves):
        move.solver.remember(move.done, converted[place], sample[place])
    return list(after)


def _given(move: Move, nothing: Tensor, device: Device) -> tuple[Tensor, ...]:
    """All inputs but the latents."""
    silent = nothing[: len(move.latents)]
    remembered = (silent if tensor is None else tensor for tensor in move.solver.remembered())
    noise = device.send(draw(move.generators, move.latents)) if move.solver.noisy else silent
    return move.prediction, *remembered, noise


def draw(generators: Sequence[torch.Generator], like: Tensor) -> Tensor:
    """Noise in the shape and precision of `like`, each row from its own generator; on the processor."""
    shape = (1, *like.shape[1:])
    return torch.cat([torch.randn(shape, generator=one, dtype=like.dtype) for one in generators])
