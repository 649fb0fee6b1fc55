"""The random checkpoint, built once for all tests of the model's parts."""

from pathlib import Path

import pytest
import torch

from worker.model.checkpoint import Checkpoint, Wanted, open_checkpoint
from worker.model.random_weights import random_checkpoint


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny(models: Path) -> Path:
    return random_checkpoint(models)


@pytest.fixture(scope="session")
def checkpoint(models: Path) -> Checkpoint:
    return open_checkpoint(Wanted(source="random", cache=models, device="cpu"))
