"""What goes into the engine and what comes out. No torch here: pictures are Pillow images."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True, slots=True)
class Job:
    """An attempt to paint one request's pictures.

    `image` is RGB with both sides multiples of 8 and is exactly the size of the result. Picture k of
    `images` uses seed + k. `solver` is one of fal's six scheduler names.
    """

    id: str
    request: str
    """Two attempts of one request may be in the engine: the first one is leaving."""
    prompt: str
    negative_prompt: str
    image: Image.Image
    strength: float
    steps: int
    guidance_scale: float
    seed: int
    images: int
    solver: str
    check_safety: bool
    deadline_s: float = math.inf
    """Seconds of the monotonic clock after which it is worthless."""

    @property
    def cost_px(self) -> int:
        return self.image.width * self.image.height * self.images


@dataclass(frozen=True, slots=True)
class Progress:
    """Said after each denoising step of a job. `eta_s` is an estimate of what is left, None at first."""

    step: int
    steps: int
    eta_s: float | None
    preview: Callable[[], Image.Image] | None = None


OnProgress = Callable[[Progress], None]
"""Called on the engine's own thread: must return at once and never raise."""


@dataclass(frozen=True, slots=True)
class Painting:
    """The engine's answer: one picture per requested image, RGB, and whether each was flagged (then it is black).

    `seconds` has `inference` (from joining the batch to decoded pictures) and its parts; `gpu_s` is this job's
    share of the device time.
    """

    pictures: tuple[Image.Image, ...]
    flagged: tuple[bool, ...]
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    gpu_s: float = 0.0
