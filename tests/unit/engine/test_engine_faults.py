"""What goes wrong in one job stays with it; what cannot be survived fails everybody at once and says so."""

# pyright: reportPrivateUsage=false
import math
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakSet

import pytest

from shared.errors import DeviceLost, Fault, InternalFault, OutOfMemory, Unavailable
from tests.unit.engine.jobs import Planted, job, picture, two_to_decode, unheard
from worker.engine.alarm import Alarm
from worker.engine.engine import Engine
from worker.engine.fake import FakeState
from worker.engine.job import Job, Painting
from worker.engine.protocol import BatchKey, Decoded, Stopped, Suspected, Unusable
from worker.engine.ticket import Ticket


def until_idle(engine: Engine[Any, Any]) -> None:
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


@pytest.mark.parametrize("where", ["prepare_fault", "decode_fault"])
def test_a_fault_of_one_job_is_its_own(where: str) -> None:
    plant: dict[str, Any] = {where: raising_for("bad", ValueError("planted"))}
    engine: Engine[Any, Any] = Engine(Planted(**plant))
    futures = {name: engine.submit(job(id=name), unheard) for name in ("good", "bad", "fine")}
    until_idle(engine)
    engine.close(wait=True)
    assert isinstance(futures["bad"].exception(0), InternalFault)
    assert len(futures["good"].result(0).pictures) == len(futures["fine"].result(0).pictures) == 1


def test_of_a_step_that_failed_halfway_all_are_suspected_and_who_was_alone_is_guilty() -> None:
    """It cannot be tried again; whoever is apart from the guilty the next time is done."""
    engine: Engine[Any, Any] = Engine(Planted(advance_fault=raising_for("bad", ValueError("planted"))))
    together = [engine.submit(job(id=name), unheard) for name in ("good", "bad", "fine")]
    until_idle(engine)
    assert [suspected_of(future) for future in together] == [InternalFault] * 3
    alone = engine.submit(job(id="bad"), unheard)
    until_idle(engine)
    apart = [engine.submit(job(id=name), unheard) for name in ("good", "fine")]
    until_idle(engine)
    engine.close(wait=True)
    assert isinstance(alone.exception(0), InternalFault)
    assert all(len(future.result(0).pictures) == 1 for future in apart)


def test_a_step_that_fails_is_tried_with_each_alone_to_find_the_guilty() -> None:
    def fault(jobs: Sequence[Job], _: int) -> None:
        if any(one.id == "bad" for one in jobs):
            raise ValueError("planted")

    runner = Planted(fault=fault)
    engine: Engine[Any, Any] = Engine(runner)
    futures = {name: engine.submit(job(id=name), unheard) for name in ("good", "bad", "fine")}
    until_idle(engine)
    engine.close(wait=True)
    assert isinstance(futures["bad"].exception(0), InternalFault)
    assert len(futures["good"].result(0).pictures) == 1
    assert runner.steps[:3] == [["good"], ["fine"], ["good", "fine"]]


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


def test_nobody_is_stepped_where_nobody_is_left() -> None:
    stepped: list[int] = []

    def advance(states: Sequence[FakeState], predictions: Sequence[None]) -> None:
        stepped.append(len(states) + len(predictions))

    runner = Planted(fault=raising(ValueError("planted")))
    runner.advance = advance
    engine: Engine[Any, Any] = Engine(runner)
    future = engine.submit(job(), unheard)
    until_idle(engine)
    assert isinstance(future.exception(0), InternalFault)
    assert stepped == []
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
    never = threading.Event()

    def takes_a_while(_: Sequence[Job], __: int) -> None:
        never.wait(0.02)

    engine: Engine[Any, Any] = Engine(Planted(**plant, fault=takes_a_while), on_fatal=fatal.append)
    engine.start()
    first = engine.submit(job(id="first"), unheard)
    assert isinstance(first.exception(10), OutOfMemory)
    assert engine.takes_jobs
    other = engine.submit(job(id="other", steps=150, image=picture(128, 128)), unheard)
    second = engine.submit(job(id="second", steps=1), unheard)
    assert suspected_of(second) is OutOfMemory
    assert isinstance(other.exception(10), Stopped)
    assert not engine.takes_jobs
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


@pytest.mark.parametrize("where", ["prepare", "predict", "advance", "preview", "decode"])
def test_a_device_that_is_lost_takes_no_more_jobs(where: str) -> None:
    fatal: list[Exception] = []
    runner = Planted()
    setattr(runner, where, raising(DeviceLost()))
    engine: Engine[Any, Any] = Engine(runner, previews_s=0.0, on_fatal=fatal.append)
    futures = [engine.submit(job(id=str(k)), unheard) for k in range(3)]
    engine.start()
    errors = [future.exception(10) for future in futures]
    assert any(isinstance(error, Suspected) and error.fault.retryable for error in errors)
    assert all(isinstance(error, Suspected | Stopped) for error in errors)
    assert not engine.takes_jobs
    engine.close(wait=True)
    assert len(fatal) == 1


def test_a_device_that_is_lost_in_a_step_may_have_been_lost_by_a_decoding() -> None:
    """What a device was asked to do fails in whatever asks next."""

    steps: list[str] = []

    def fault(jobs: Sequence[Job], _: int) -> None:
        if jobs[0].id == "stepped":
            steps.append("stepped")
            if len(steps) > 2:
                raise DeviceLost

    runner = Planted(fault=fault)
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    decoded, behind = two_to_decode(engine, runner)
    stepped = engine.submit(job(id="stepped"), unheard)
    assert suspected_of(stepped) is suspected_of(decoded) is Unavailable
    assert isinstance(behind.exception(10), Stopped)
    runner.may_decode.set()
    engine.close(wait=True)


def test_who_waits_for_room_cannot_have_lost_the_device() -> None:
    engine: Engine[Any, Any] = Engine(Planted(slots=1, fault=raising(DeviceLost())))
    stepped, *waiting = [engine.submit(job(id=str(k)), unheard) for k in range(3)]
    engine.start()
    assert suspected_of(stepped) is Unavailable
    assert all(isinstance(future.exception(10), Stopped) for future in waiting)
    engine.close(wait=True)


def test_who_has_not_been_stepped_for_a_while_cannot_have_lost_the_device() -> None:
    """Small pictures have many steps for one of a large one."""
    steps: list[str] = []

    def fault(jobs: Sequence[Job], _: int) -> None:
        if "large" in steps and steps[-4:] == ["small"] * 4:
            raise DeviceLost
        steps.append(jobs[0].id)

    engine: Engine[Any, Any] = Engine(Planted(fault=fault))
    large = engine.submit(job(id="large", image=picture(1024, 1024)), unheard)
    small = engine.submit(job(id="small", steps=100), unheard)
    engine.start()
    assert suspected_of(small) is Unavailable
    assert isinstance(large.exception(10), Stopped)
    engine.close(wait=True)


def test_a_device_may_have_been_lost_by_a_last_step() -> None:
    """It fails in whatever is done there next."""
    lost = threading.Event()

    def fault(jobs: Sequence[Job], _: int) -> None:
        if lost.is_set():
            raise DeviceLost
        if jobs[0].id == "killer":
            lost.set()

    runner = Planted(fault=fault)
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    two_to_decode(engine, runner)
    killer = engine.submit(job(id="killer", steps=1), unheard)
    assert lost.wait(10)
    engine.submit(job(id="next"), unheard)
    assert suspected_of(killer) is Unavailable
    runner.may_decode.set()
    engine.close(wait=True)


def test_nothing_more_is_decoded_on_a_device_that_is_lost() -> None:
    stepping, go_on = threading.Event(), threading.Event()

    def fault(jobs: Sequence[Job], _: int) -> None:
        if jobs[0].id == "long":
            stepping.set()
            assert go_on.wait(10)

    runner = Planted(fault=fault, decode_fault=raising(DeviceLost()))
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    first, second = two_to_decode(engine, runner)
    engine.submit(job(id="long", image=picture(128, 128)), unheard)
    assert stepping.wait(10)
    runner.may_decode.set()
    assert suspected_of(first) is DeviceLost
    go_on.set()
    assert second.exception(10)
    engine.close(wait=True)
    assert runner.decoded == ["first"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_process_is_called_once_even_if_it_cannot() -> None:
    calls: list[Exception] = []

    def fail(error: Exception) -> None:
        calls.append(error)
        raise RuntimeError("planted: can't start new thread")

    engine: Engine[Any, Any] = Engine(Planted(decode_fault=raising(DeviceLost())), on_fatal=fail)
    engine.start()
    assert engine.submit(job(), unheard).exception(10)
    engine._thread.join(10)
    assert len(calls) == 1
    engine.close(wait=True)


class Watched(Alarm):
    """Counts how often it is set, and rings for what began before `moment`."""

    def __init__(self) -> None:
        super().__init__(None)
        self.sets = 0
        self.moment = -math.inf

    def set(self) -> None:
        self.sets += 1

    def rings_for(self, since_s: float | None) -> bool:
        return since_s is not None and since_s < self.moment


class Door:
    """A lock that says which thread found it closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.closed_to = {"engine": threading.Event(), "finisher": threading.Event()}

    def acquire(self, *, blocking: bool = True) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        self.closed_to[threading.current_thread().name.partition("_")[0]].set()
        return blocking and self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def watched(runner: Planted, fatal: list[Exception]) -> tuple[Engine[Any, Any], Watched, Door]:
    engine: Engine[Any, Any] = Engine(runner, on_fatal=fatal.append)
    alarm, door = Watched(), Door()
    engine._alarm, engine._on_device = alarm, cast("Any", door)
    return engine, alarm, door


def test_a_decoding_that_waits_for_a_step_does_not_hang() -> None:
    fatal: list[Exception] = []
    stepping = threading.Event()

    def fault(jobs: Sequence[Job], _: int) -> None:
        if jobs[0].id == "long" and not stepping.is_set():
            stepping.set()
            assert door.closed_to["finisher"].wait(10)
            alarm.moment = time.monotonic()

    def short_once(_: Job) -> None:
        if not tries:
            tries.append(1)
            assert stepping.wait(10)
            raise OutOfMemory

    tries: list[int] = []
    engine, alarm, door = watched(Planted(fault=fault, decode_fault=short_once), fatal)
    engine.start()
    short = engine.submit(job(id="short", steps=1), unheard)
    long = engine.submit(job(id="long", steps=20, image=picture(128, 128)), unheard)
    assert len(short.result(10).pictures) == len(long.result(10).pictures) == 1
    engine.close(wait=True)
    assert fatal == []


def test_a_step_that_waits_for_a_decoding_has_its_own_time() -> None:
    """The decoding has the device to itself."""
    sets: list[int] = []
    stepped = threading.Event()

    def fault(jobs: Sequence[Job], _: int) -> None:
        if jobs[0].id == "long" and sets:
            sets.append(alarm.sets)
            stepped.set()

    def short_once(_: Job) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OutOfMemory
        assert door.closed_to["engine"].wait(10)
        sets.append(alarm.sets)

    tries: list[int] = []
    engine, alarm, door = watched(Planted(fault=fault, decode_fault=short_once), [])
    engine.start()
    engine.submit(job(id="long", steps=1_000_000, strength=1.0, image=picture(128, 128)), unheard)
    short = engine.submit(job(id="short", steps=1), unheard)
    assert len(short.result(10).pictures) == 1
    assert stepped.wait(10)
    engine.close(wait=False)
    alone, after = sets[:2]
    assert after > alone


def test_a_device_that_is_lost_while_nobody_looks_is_noticed() -> None:
    """A finisher may say so when the engine's thread has just gone to sleep."""
    fatal: list[Exception] = []
    engine: Engine[Any, Any] = Engine(Planted(), on_fatal=fatal.append)
    engine.start()
    assert len(engine.submit(job(), unheard).result(10).pictures) == 1
    with engine._wake:
        engine._broken = DeviceLost()
        engine._wake.notify_all()
    engine._thread.join(10)
    assert len(fatal) == 1


@pytest.mark.parametrize("error", [OutOfMemory(), ValueError("planted")])
def test_no_job_ends_for_want_of_a_preview(error: Exception) -> None:
    runner = Planted()
    runner.preview = raising(error)
    engine: Engine[Any, Any] = Engine(runner, previews_s=0.0)
    future = engine.submit(job(), unheard)
    until_idle(engine)
    engine.close(wait=True)
    assert len(future.result(0).pictures) == 1


def test_an_unusable_picture_is_painted_once_more_in_higher_precision() -> None:
    spoiled = [True]

    def fault(_: Job) -> None:
        if spoiled.pop() if spoiled else False:
            raise Unusable("not finite")

    runner = Planted(decode_fault=fault, more_precise=True)
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    future = engine.submit(job(id="dark"), unheard)
    assert len(future.result(10).pictures) == 1
    engine.close(wait=True)
    assert runner.prepared == [("dark", "plain"), ("dark", "precise")]


def test_closing_waits_for_the_second_try() -> None:
    spoiled = [True]

    def fault(_: Job) -> None:
        if spoiled.pop() if spoiled else False:
            raise Unusable("not finite")

    runner = Planted(decode_fault=fault, more_precise=True)
    runner.may_decode.clear()
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    future = engine.submit(job(), unheard)
    assert runner.decoding.wait(10)
    runner.may_decode.set()
    engine.close(wait=True)
    assert len(future.result(0).pictures) == 1


def test_closing_at_once_decodes_nothing_more() -> None:
    runner = Planted()
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    first, second = two_to_decode(engine, runner)
    engine.close(wait=False)
    runner.may_decode.set()
    engine._finisher.shutdown(wait=True)
    assert runner.decoded == ["first"]
    assert isinstance(first.exception(0), Stopped)
    assert isinstance(second.exception(0), Stopped)


@pytest.mark.parametrize("where", ["prepare", "predict", "decode"])
def test_where_the_higher_precision_does_not_fit_there_is_no_usable_picture(where: str) -> None:
    """And nobody else is worse off for it, however often that happens."""
    fatal: list[Exception] = []
    runner = Planted(more_precise=True)
    engine: Engine[Any, Any] = Engine(runner, on_fatal=fatal.append)
    tried = getattr(runner, where)

    def work(*given: Any, **more: Any) -> Any:
        if runner.prepared[-1:] == [("dark", "precise")] or (where == "prepare" and given[1].dtype == "precise"):
            raise OutOfMemory
        if where == "decode":
            raise Unusable("not finite")
        return tried(*given, **more)

    setattr(runner, where, work)
    if where != "decode":
        runner.decode = raising(Unusable("not finite"))
    engine.start()
    for _ in range(3):
        error = engine.submit(job(id="dark"), unheard).exception(10)
        assert isinstance(error, InternalFault)
        assert "no usable picture" in error.message
    engine.close(wait=True)
    assert fatal == []


@pytest.mark.parametrize("more_precise", [True, False])
def test_a_picture_that_stays_unusable_is_a_clear_error(more_precise: bool) -> None:
    def fault(_: Job) -> None:
        raise Unusable("not finite")

    runner = Planted(decode_fault=fault, more_precise=more_precise)
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    error = engine.submit(job(), unheard).exception(10)
    engine.close(wait=True)
    assert isinstance(error, InternalFault)
    assert "no usable picture" in error.message
    assert len(runner.prepared) == (2 if more_precise else 1)


class Buggy(Planted):
    def slots(self, key: BatchKey) -> int:
        raise RuntimeError("planted")


def test_a_bug_after_a_decoding_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    fatal: list[Exception] = []
    monkeypatch.setattr(Ticket, "painting", raising(RuntimeError("planted")))
    engine: Engine[Any, Any] = Engine(Planted(), on_fatal=fatal.append)
    engine.start()
    other = engine.submit(job(id="other", steps=10_000), unheard)
    future = engine.submit(job(steps=1), unheard)
    assert suspected_of(future) is Unavailable
    assert isinstance(other.exception(10), Stopped)
    engine.close(wait=True)
    assert [str(error.__cause__) for error in fatal] == ["planted"]


def test_a_bug_outside_of_any_job_fails_everybody_and_says_so() -> None:
    fatal: list[Exception] = []
    engine: Engine[Any, Any] = Engine(Buggy(), on_fatal=fatal.append)
    engine.start()
    future = engine.submit(job(), unheard)
    assert suspected_of(future) is Unavailable
    engine.close(wait=True)
    assert [str(error) for error in fatal] == ["planted"]
