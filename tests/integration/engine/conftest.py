"""One tiny checkpoint and one runner for all tests of the engine with a real model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.libraries import KolorsImg2ImgPipeline
from worker.model.solver import noise_scheduler
from worker.model.tiny import tiny_checkpoint

MakeJob = Callable[..., Job]
Stock = Callable[..., Any]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def runner(models: Path) -> Iterator[TorchRunner]:
    runner = TorchRunner(open_checkpoint(Wanted(source="tiny", cache=models, device="cpu", dtype="float32")))
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def stock(models: Path) -> Stock:
    """The stock pipeline's answer to a job: `output` is `latent`, `np` or `pil`."""
    pipeline = KolorsImg2ImgPipeline.from_pretrained(tiny_checkpoint(models), dtype=torch.float32)
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


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft colours, not noise: what an autoencoder is made for."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def job(**changes: Any) -> Job:
    wanted: dict[str, Any] = {
        "id": "job",
        "prompt": "a cat on the road",
        "negative_prompt": "",
        "image": picture(64, 64),
        "strength": 0.85,
        "steps": 6,
        "guidance_scale": 5.0,
        "seed": 1234,
        "images": 1,
        "solver": "EulerDiscreteScheduler",
        "check_safety": False,
    }
    return Job(**{**wanted, **changes})
