"""What goes wrong in one job stays with it; what cannot be survived fails everybody at once and says so."""

# pyright: reportPrivateUsage=false
from collections.abc import Sequence
from typing import Any

import pytest

from shared.errors import InternalFault, OutOfMemory, Unavailable
from tests.unit.engine.jobs import (
    Planted,
    job,
    raising,
    raising_for,
    suspected_of,
    two_to_decode,
    unheard,
    until_idle,
)
from worker.engine.engine import Engine
from worker.engine.fake import FakeState
from worker.engine.job import Job
from worker.engine.protocol import BatchKey, Stopped, Unusable
from worker.engine.ticket import Ticket


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
