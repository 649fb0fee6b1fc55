# ruff: noqa: ARG002 - a fake has no use for much of what the protocol hands it
"""A runner without a model: instant and deterministic, for tests and for measuring the queue alone (KOLORS_MODEL=fake).

Its pictures are the input with each channel shifted, modulo 256, by a hash of everything that would change a real
picture, so that equal requests give equal pictures and others differ.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops

from worker.engine.job import Job
from worker.engine.protocol import BatchKey, Decoded


@dataclass(slots=True)
class FakeState:
    job: Job
    steps: int
    step: int = 0


def _nothing() -> None:
    return


def _never(_job: Job, _picture: int) -> bool:
    return False


class FakeRunner:
    """`pace` is called before every step, and a test may block in it. `flags(job, k)`: is picture k flagged?."""

    def __init__(
        self,
        *,
        slots: int = 16,
        pace: Callable[[], object] = _nothing,
        flags: Callable[[Job, int], bool] = _never,
    ) -> None:
        self._slots = slots
        self._pace = pace
        self._flags = flags

    def key(self, width: int, height: int, *, precise: bool) -> BatchKey:
        return BatchKey(height // 8, width // 8, "fake")

    def slots(self, key: BatchKey) -> int:
        return self._slots

    def prepare(self, job: Job, key: BatchKey) -> FakeState:
        return FakeState(job, steps=max(1, min(int(job.steps * job.strength), job.steps)))

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        self._pace()
        return [None] * len(states)

    def advance(self, states: Sequence[FakeState], predictions: Sequence[None]) -> None:
        for state in states:
            state.step += 1

    def decode(self, state: FakeState, *, job: Job) -> Decoded:
        flagged = tuple(job.check_safety and self._flags(job, k) for k in range(job.images))
        pictures = tuple(
            Image.new("RGB", job.image.size) if flag else self._picture(job, k) for k, flag in enumerate(flagged)
        )
        return Decoded(pictures, flagged)

    def preview(self, state: FakeState) -> Callable[[], Image.Image]:
        image = state.job.image
        return lambda: image.resize((image.width // 8, image.height // 8), Image.Resampling.NEAREST)

    def settle(self) -> None:
        return

    def close(self) -> None:
        return

    def _picture(self, job: Job, k: int) -> Image.Image:
        said = (job.prompt, job.negative_prompt, job.strength, job.steps, job.guidance_scale, job.solver, job.seed + k)
        red, green, blue = hashlib.blake2b(repr(said).encode(), digest_size=3).digest()
        return ImageChops.add_modulo(job.image, Image.new("RGB", job.image.size, (red, green, blue)))
