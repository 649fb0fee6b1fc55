"""One random checkpoint and one runner for all tests of the engine with a real model."""

from pathlib import Path

import pytest
import torch

from tests.unit.engine.stock import Stock
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.random_weights import random_checkpoint


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def runner(models: Path) -> TorchRunner:
    return TorchRunner(open_checkpoint(Wanted(source="random", cache=models, device="cpu", dtype="float32")))


@pytest.fixture(scope="session")
def tiny_runner(models: Path) -> TorchRunner:
    return TorchRunner(open_checkpoint(Wanted(source="tiny", cache=models, device="cpu", dtype="float32")))


@pytest.fixture(scope="session")
def stock(models: Path) -> Stock:
    return Stock.open(random_checkpoint(models))


@pytest.fixture(autouse=True)
def stays_open(runner: TorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is the session's: an engine that closes must leave it alone."""
    monkeypatch.setattr(runner, "close", lambda: None)
