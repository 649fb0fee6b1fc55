"""One random checkpoint and one runner for all tests of the engine with a real model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.libraries import KolorsImg2ImgPipeline
from worker.model.random_weights import random_checkpoint
from worker.model.solver import noise_scheduler

Stock = Callable[[Job, str], Any]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def runner(models: Path) -> TorchRunner:
    return TorchRunner(open_checkpoint(Wanted(source="random", cache=models, device="cpu", dtype="float32")))


@pytest.fixture(scope="session")
def stock(models: Path) -> Stock:
    """The stock pipeline's answer to a job; its second argument is the pipeline's `output_type`."""
    pipeline = KolorsImg2ImgPipeline.from_pretrained(random_checkpoint(models), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    schedule = dict(pipeline.scheduler.config)

    def call(job: Job, output: str) -> Any:
        pipeline.scheduler = noise_scheduler(job.solver, schedule)
        return pipeline(
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            image=job.image,
            strength=job.strength,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
            generator=[torch.Generator().manual_seed(job.seed + k) for k in range(job.images)],
            num_images_per_prompt=job.images,
            height=job.image.height,
            width=job.image.width,
            output_type=output,
        ).images

    return call


@pytest.fixture(autouse=True)
def stays_open(runner: TorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner is the session's: an engine that closes must leave it alone."""
    monkeypatch.setattr(runner, "close", lambda: None)
