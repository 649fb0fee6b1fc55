"""A device that is lost, or that hangs: who is suspected, and how long each thing may take."""

# pyright: reportPrivateUsage=false
import math
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from shared.errors import DeviceLost, OutOfMemory, Unavailable
from tests.unit.engine.jobs import (
    Planted,
    job,
    picture,
    raising,
    suspected_of,
    two_to_decode,
    unheard,
)
from worker.engine.alarm import Alarm
from worker.engine.engine import Engine
from worker.engine.job import Job
from worker.engine.protocol import Stopped, Suspected


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


@pytest.mark.parametrize(("since", "outcome"), [(1, Suspected), (2, Stopped)])
def test_who_has_not_been_stepped_for_a_while_cannot_have_lost_the_device(since: int, outcome: type) -> None:
    """Small pictures have many steps for one of a large one."""
    steps: list[str] = []

    def fault(jobs: Sequence[Job], _: int) -> None:
        if "large" in steps and steps[-since:] == ["small"] * since and jobs[0].id == "small":
            raise DeviceLost
        steps.append(jobs[0].id)

    engine: Engine[Any, Any] = Engine(Planted(fault=fault))
    large = engine.submit(job(id="large", image=picture(1024, 1024)), unheard)
    small = engine.submit(job(id="small", steps=100), unheard)
    engine.start()
    assert suspected_of(small) is Unavailable
    assert isinstance(large.exception(10), outcome)
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
    engine._sharing.alarm, engine._sharing._lock = alarm, cast("Any", door)
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
