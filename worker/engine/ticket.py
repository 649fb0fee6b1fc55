"""One job on its way through the engine, and the meters of the engine itself."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from PIL import Image

from worker.engine.job import Job, OnProgress, Painting, Progress
from worker.engine.protocol import BatchKey, Decoded

S = TypeVar("S")


@dataclass(slots=True, eq=False)
class Ticket(Generic[S]):
    """`cancelled` is set by anybody, the rest is written by the thread that works on it: the engine's own, or while
    it is `decoding` the finisher. `state` is None outside the batch."""

    job: Job
    key: BatchKey
    on_progress: OnProgress
    submitted_s: float
    future: "Future[Painting]" = field(default_factory=Future[Painting])
    state: S | None = None
    cancelled: bool = False
    precise: bool = False
    decoding: bool = False
    joined_s: float = 0.0
    stepped_s: float = 0.0
    previewed_s: float = float("-inf")
    last_tick: float = float("-inf")
    """How many steps there had been (`Stats.ticks`) when it last had the device do something."""
    prepare_s: float = 0.0
    gpu_s: float = 0.0

    @property
    def pictures(self) -> int:
        return self.job.images

    def progress(self, step: int, steps: int, now_s: float, preview: Callable[[], Image.Image] | None) -> Progress:
        """`eta_s` is None after the first step: what came before, waiting and preparing, says nothing about it."""
        eta_s = (now_s - self.stepped_s) / (step - 1) * (steps - step) if step > 1 else None
        if step == 1:
            self.stepped_s = now_s
        return Progress(step, steps, eta_s, preview)

    def painting(self, decoded: Decoded, denoised_s: float, now_s: float) -> Painting:
        seconds = {
            "inference": now_s - self.joined_s,
            "wait": self.joined_s - self.submitted_s,
            "prepare": self.prepare_s,
            "denoise": denoised_s - self.joined_s - self.prepare_s,
            "decode": now_s - denoised_s,
        }
        return Painting(decoded.pictures, decoded.flagged, seconds, self.gpu_s)


@dataclass(slots=True)
class Stats:
    """Totals since the start, in seconds, steps and step-pixels (pixels of a picture, times its pictures, times steps).

    `step_s` is time at steps, `predict_s` the part of it inside the model; the rest of a step is the host's. Waiting
    for a decoding is neither. `up_s` is filled in for a copy.
    """

    up_s: float = 0.0
    ticks: int = 0
    picture_steps: int = 0
    step_px: int = 0
    step_s: float = 0.0
    predict_s: float = 0.0
    prepare_s: float = 0.0
    recent_px: float = 0.0
    recent_s: float = 0.0

    @property
    def host_share(self) -> float:
        """How much of a step was not spent in the model's forward pass, 0..1."""
        return 1 - self.predict_s / self.step_s if self.step_s else 0.0

    @property
    def busy_share(self) -> float:
        """How much of the time the engine's thread prepared or stepped, 0..1."""
        return min(1.0, (self.step_s + self.prepare_s) / self.up_s) if self.up_s else 0.0

    def busy_since(self, earlier: "Stats") -> float:
        """The same between two copies."""
        passed_s = self.up_s - earlier.up_s
        worked_s = self.step_s + self.prepare_s - earlier.step_s - earlier.prepare_s
        return min(1.0, worked_s / passed_s) if passed_s > 0 else 0.0

    @property
    def rate(self) -> float:
        """Step-pixels a second while busy, over about the last hundred steps; 0 before the first."""
        return self.recent_px / self.recent_s if self.recent_s else 0.0

    def count(self, pictures: int, px: int, step_s: float, predict_s: float) -> None:
        self.ticks += 1
        self.picture_steps += pictures
        self.step_px += px
        self.step_s += step_s
        self.predict_s += predict_s
        self.recent_px = self.recent_px * 0.99 + px
        self.recent_s = self.recent_s * 0.99 + step_s
