"""Jobs to paint, a runner into which faults can be planted, and what came of them."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from PIL import Image

from shared.errors import Fault
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner, FakeState
from worker.engine.job import Job, Painting, Progress
from worker.engine.protocol import BatchKey, Decoded, Suspected


def picture(width: int = 64, height: int = 64, seed: int = 0) -> Image.Image:
    """Soft colours, not noise: what an autoencoder is made for."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def job(**changes: Any) -> Job:
    wanted: dict[str, Any] = {
        "id": "job",
        "request": changes.get("id", "job"),
        "prompt": "a cat on the road",
        "negative_prompt": "",
        "image": picture(),
        "strength": 0.85,
        "steps": 6,
        "guidance_scale": 5.0,
        "seed": 1234,
        "images": 1,
        "solver": "EulerDiscreteScheduler",
        "check_safety": True,
    }
    return Job(**{**wanted, **changes})


def unheard(_: Progress) -> None:
    return


StepFault = Callable[[Sequence[Job], int], None]


class Planted(FakeRunner):
    """Remembers who was prepared, stepped together and decoded. `fault` sees the jobs and the slots of every prediction
    and may raise; so may `prepare_fault`, `decode_fault` and `advance_fault`, which see one job."""

    def __init__(
        self,
        *,
        slots: int = 16,
        fault: StepFault | None = None,
        prepare_fault: Callable[[Job], None] | None = None,
        decode_fault: Callable[[Job], None] | None = None,
        advance_fault: Callable[[Job], None] | None = None,
        more_precise: bool = False,
    ) -> None:
        super().__init__(slots=slots)
        self.steps: list[list[str]] = []
        self.prepared: list[tuple[str, str]] = []
        self.decoded: list[str] = []
        self.decoding = threading.Event()
        self.may_decode = threading.Event()
        self.may_decode.set()
        self.closed = False
        self._fault = fault
        self._prepare_fault = prepare_fault
        self._decode_fault = decode_fault
        self._advance_fault = advance_fault
        self._more_precise = more_precise

    def key(self, width: int, height: int, *, precise: bool) -> BatchKey:
        return BatchKey(height // 8, width // 8, "precise" if precise and self._more_precise else "plain")

    def prepare(self, job: Job, key: BatchKey) -> FakeState:
        self.prepared.append((job.id, key.dtype))
        if self._prepare_fault is not None:
            self._prepare_fault(job)
        return super().prepare(job, key)

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        if self._fault is not None:
            self._fault([state.job for state in states], slots)
        self.steps.append([state.job.id for state in states])
        return super().predict(states, slots=slots)

    def advance(self, states: Sequence[FakeState], predictions: Sequence[None]) -> None:
        for state in states:
            if self._advance_fault is not None:
                self._advance_fault(state.job)
        super().advance(states, predictions)

    def decode(self, state: FakeState, *, job: Job) -> Decoded:
        self.decoded.append(job.id)
        self.decoding.set()
        assert self.may_decode.wait(10)
        if self._decode_fault is not None:
            self._decode_fault(job)
        return super().decode(state, job=job)

    def close(self) -> None:
        self.closed = True


def two_to_decode(engine: Engine[Any, Any], runner: Planted) -> tuple[Future[Painting], Future[Painting]]:
    """Of a running engine: the job "first" is being decoded, for as long as the runner may not go on with it, and all
    steps of the job "second" are done."""
    runner.may_decode.clear()
    first = engine.submit(job(id="first", steps=1), unheard)
    assert runner.decoding.wait(10)
    stepped = threading.Event()
    second = engine.submit(job(id="second", steps=1), lambda _: stepped.set())
    assert stepped.wait(10)
    return first, second


def until_idle(engine: Engine[Any, Any]) -> None:
    """For an engine that was not started: this thread is its thread."""
    while engine.step():
        pass


def suspected_of(future: Future[Painting]) -> type[Fault]:
    """Of which fault the job is suspected. Fails where it is not."""
    error = future.exception(10)
    assert isinstance(error, Suspected)
    return type(error.fault)


def raising_for(name: str, error: Exception) -> Any:
    def fault(job: Job) -> None:
        if job.id == name:
            raise error

    return fault


def raising(error: Exception) -> Any:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call
