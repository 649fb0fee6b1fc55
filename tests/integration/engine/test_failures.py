"""Planted faults in a real model: not finite, all black, out of memory, and a step that hangs."""

import re
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import DeviceLost, InternalFault, OutOfMemory
from tests.unit.engine.jobs import job, picture, unheard
from worker.engine.batch import Prediction
from worker.engine.engine import Engine
from worker.engine.runner import TorchRunner
from worker.engine.state import DenoiseState
from worker.model.checkpoint import Checkpoint, Wanted, open_checkpoint
from worker.model.device import Processor, faults_of
from worker.model.random_weights import random_checkpoint


def checkpoint(models: Path, dtype: str) -> Checkpoint:
    return open_checkpoint(Wanted(source=str(random_checkpoint(models)), cache=models, device="cpu", dtype=dtype))


@contextmanager
def running(runner: TorchRunner, **options: Any) -> Generator[Engine[Any, Any]]:
    engine: Engine[Any, Any] = Engine(runner, **options)
    engine.start()
    try:
        yield engine
    finally:
        engine.close(wait=False)


def multiplied(said: Sequence[Prediction], factor: float) -> Sequence[Prediction]:
    return [replace(it, noise=it.noise * factor) for it in said]


class Overflowing(TorchRunner):
    """Whatever is painted in half precision is not finite, as when values overflow."""

    def predict(self, states: Sequence[DenoiseState], *, slots: int) -> Sequence[Prediction]:
        said = super().predict(states, slots=slots)
        return multiplied(said, float("nan")) if states[0].key.dtype == "bfloat16" else said


def test_what_overflows_in_half_precision_is_painted_again_in_float32(models: Path, runner: TorchRunner) -> None:
    one = job(steps=3)
    with running(Overflowing(checkpoint(models, "bfloat16"))) as engine:
        painted = engine.submit(one, unheard).result(60).pictures[0]
    with running(runner) as engine:
        wanted = engine.submit(one, unheard).result(60).pictures[0]
    assert np.abs(np.asarray(painted, np.int16) - np.asarray(wanted, np.int16)).mean() < 3


def test_half_precision_resembles_float32(models: Path, runner: TorchRunner) -> None:
    one = job(steps=3, strength=0.5)
    with running(TorchRunner(checkpoint(models, "bfloat16"))) as engine, running(runner) as reference:
        painted = engine.submit(one, unheard).result(60).pictures[0]
        wanted = reference.submit(one, unheard).result(60).pictures[0]
    assert np.abs(np.asarray(painted, np.int16) - np.asarray(wanted, np.int16)).mean() < 10


class Broken(TorchRunner):
    def predict(self, states: Sequence[DenoiseState], *, slots: int) -> Sequence[Prediction]:
        return multiplied(super().predict(states, slots=slots), float("inf"))


def test_what_is_never_finite_is_a_clear_error(models: Path) -> None:
    for dtype in ("bfloat16", "float32"):
        with running(Broken(checkpoint(models, dtype))) as engine:
            error = engine.submit(job(steps=2), unheard).exception(60)
        assert isinstance(error, InternalFault)
        assert "no usable picture" in error.message


def dark(checkpoint: Checkpoint) -> Checkpoint:
    """Its decoder says black, whatever it is given."""
    layer: Any = checkpoint.vae
    torch.nn.init.zeros_(layer.decoder.conv_out.weight)
    torch.nn.init.constant_(layer.decoder.conv_out.bias, -1.0)
    return checkpoint


def test_black_is_an_error_unless_the_input_is_black(models: Path) -> None:
    with running(TorchRunner(dark(checkpoint(models, "float32")))) as engine:
        error = engine.submit(job(steps=1), unheard).exception(60)
        assert isinstance(error, InternalFault)
        night = picture().point(lambda _: 0)
        assert engine.submit(job(steps=1, image=night), unheard).result(60).pictures[0].getbbox() is None


class Small(TorchRunner):
    """As if no more than three pictures at once fitted into its memory."""

    def predict(self, states: Sequence[DenoiseState], *, slots: int) -> Sequence[Prediction]:
        if min(slots, sum(state.pictures for state in states)) > 3:
            with faults_of(self._device):
                raise torch.OutOfMemoryError("planted")
        return super().predict(states, slots=slots)


def test_out_of_memory_cuts_the_batch_and_everybody_gets_a_picture(models: Path, runner: TorchRunner) -> None:
    jobs = [job(id=str(k), seed=k, steps=3, images=1 + k) for k in range(3)]
    with running(Small(checkpoint(models, "float32"))) as engine:
        futures = [engine.submit(one, unheard) for one in jobs]
        painted = [future.result(60) for future in futures]
        assert engine.capacity_px(64, 64) == 3 * 64 * 64
    with running(runner) as engine:
        for one, ours in zip(jobs, painted, strict=True):
            wanted = engine.submit(one, unheard).result(60)
            for left, right in zip(ours.pictures, wanted.pictures, strict=True):
                assert np.abs(np.asarray(left, np.int16) - np.asarray(right, np.int16)).max() <= 1


def test_torchs_words_for_full_memory_are_understood() -> None:
    with pytest.raises(OutOfMemory, match=r"^CPU error: out of memory$"), faults_of(Processor()):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "said",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
    ],
    ids=["python", "library", "torch", "cuda", "cublas", "cudnn", "convolution"],
)
def test_others_words_for_full_memory_are_understood(said: Exception) -> None:
    with pytest.raises(OutOfMemory), faults_of(Processor()):
        raise said


@pytest.mark.parametrize(
    "said", ["another", "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmulAlgoGetHeuristic(...)`"]
)
def test_what_says_nothing_of_the_device_stays_as_it_is(said: str) -> None:
    with pytest.raises(RuntimeError, match=said.split()[0]) as caught, faults_of(Processor()):
        raise RuntimeError(said)
    assert type(caught.value) is RuntimeError


@pytest.mark.parametrize(
    "said",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`"),
    ],
    ids=["illegal access", "cublas"],
)
def test_torchs_words_for_a_device_that_is_lost_are_understood(said: RuntimeError) -> None:
    with pytest.raises(DeviceLost), faults_of(Processor()):
        raise said


def test_pictures_that_do_not_fit_together_are_decoded_one_by_one(
    models: Path, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = checkpoint(models, "float32")
    vae: Any = opened.vae
    decode = vae.decode

    def small(latents: torch.Tensor, **more: Any) -> Any:
        if len(latents) > 1:
            raise torch.OutOfMemoryError("planted")
        return decode(latents, **more)

    monkeypatch.setattr(vae, "decode", small)
    one = job(steps=1, images=3)
    with running(TorchRunner(opened)) as engine:
        ours = engine.submit(one, unheard).result(60).pictures
    with running(runner) as engine:
        wanted = engine.submit(one, unheard).result(60).pictures
    for left, right in zip(ours, wanted, strict=True):
        assert np.abs(np.asarray(left, np.int16) - np.asarray(right, np.int16)).max() <= 1


HANGING = """
import threading
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
never = threading.Event()
engine = Engine(FakeRunner(pace=never.wait), hang_s=0.5)
engine.start()
engine.submit(job(), unheard).result()
"""


def test_a_step_that_hangs_ends_the_process_and_says_where() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert re.search(r"fake\.py.* in predict", ended.stderr)


HANGING_PREPARATION = """
import threading
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
class Stuck(FakeRunner):
    def prepare(self, job, key):
        threading.Event().wait()
engine = Engine(Stuck(), hang_s=0.5)
engine.start()
engine.submit(job(), unheard).result(20)
"""
HANGING_DECODE = """
import threading
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
class Stuck(FakeRunner):
    def decode(self, state, *, job):
        threading.Event().wait()
engine = Engine(Stuck(), hang_s=0.5)
engine.start()
engine.submit(job(), unheard).result(20)
"""


@pytest.mark.parametrize(
    ("program", "where"),
    [(HANGING_PREPARATION, "in prepare"), (HANGING_DECODE, "in decode")],
    ids=["prepare", "decode"],
)
def test_what_else_hangs_ends_the_process_too(program: str, where: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert where in ended.stderr


HANGING_BESIDE = """
import threading
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
class Stuck(FakeRunner):
    def decode(self, state, *, job):
        threading.Event().wait()
ended = threading.Event()
engine = Engine(Stuck(pace=lambda: threading.Event().wait(0.01)), hang_s=2, on_fatal=lambda error: ended.set())
engine.start()
behind = engine.submit(job(id="behind", steps=40), unheard)
stuck = engine.submit(job(id="stuck", steps=1), unheard)
others = [behind] + [engine.submit(job(id=str(k), steps=150), unheard) for k in range(3)]
while not ended.is_set():
    others.append(engine.submit(job(id="more", steps=100), unheard))
    ended.wait(0.5)
print(type(stuck.exception(1)).__name__, {type(one.exception(1)).__name__ for one in others}, flush=True)
import os
os._exit(0)
"""


def test_a_decoding_that_hangs_beside_others_steps_ends_the_engine() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGING_BESIDE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "Suspected {'Stopped'}\n"), ended.stderr
    assert "in decode" in ended.stderr


SLOW_DECODES = """
import threading
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
class Slow(FakeRunner):
    def decode(self, state, *, job):
        threading.Event().wait(0.3)
        return super().decode(state, job=job)
engine = Engine(Slow(), hang_s=0.8)
engine.start()
print(sum(len(future.result(20).pictures) for future in [engine.submit(job(), unheard) for _ in range(4)]))
engine.close(wait=True)
"""


def test_each_decoding_has_its_own_time() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SLOW_DECODES], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "4\n"), ended.stderr


SLOW_NEWCOMERS = """
import threading
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
class Slow(FakeRunner):
    def prepare(self, job, key):
        threading.Event().wait(0.3)
        return super().prepare(job, key)
engine = Engine(Slow(), hang_s=0.8)
futures = [engine.submit(job(), unheard) for _ in range(4)]
engine.start()
print(sum(len(future.result(20).pictures) for future in futures))
engine.close(wait=True)
"""

SHORT_OF_MEMORY = """
import threading
from shared.errors import OutOfMemory
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
decoding = threading.Event()
class Slow(FakeRunner):
    short = True
    def prepare(self, job, key):
        if job.id == "late" and self.short:
            self.short = False
            raise OutOfMemory
        return super().prepare(job, key)
    def decode(self, state, *, job):
        decoding.set()
        threading.Event().wait(0.3)
        return super().decode(state, job=job)
engine = Engine(Slow(), hang_s=0.8)
engine.start()
futures = [engine.submit(job(steps=1), unheard) for _ in range(5)]
decoding.wait()
futures.append(engine.submit(job(id="late", steps=1), unheard))
print(sum(len(future.result(20).pictures) for future in futures))
engine.close(wait=True)
"""


@pytest.mark.parametrize(("program", "pictures"), [(SLOW_NEWCOMERS, 4), (SHORT_OF_MEMORY, 6)])
def test_each_preparation_has_its_own_time_and_so_has_what_it_waits_for(program: str, pictures: int) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{pictures}\n"), ended.stderr


PATIENT = """
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
import threading
engine = Engine(FakeRunner(), hang_s=0.4)
engine.start()
engine.submit(job(), unheard).result(10)
threading.Event().wait(1)
print(len(engine.submit(job(), unheard).result(10).pictures))
engine.close(wait=True)
threading.Event().wait(1)
"""
CLOSED_AT_WORK = """
from tests.unit.engine.jobs import job, unheard
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
import threading
stepping = threading.Event()
engine = Engine(FakeRunner(pace=stepping.set), hang_s=0.4)
engine.start()
future = engine.submit(job(steps=1_000_000), unheard)
assert stepping.wait(10)
engine.close(wait=False)
threading.Event().wait(1)
print(1 if future.exception(0) else 0)
"""


@pytest.mark.parametrize("program", [PATIENT, CLOSED_AT_WORK], ids=["idle", "closed"])
def test_an_engine_without_work_is_not_taken_for_a_hanging_one(program: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended.stderr
