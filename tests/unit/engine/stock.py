"""diffusers' own pipeline, asked what a job asks: what this engine's pictures and times are held against."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch

from worker.engine.job import Job
from worker.model.libraries import KolorsImg2ImgPipeline
from worker.model.solver import noise_scheduler


class Stock:
    """`pipeline` is a `KolorsImg2ImgPipeline`, `schedule` its scheduler's configuration."""

    def __init__(self, pipeline: Any, schedule: Mapping[str, object]) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline, self._schedule = pipeline, schedule

    @classmethod
    def open(cls, checkpoint: Path) -> Self:
        """On the processor, in float32."""
        pipeline: Any = KolorsImg2ImgPipeline.from_pretrained(checkpoint, dtype=torch.float32)
        return cls(pipeline, dict(pipeline.scheduler.config))

    def paint(self, job: Job, output: str = "pil") -> Any:
        """The job's pictures, in the form that diffusers calls `output`. Without height and width the pipeline would
        tell the model another size than the picture's."""
        self._pipeline.scheduler = noise_scheduler(job.solver, self._schedule)
        return self._pipeline(
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
