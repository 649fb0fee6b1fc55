"""fal's six schedulers: what they are made of, and which steps they do."""

from typing import Any

import pytest
import torch

from worker.model.checkpoint import Checkpoint
from worker.model.solver import NAMES, Solvers, noise_scheduler, steps_to_do

FIRST_TIMESTEPS = {
    "EulerDiscreteScheduler": 1079,
    "EulerAncestralDiscreteScheduler": 1079,
    "DPMSolverMultistepScheduler": 1051,
    "DPMSolverMultistepScheduler_SDE_karras": 1099,
    "UniPCMultistepScheduler": 1051,
    "DEISMultistepScheduler": 1051,
}


@pytest.mark.parametrize("name", NAMES)
def test_fifty_steps_begin_where_kolors_noise_schedule_says(checkpoint: Checkpoint, name: str) -> None:
    solver = Solvers(checkpoint.schedule).open(name, steps=50, strength=1.0)
    assert solver.steps == 50
    assert solver.timesteps[0] == FIRST_TIMESTEPS[name]


def test_the_sde_is_an_sde_on_karras_levels(checkpoint: Checkpoint) -> None:
    scheduler: Any = noise_scheduler("DPMSolverMultistepScheduler_SDE_karras", checkpoint.schedule)
    assert scheduler.config.algorithm_type == "sde-dpmsolver++"
    assert scheduler.config.use_karras_sigmas is True
    assert scheduler.config.num_train_timesteps == 1100
    assert scheduler.config.beta_end == 0.014


@pytest.mark.parametrize(
    ("steps", "strength", "done"),
    [(50, 0.85, 42), (50, 1.0, 50), (10, 0.01, 1), (1, 1.0, 1), (150, 0.01, 1), (100, 0.29, 28), (3, 0.3, 1)],
)
def test_how_many_steps_are_done(steps: int, strength: float, done: int) -> None:
    assert steps_to_do(steps, strength) == done


def test_an_unknown_name_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(KeyError):
        Solvers(checkpoint.schedule).open("PNDMScheduler", steps=5, strength=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_clean_picture_is_found_when_the_noise_is_known(checkpoint: Checkpoint, name: str) -> None:
    solver = Solvers(checkpoint.schedule).open(name, steps=20, strength=0.6)
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    latents = solver.begin(clean, noise)
    torch.testing.assert_close(solver.clean(0, noise, latents), clean, atol=1e-4, rtol=1e-4)
