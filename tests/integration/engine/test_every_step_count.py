"""The sweep behind the promise for the six solvers: every number of steps from 1 to 150, strengths from .01 to 1.

Each number of steps with one strength; with EXHAUSTIVE=1 each with all of them, which takes a quarter of an hour.
"""

import os

import pytest

from tests.unit.model.test_together import compare
from worker.engine.runner import TorchRunner
from worker.model.solver import NAMES

STRENGTHS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99, 1.0)
SHIFTS = range(len(STRENGTHS)) if os.environ.get("EXHAUSTIVE") else range(1)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_step_count(runner: TorchRunner, name: str, shift: int) -> None:
    compare(runner.checkpoint, name, [(n, STRENGTHS[(n + shift) % len(STRENGTHS)]) for n in range(1, 151)])
