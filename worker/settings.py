"""The worker's and the courier's own settings, on top of those that every process reads.

Environment variables only. Knows no other module of the worker.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from shared.settings import Settings


def _beside_the_data(name: str) -> Callable[[dict[str, Any]], Path]:
    return lambda validated: Path(validated["data_dir"]) / name


class WorkerSettings(Settings):
    """What `worker.app` reads. Sizes are pixels of result pictures; times carry their unit."""

    kolors_model: str = "tiny"
    """`tiny`, `random`, `fake` (no torch at all), a directory, or a hub id such as `Kwai-Kolors/Kolors-diffusers`."""
    kolors_revision: str | None = None
    """Of the hub's repository: a commit pins the weights, a branch or a tag may move."""
    previews_s: float | None = Field(default=None, ge=0.5)
    """The least time between two previews of a request; unset, none are made."""
    caps_dir: Path = Field(default_factory=_beside_the_data("caps"))
    """Where measured batch caps are kept; unset means `{data_dir}/caps`."""
    calibrate: bool = False
    """Measures the batch caps at the start, where they were not measured before for this device, torch and model."""
    model_offline: bool = False
    """Only what was downloaded before: a model that is not there stops the start."""
    model_cache: Path = Field(default_factory=_beside_the_data("models"))
    """Where checkpoints are kept; unset means `{data_dir}/models`."""
    fake_step_s: float = Field(default=0.0, ge=0)
    """With `fake`: how long a step takes."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`; `auto` takes GPU WORKER_INDEX modulo their number."""
    dtype: Literal["auto", "float16", "bfloat16", "float32", "float64"] = "auto"
    fixed_rows: Literal[2, 4, 8, 16, 32, 64] | None = None
    """Of every call of the UNet: a seed's picture is then bitwise the same in any company. See docs/determinism.md."""
    compile: Literal["auto", "off", "blocks", "whole"] = "auto"
    """Of the UNet: its repeated blocks, or all of it for each size anew; `auto`: blocks on a GPU. With FIXED_ROWS
    nothing."""
    compile_cache: Path = Field(default_factory=_beside_the_data("compiled"))
    """Where compiled code is kept for the next start; unset means `{data_dir}/compiled`."""
    cuda_graphs: bool = True
    """Repeats steps as CUDA graphs: they cost the host next to nothing, and some GPU memory."""
    lossy_fp8: bool = False
    """8-bit products in the UNet's transformers: faster on cards that have them, and another picture."""
    lossy_step_cache: int | None = Field(default=None, ge=2, le=10)
    """The whole UNet in every so-manyth step of a request only: about as many times faster, and another picture."""
    safety_checker: str = "auto"
    """`auto` takes what belongs to the model, `off` flags nothing; otherwise a directory or a hub id."""

    @field_validator("redis_url")
    @classmethod
    def _is_one_for_celery(cls, url: str) -> str:
        if url.startswith("unix:"):
            raise ValueError("a worker takes redis:// and rediss:// only, for that is what Celery knows")
        return url

    @field_validator("fixed_rows", mode="before")
    @classmethod
    def _number(cls, rows: object) -> object:
        return int(rows) if isinstance(rows, str) and rows.isdigit() else rows

    @field_validator("lossy_step_cache")
    @classmethod
    def _needs_levels_of_their_own(cls, each: int | None, info: ValidationInfo) -> int | None:
        if each is not None and info.data.get("compile") == "whole":
            raise ValueError("does not go with COMPILE=whole: take blocks")
        return each

    worker_name: str = "worker"
    """Names the pid file, and with the host's name and the pid the worker's presence."""
    worker_index: int = Field(default=0, ge=0)
    concurrency: int = Field(default=16, ge=1, le=512)
    """Requests in hand at once: those in the running batch and those whose pictures come or go."""
    read_ahead_px: int = Field(default=1024 * 1024, ge=0)
    """Claimed beyond what the engine can run, so that the next pictures are here when a slot gets free."""
    max_input_px: int = Field(default=64 * 1024 * 1024, ge=1024)
    """Of an input picture, by its header: nothing larger is decoded."""
    download_timeout_s: float = Field(default=30.0, gt=0)
    decode_timeout_s: float = Field(default=60.0, gt=0)
    """For one input picture, after its download: a file that takes longer is refused as unreadable."""

    lease_ms: int = Field(default=10_000, ge=500)
    fence_ms: int = Field(default=8_000, validate_default=True)
    """Without a renewal for so long, the worker takes its own requests for lost: less than LEASE_MS."""
    renew_ms: int = Field(default=2_500, ge=50, validate_default=True)
    """Between two renewals: at most half of FENCE_MS, so that one may fail."""
    grace_s: float = Field(default=30.0, ge=0)
    """After SIGTERM: what is not finished by then goes back to the queue."""
    stall_s: float = Field(default=60.0, gt=0)
    """An idle worker that heard no doorbell for so long, though requests wait, ends itself: longer than any retry
    waits."""
    hang_s: float | None = Field(default=300.0, gt=0)
    """A preparation, a denoising step or a decoding that takes longer ends the process."""

    @field_validator("fence_ms")
    @classmethod
    def _ends_before_the_lease(cls, fence_ms: int, info: ValidationInfo) -> int:
        if fence_ms >= info.data.get("lease_ms", fence_ms + 1):
            raise ValueError("must be less than LEASE_MS")
        return fence_ms

    @field_validator("renew_ms")
    @classmethod
    def _may_fail_once(cls, renew_ms: int, info: ValidationInfo) -> int:
        if renew_ms * 2 > info.data.get("fence_ms", renew_ms * 2):
            raise ValueError("must be at most half of FENCE_MS")
        return renew_ms

    @property
    def host(self) -> str:
        return socket.gethostname()


class CourierSettings(Settings):
    """What `worker.courier` reads."""

    courier_concurrency: int = Field(default=16, ge=1, le=512)
    """Webhooks under way at once."""
    webhook_timeout_s: float = Field(default=15.0, gt=0)
    webhook_retry_s: Annotated[tuple[float, ...], NoDecode] = (5, 30, 90, 240, 480, 900, 1300, 1800, 2355)
    """Seconds before each retry, comma separated, jittered by a fifth: ten attempts over two hours."""
    webhook_keys_dir: Path = Field(default_factory=_beside_the_data("keys"))
    """The API publishes the public halves of what lies here: both must see the same directory."""
    sweep_s: float = Field(default=10.0, gt=0)
    """Between two looks at the files whose time has come."""

    @field_validator("webhook_retry_s", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
