"""Moving several at once does what diffusers does one by one, for every solver, number of steps and strength."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from worker.model.checkpoint import Checkpoint
from worker.model.device import Processor
from worker.model.solver import NAMES, Solver, Solvers
from worker.model.together import Move, step_together


def guess(latents: Tensor, timestep: float) -> Tensor:
    """Stands for the UNet: not linear, of the size of noise, and different at every step."""
    return torch.tanh(latents * (1 + timestep / 700)) + 0.1 * torch.sin(latents * 3 + timestep)


class Run:
    """One request on its way, with latents of a few numbers."""

    def __init__(self, solver: Solver, seed: int, pictures: int = 1) -> None:
        self.solver, self.done = solver, 0
        self.generators = [torch.Generator().manual_seed(seed + k) for k in range(pictures)]
        shape = (1, 4, 2, 2)
        clean = torch.cat([torch.randn(shape, generator=one) for one in self.generators])
        self.latents = solver.begin(clean, torch.cat([torch.randn(shape, generator=one) for one in self.generators]))

    @property
    def finished(self) -> bool:
        return self.done == self.solver.steps

    def move(self) -> Move:
        seen = self.latents / self.solver.scales[self.done]
        said = guess(seen, self.solver.timesteps[self.done])
        return Move(self.solver, self.done, said, self.latents, self.generators)

    def to(self, latents: Tensor) -> None:
        self.latents, self.done = latents, self.done + 1

    def alone(self) -> None:
        move = self.move()
        self.to(self.solver.step(move.done, move.prediction, move.latents, move.generators))


def together(runs: list[Run]) -> None:
    for run, latents in zip(runs, step_together([run.move() for run in runs], Processor()), strict=True):
        run.to(latents)


def compare(checkpoint: Checkpoint, name: str, wanted: Sequence[tuple[int, float]]) -> None:
    """Requests of so many steps and such strength start together; whoever is done leaves."""
    solvers = Solvers(checkpoint.schedule)
    pairs = [tuple(Run(solvers.open(name, steps=n, strength=it), n) for _ in range(2)) for n, it in wanted]
    left = pairs
    while left:
        together([run for run, _ in left])
        for _, reference in left:
            reference.alone()
        left = [pair for pair in left if not pair[0].finished]
    for run, reference in pairs:
        torch.testing.assert_close(run.latents, reference.latents, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_one_by_one(checkpoint: Checkpoint, name: str) -> None:
    compare(checkpoint, name, [(n, strength) for n in (1, 2, 3, 14, 15, 16, 50) for strength in (0.05, 0.5, 1.0)])


@pytest.mark.parametrize("name", NAMES)
def test_company_may_come_and_go_at_any_step(checkpoint: Checkpoint, name: str) -> None:
    solvers = Solvers(checkpoint.schedule)
    run, reference = (Run(solvers.open(name, steps=21, strength=0.9), 5, pictures=2) for _ in range(2))
    other = Run(solvers.open(NAMES[4], steps=40, strength=1.0), 6)
    for k in range(run.solver.steps):
        if k % 3 == 1:
            run.alone()
        else:
            together([other, run])
        reference.alone()
    torch.testing.assert_close(run.latents, reference.latents, atol=2e-5, rtol=2e-5)


def test_all_six_move_in_one_call(checkpoint: Checkpoint) -> None:
    solvers = Solvers(checkpoint.schedule)
    runs, references = ([Run(solvers.open(name, steps=12, strength=0.8), 9) for name in NAMES] for _ in range(2))
    for _ in range(runs[0].solver.steps):
        together(runs)
        for reference in references:
            reference.alone()
    for run, reference in zip(runs, references, strict=True):
        torch.testing.assert_close(run.latents, reference.latents, atol=2e-5, rtol=2e-5)


def test_half_precision_stays_half_precision(checkpoint: Checkpoint) -> None:
    solvers = Solvers(checkpoint.schedule)
    runs = [Run(solvers.open(name, steps=6, strength=1.0), 3) for name in NAMES]
    for run in runs:
        run.latents = run.latents.to(torch.bfloat16)
    together(runs)
    for run in runs:
        assert run.latents.dtype is torch.bfloat16
        run.alone()
        assert run.latents.dtype is torch.bfloat16
        assert bool(torch.isfinite(run.latents).all())
