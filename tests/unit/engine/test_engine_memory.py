"""A device that is full: who is beside others waits for them, what can be cut is cut, and only then somebody fails."""

# pyright: reportPrivateUsage=false
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import pytest

from shared.errors import InternalFault, OutOfMemory, Unavailable
from tests.unit.engine.jobs import (
    Planted,
    job,
    picture,
    raising,
    suspected_of,
    two_to_decode,
    unheard,
    until_idle,
)
from worker.engine.engine import Engine
from worker.engine.fake import FakeState
from worker.engine.job import Job
from worker.engine.protocol import BatchKey, Decoded, Stopped


def test_out_of_memory_halves_the_batch_from_then_on() -> None:
    def fault(_: Sequence[Job], slots: int) -> None:
        if slots > 2:
            raise OutOfMemory

    fatal: list[Exception] = []
    engine: Engine[Any, Any] = Engine(Planted(slots=16, fault=fault), on_fatal=fatal.append)
    futures = [engine.submit(job(id=str(k)), unheard) for k in range(4)]
    until_idle(engine)
    assert engine.capacity_px(64, 64) == 2 * 64 * 64
    engine.close(wait=True)
    assert all(len(future.result(0).pictures) == 1 for future in futures)
    assert fatal == []


def test_the_guilty_is_found_although_memory_was_short_before() -> None:
    def fault(jobs: Sequence[Job], slots: int) -> None:
        if min(slots, len(jobs)) > 2:
            raise OutOfMemory
        if any(one.id == "bad" for one in jobs):
            raise ValueError("planted")

    fatal: list[Exception] = []
    engine: Engine[Any, Any] = Engine(Planted(fault=fault), on_fatal=fatal.append)
    futures = {name: engine.submit(job(id=name), unheard) for name in ("good", "bad", "fine", "well")}
    engine.start()
    assert isinstance(futures.pop("bad").exception(10), InternalFault)
    assert all(len(future.result(10).pictures) == 1 for future in futures.values())
    engine.close(wait=True)
    assert fatal == []


class Activation:
    """What a call holds of a device."""


def test_what_a_failed_step_held_is_free_while_each_is_tried_alone() -> None:
    """A device with room for three."""
    held = WeakSet[Activation]()

    def fault(jobs: Sequence[Job], _: int) -> None:
        call: list[Activation] = []
        while len(call) < len(jobs):
            if len(held) == 3:
                raise OutOfMemory
            call.append(Activation())
            held.add(call[-1])
        if any(one.id == "bad" for one in jobs):
            raise ValueError("planted")

    engine: Engine[Any, Any] = Engine(Planted(fault=fault))
    futures = {name: engine.submit(job(id=name), unheard) for name in ("good", "bad", "fine")}
    engine.start()
    assert isinstance(futures.pop("bad").exception(10), InternalFault)
    assert all(len(future.result(10).pictures) == 1 for future in futures.values())
    engine.close(wait=True)


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_who_is_told_that_it_did_not_fit_keeps_nothing_of_it(where: str) -> None:
    held = WeakSet[Activation]()

    def allocate() -> None:
        activation = Activation()
        held.add(activation)
        raise RuntimeError("CUDA out of memory")

    def fault(_: Job) -> None:
        try:
            allocate()
        except RuntimeError as error:
            raise OutOfMemory from error

    plant: dict[str, Any] = {where: fault}
    engine: Engine[Any, Any] = Engine(Planted(**plant))
    engine.start()
    future = engine.submit(job(), unheard)
    assert isinstance(future.exception(10), OutOfMemory)
    assert len(held) == 0
    engine.close(wait=True)


def test_out_of_memory_twice_ends_the_engine() -> None:
    def fault(jobs: Sequence[Job], _: int) -> None:
        if jobs[0].image.width == 128:
            raise OutOfMemory

    fatal: list[Exception] = []
    engine: Engine[Any, Any] = Engine(Planted(fault=fault), on_fatal=fatal.append)
    big = [engine.submit(job(id=f"big {k}", image=picture(128, 128)), unheard) for k in range(2)]
    small = engine.submit(job(id="small", steps=150), unheard)
    engine.start()
    assert [suspected_of(future) for future in big] == [OutOfMemory] * 2
    assert isinstance(small.exception(10), Stopped)
    engine.close(wait=True)
    assert len(fatal) == 1
    assert isinstance(engine.submit(job(), unheard).exception(0), Unavailable)


def test_a_single_picture_out_of_memory_is_tried_once_more() -> None:
    tries: list[int] = []

    def fault(_: Sequence[Job], slots: int) -> None:
        tries.append(slots)
        raise OutOfMemory

    fatal: list[Exception] = []
    engine: Engine[Any, Any] = Engine(Planted(fault=fault), on_fatal=fatal.append)
    future = engine.submit(job(), unheard)
    engine.start()
    assert suspected_of(future) is OutOfMemory
    engine.close(wait=True)
    assert len(fatal) == 1
    assert tries == [16, 16]


class Crowded(Planted):
    """Has no room for a step beside a decoding, nor for a decoding beside a step."""

    def __init__(self, refused: str) -> None:
        super().__init__()
        self._refused = refused
        self._now: set[str] = set()
        self.refusals = 0

    @contextmanager
    def _work(self, what: str) -> Generator[None]:
        self._now.add(what)
        try:
            threading.Event().wait(0.02)
            if what == self._refused and len(self._now) > 1:
                self.refusals += 1
                raise OutOfMemory
            yield
        finally:
            self._now.discard(what)

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        with self._work("step"):
            return super().predict(states, slots=slots)

    def decode(self, state: FakeState, *, job: Job) -> Decoded:
        with self._work("decode"):
            threading.Event().wait(0.1)
            return super().decode(state, job=job)


@pytest.mark.parametrize("refused", ["step", "decode"])
def test_what_does_not_fit_beside_the_other_waits_for_it(refused: str) -> None:
    fatal: list[Exception] = []
    runner = Crowded(refused)
    engine: Engine[Any, Any] = Engine(runner, on_fatal=fatal.append)
    short = [engine.submit(job(id=f"short {k}", steps=1), unheard) for k in range(2)]
    long = engine.submit(job(id="long", steps=20, image=picture(128, 128)), unheard)
    engine.start()
    assert all(len(future.result(10).pictures) == 1 for future in (*short, long))
    assert runner.refusals >= 1
    assert engine.capacity_px(64, 64) == 16 * 64 * 64, "waiting was enough"
    engine.close(wait=True)
    assert fatal == []


class Short(Planted):
    """Has no room for the job "step" while something is decoded; `refused` says that it came."""

    def __init__(self, where: str) -> None:
        super().__init__(fault=self._short if where == "step" else None)
        self._where = where
        self.refused = threading.Event()

    def _short(self, jobs: Sequence[Job], _: int) -> None:
        if jobs[0].id == "step" and not self.may_decode.is_set():
            self.refused.set()
            raise OutOfMemory

    def prepare(self, job: Job, key: BatchKey) -> FakeState:
        if self._where == "prepare":
            self._short([job], 0)
        return super().prepare(job, key)


@pytest.mark.parametrize("where", ["prepare", "step"])
def test_who_waits_for_a_decoding_when_all_is_closed_at_once_is_not_tried_again(where: str) -> None:
    fatal: list[Exception] = []
    runner = Short(where)
    engine: Engine[Any, Any] = Engine(runner, on_fatal=fatal.append)
    engine.start()
    two_to_decode(engine, runner)
    step = engine.submit(job(id="step"), unheard)
    assert runner.refused.wait(10)
    runner.refused.clear()
    engine.close(wait=False)
    assert isinstance(step.exception(10), Stopped)
    assert not runner.refused.is_set()
    assert fatal == []
    runner.may_decode.set()


def test_waiting_for_a_decoding_is_no_work_of_the_device() -> None:
    runner = Short("step")
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    two_to_decode(engine, runner)
    step = engine.submit(job(id="step"), unheard)
    assert runner.refused.wait(10)
    threading.Event().wait(0.5)
    runner.may_decode.set()
    assert step.result(10).gpu_s < 0.5
    assert engine.stats().step_s < 0.5
    engine.close(wait=True)


def test_fewer_share_a_call_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs use the device, too, and may have gone."""
    monkeypatch.setattr("worker.engine.engine._SHRUNK_S", 0.0)
    faults = [OutOfMemory()]

    def fault(_: Sequence[Job], __: int) -> None:
        if faults:
            raise faults.pop()

    engine: Engine[Any, Any] = Engine(Planted(slots=16, fault=fault))
    futures = [engine.submit(job(id=str(k)), unheard) for k in range(4)]
    until_idle(engine)
    engine.close(wait=True)
    assert all(len(future.result(0).pictures) == 1 for future in futures)
    assert engine.capacity_px(64, 64) == 16 * 64 * 64


def taking_a_while(_: Sequence[Job], __: int) -> None:
    threading.Event().wait(0.02)


def failing(names: list[str]) -> Any:
    """Out of memory for the next one of that name, as often as it is named."""

    def fault(job: Job) -> None:
        if job.id in names:
            names.remove(job.id)
            raise OutOfMemory

    return fault


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_what_does_not_fit_beside_others_is_tried_once_more(where: str) -> None:
    fatal: list[Exception] = []
    plant: dict[str, Any] = {where: failing(["big"])}
    engine: Engine[Any, Any] = Engine(Planted(**plant), on_fatal=fatal.append)
    futures = [engine.submit(job(id=name), unheard) for name in ("big", "small")]
    until_idle(engine)
    engine.close(wait=True)
    assert all(len(future.result(0).pictures) == 1 for future in futures)
    assert fatal == []


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_what_does_not_fit_at_all_fails_alone_while_others_fit(where: str) -> None:
    fatal: list[Exception] = []
    plant: dict[str, Any] = {where: failing(["big", "big", "huge", "huge"])}
    engine: Engine[Any, Any] = Engine(Planted(**plant), on_fatal=fatal.append)
    for name in ("big", "huge"):
        unfit = engine.submit(job(id=name), unheard)
        until_idle(engine)
        assert isinstance(unfit.exception(10), OutOfMemory)
        fits = engine.submit(job(id="small"), unheard)
        until_idle(engine)
        assert len(fits.result(10).pictures) == 1
    engine.close(wait=True)
    assert fatal == []


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_a_request_that_never_fits_ends_nobody_else_when_it_comes_again(where: str) -> None:
    fatal: list[Exception] = []
    plant: dict[str, Any] = {where: failing(2 * ["one", "two"])}
    engine: Engine[Any, Any] = Engine(Planted(**plant), on_fatal=fatal.append)
    attempts = [engine.submit(job(id=name, request="huge"), unheard) for name in ("one", "two")]
    until_idle(engine)
    engine.close(wait=True)
    assert all(isinstance(future.exception(10), OutOfMemory) for future in attempts)
    assert fatal == []


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_a_device_on_which_nothing_fits_any_more_ends_the_engine(where: str) -> None:
    fatal: list[Exception] = []
    plant: dict[str, Any] = {where: failing(["first", "first", "second", "second"])}
    engine: Engine[Any, Any] = Engine(Planted(**plant, fault=taking_a_while), on_fatal=fatal.append)
    engine.start()
    assert len(engine.submit(job(id="fits"), unheard).result(10).pictures) == 1
    other = engine.submit(job(id="other", steps=150, image=picture(128, 128)), unheard)
    first = engine.submit(job(id="first", steps=1), unheard)
    assert isinstance(first.exception(10), OutOfMemory)
    assert engine.takes_jobs
    second = engine.submit(job(id="second", steps=1), unheard)
    assert suspected_of(second) is OutOfMemory
    assert isinstance(other.exception(10), Stopped)
    assert not engine.takes_jobs
    engine.close(wait=True)
    assert len(fatal) == 1


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_what_never_fitted_says_nothing_of_the_device(where: str) -> None:
    """Whoever sends requests that are too large, however many, ends nobody else's."""

    def fault(one: Job) -> None:
        if one.image.width > 64:
            raise OutOfMemory

    fatal: list[Exception] = []
    plant: dict[str, Any] = {where: fault}
    engine: Engine[Any, Any] = Engine(Planted(**plant), on_fatal=fatal.append)
    engine.start()
    assert len(engine.submit(job(id="fits"), unheard).result(10).pictures) == 1
    large = [engine.submit(job(id=f"large {k}", steps=1, image=picture(128, 128)), unheard) for k in range(3)]
    assert all(isinstance(future.exception(10), OutOfMemory) for future in large)
    engine.close(wait=True)
    assert fatal == []


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_a_device_on_which_nothing_ever_fitted_ends_the_engine(where: str) -> None:
    """Or it would go on claiming requests, and fail them all."""
    fatal: list[Exception] = []
    plant: dict[str, Any] = {where: raising(OutOfMemory())}
    engine: Engine[Any, Any] = Engine(Planted(**plant), on_fatal=fatal.append)
    engine.start()
    assert isinstance(engine.submit(job(id="first"), unheard).exception(10), OutOfMemory)
    assert suspected_of(engine.submit(job(id="second", image=picture(128, 128)), unheard)) is OutOfMemory
    engine.close(wait=True)
    assert len(fatal) == 1


def test_room_to_prepare_is_no_room_to_decode() -> None:
    """Whoever is prepared between two that cannot be decoded: it is two in a row."""
    fatal: list[Exception] = []
    runner = Planted(fault=taking_a_while, decode_fault=failing(["first", "first", "second", "second"]))
    engine: Engine[Any, Any] = Engine(runner, on_fatal=fatal.append)
    engine.start()
    assert len(engine.submit(job(id="fits"), unheard).result(10).pictures) == 1
    assert isinstance(engine.submit(job(id="first"), unheard).exception(10), OutOfMemory)
    stepped = threading.Event()
    engine.submit(job(id="prepared", steps=150), lambda _: stepped.set())
    assert stepped.wait(10)
    assert suspected_of(engine.submit(job(id="second", steps=1), unheard)) is OutOfMemory
    engine.close(wait=True)
    assert len(fatal) == 1


def test_out_of_memory_after_a_prediction_ends_the_engine() -> None:
    """What is half stepped cannot be stepped again, so there is nothing to split."""
    fatal: list[Exception] = []
    runner = Planted()
    runner.advance = raising(OutOfMemory())
    engine: Engine[Any, Any] = Engine(runner, on_fatal=fatal.append)
    futures = [engine.submit(job(id=str(k)), unheard) for k in range(2)]
    engine.start()
    assert [suspected_of(future) for future in futures] == [OutOfMemory] * 2
    engine.close(wait=True)
    assert len(fatal) == 1
