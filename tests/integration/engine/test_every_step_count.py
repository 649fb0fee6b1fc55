"""The sweep behind the promise for the six solvers: every number of steps from 1 to 150, strengths from .01 to 1."""

import pytest

from tests.unit.model.test_together import compare
from worker.engine.runner import TorchRunner
from worker.model.solver import NAMES

STRENGTHS = (0.01, 0.05, 0.3, 0.5, 0.85, 0.99, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_moving_together_is_as_one_by_one(runner: TorchRunner, name: str) -> None:
    compare(runner.checkpoint, name, [(n, STRENGTHS[n % len(STRENGTHS)]) for n in range(1, 151)])
