"""Promises of the engine that need no model: who is stepped with whom, what stops a job, and what its future says."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import pytest

from shared.errors import Cancelled, InternalFault, TotalTimeout, Unavailable
from tests.unit.engine.jobs import Planted, job, picture, two_to_decode, unheard, until_idle
from worker.engine.engine import Engine
from worker.engine.fake import FakeRunner
from worker.engine.job import Job, Painting, Progress
from worker.engine.protocol import BatchKey, Stopped
from worker.engine.ticket import Stats, Ticket

PATIENCE_S = 10


@contextmanager
def running(runner: Any, **options: Any) -> Generator[Engine[Any, Any]]:
    engine: Engine[Any, Any] = Engine(runner, **options)
    engine.start()
    try:
        yield engine
    finally:
        engine.close(wait=False)


def test_equal_jobs_give_equal_pictures_and_others_do_not() -> None:
    with running(FakeRunner()) as engine:
        changes: list[dict[str, Any]] = [{}, {}, {"seed": 1}, {"prompt": "a dog"}, {"guidance_scale": 2.0}]
        futures = [engine.submit(job(**change), unheard) for change in changes]
        first, same, *others = [future.result(PATIENCE_S).pictures[0].tobytes() for future in futures]
    assert first == same
    assert len({first, *others}) == 4


def test_picture_k_is_that_of_seed_plus_k() -> None:
    with running(FakeRunner()) as engine:
        three = engine.submit(job(images=3, seed=7), unheard).result(PATIENCE_S)
        alone = engine.submit(job(seed=9), unheard).result(PATIENCE_S)
    assert three.pictures[2].tobytes() == alone.pictures[0].tobytes()
    assert three.flagged == (False, False, False)


def test_flagged_pictures_are_black() -> None:
    with running(FakeRunner(flags=lambda _, k: k == 1)) as engine:
        checked = engine.submit(job(images=2), unheard).result(PATIENCE_S)
        unchecked = engine.submit(job(images=2, check_safety=False), unheard).result(PATIENCE_S)
    assert checked.flagged == (False, True)
    assert checked.pictures[1].getbbox() is None
    assert checked.pictures[1].size == (64, 64)
    assert unchecked.flagged == (False, False)
    assert unchecked.pictures[1].getbbox() is not None


def test_a_late_job_joins_at_the_next_step_and_leaves_when_it_is_done() -> None:
    runner = Planted()
    engine: Engine[Any, Any] = Engine(runner)
    engine.submit(job(id="long", steps=5, strength=1.0), unheard)
    engine.step()
    engine.submit(job(id="short", steps=2, strength=1.0), unheard)
    until_idle(engine)
    assert runner.steps == [["long"], ["long", "short"], ["long", "short"], ["long"], ["long"]]
    engine.close(wait=True)


def test_progress_names_every_step_and_estimates_the_rest() -> None:
    heard: list[Progress] = []
    with running(FakeRunner()) as engine:
        engine.submit(job(steps=4, strength=1.0), heard.append).result(PATIENCE_S)
    assert [(said.step, said.steps) for said in heard] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert heard[0].eta_s is None
    assert heard[1].eta_s is not None
    assert heard[3].eta_s == 0
    assert all(said.preview is None for said in heard)


def test_strength_that_leaves_no_step_does_one() -> None:
    heard: list[Progress] = []
    with running(FakeRunner()) as engine:
        engine.submit(job(steps=10, strength=0.01), heard.append).result(PATIENCE_S)
    assert [said.steps for said in heard] == [1]


def test_previews_come_at_most_as_often_as_was_asked() -> None:
    heard: list[Progress] = []
    with running(FakeRunner(), previews_s=1000) as engine:
        engine.submit(job(), heard.append).result(PATIENCE_S)
    assert [said.preview is not None for said in heard] == [True] + [False] * (len(heard) - 1)
    assert heard[0].preview is not None
    assert heard[0].preview().size == (8, 8)


def test_previews_come_again_when_their_time_has_passed() -> None:
    heard: list[Progress] = []
    with running(FakeRunner(pace=lambda: threading.Event().wait(0.02)), previews_s=0.05) as engine:
        engine.submit(job(steps=20, strength=1.0), heard.append).result(PATIENCE_S)
    shown = sum(said.preview is not None for said in heard)
    assert 1 < shown < len(heard)


def test_cancel_stops_a_running_job_before_its_next_step() -> None:
    runner = Planted()
    engine: Engine[Any, Any] = Engine(runner)
    doomed, other = engine.submit(job(id="doomed"), unheard), engine.submit(job(id="other"), unheard)
    engine.step()
    engine.cancel("doomed")
    engine.cancel("nobody")
    until_idle(engine)
    engine.close(wait=True)
    assert isinstance(doomed.exception(0), Cancelled)
    assert len(other.result(0).pictures) == 1
    assert [turn for turn in runner.steps if "doomed" in turn] == [["doomed", "other"]]


def test_cancel_while_another_is_prepared_stops_it_before_its_next_step() -> None:
    def prepare(one: Job) -> None:
        if one.id == "late":
            engine.cancel("early")

    runner = Planted(prepare_fault=prepare)
    engine: Engine[Any, Any] = Engine(runner)
    early = engine.submit(job(id="early"), unheard)
    engine.step()
    late = engine.submit(job(id="late"), unheard)
    until_idle(engine)
    engine.close(wait=True)
    assert isinstance(early.exception(0), Cancelled)
    assert len(late.result(0).pictures) == 1
    assert runner.steps[:2] == [["early"], ["late"]]


def test_cancel_reaches_a_job_that_waits_for_a_slot() -> None:
    runner = Planted(slots=1)
    engine: Engine[Any, Any] = Engine(runner)
    engine.submit(job(id="first"), unheard)
    waiting = engine.submit(job(id="waiting"), unheard)
    engine.step()
    engine.cancel("waiting")
    engine.step()
    assert isinstance(waiting.exception(0), Cancelled)
    assert all("waiting" not in turn for turn in runner.steps)
    engine.close(wait=False)


def test_cancel_while_decoding_is_no_success() -> None:
    runner = Planted()
    runner.may_decode.clear()
    with running(runner) as engine:
        future = engine.submit(job(id="late"), unheard)
        assert runner.decoding.wait(PATIENCE_S)
        engine.cancel("late")
        runner.may_decode.set()
        assert isinstance(future.exception(PATIENCE_S), Cancelled)


def test_what_is_cancelled_before_its_turn_is_not_decoded() -> None:
    runner = Planted()
    with running(runner) as engine:
        first, second = two_to_decode(engine, runner)
        engine.cancel("second")
        runner.may_decode.set()
        assert isinstance(second.exception(PATIENCE_S), Cancelled)
        assert len(first.result(PATIENCE_S).pictures) == 1
    assert runner.decoded == ["first"]


def test_a_deadline_ends_it_before_its_first_step_and_between_any_two() -> None:
    runner = Planted()
    engine: Engine[Any, Any] = Engine(runner)
    past = engine.submit(job(id="past", deadline_s=time.monotonic() - 1), unheard)
    soon = engine.submit(job(id="soon", deadline_s=time.monotonic() + 1), unheard)
    ample = engine.submit(job(id="ample", deadline_s=time.monotonic() + 1000), unheard)
    engine.step()
    time.sleep(1)
    until_idle(engine)
    engine.close(wait=True)
    assert isinstance(past.exception(0), TotalTimeout)
    assert isinstance(soon.exception(0), TotalTimeout)
    assert len(ample.result(0).pictures) == 1
    assert runner.steps == [["soon", "ample"], *4 * [["ample"]]]


def test_the_next_steps_do_not_wait_for_the_decoding_of_the_last_job() -> None:
    runner = Planted()
    runner.may_decode.clear()
    with running(runner) as engine:
        held = engine.submit(job(id="held", steps=1), unheard)
        assert runner.decoding.wait(PATIENCE_S)
        last_step = threading.Event()
        engine.submit(job(id="next"), lambda said: last_step.set() if said.step == said.steps else None)
        assert last_step.wait(PATIENCE_S)
        assert not held.done()
        assert engine.running_px() <= 64 * 64
        runner.may_decode.set()
        assert len(held.result(PATIENCE_S).pictures) == 1


def test_figures_for_admission() -> None:
    runner = Planted(slots=4)
    engine: Engine[Any, Any] = Engine(runner)
    assert engine.capacity_px(64, 64) == 4 * 64 * 64
    assert engine.capacity_px(128, 64) == 4 * 128 * 64
    assert (engine.running_px(), engine.rate()) == (0, 0.0)
    engine.submit(job(images=2), unheard)
    engine.submit(job(image=picture(128, 64)), unheard)
    assert engine.running_px() == 2 * 64 * 64 + 128 * 64
    until_idle(engine)
    engine.close(wait=True)
    assert engine.running_px() == 0
    assert engine.rate() > 0
    stats = engine.stats()
    assert stats.picture_steps == 3 * 5
    assert stats.step_px == 5 * (2 * 64 * 64 + 128 * 64)
    assert 0 <= stats.host_share <= 1
    assert 0 < stats.busy_share <= 1


def test_the_painting_says_where_the_time_went() -> None:
    with running(FakeRunner()) as engine:
        painting = engine.submit(job(), unheard).result(PATIENCE_S)
    parts = painting.seconds["prepare"] + painting.seconds["denoise"] + painting.seconds["decode"]
    assert painting.seconds["inference"] == pytest.approx(parts)
    assert 0 < painting.gpu_s <= painting.seconds["inference"]


def test_seconds_of_the_device_are_shared_by_pictures_and_a_decoding_counts() -> None:
    def wait_a_while(*_: object) -> None:
        threading.Event().wait(0.2)

    engine: Engine[Any, Any] = Engine(Planted(fault=wait_a_while))
    one, three = (engine.submit(job(id=str(k), steps=3, strength=1.0, images=k), unheard) for k in (1, 3))
    engine.start()
    least, most = (future.result(PATIENCE_S).gpu_s for future in (one, three))
    assert 1.5 * least < most
    assert 0.6 <= least + most < 0.5 + engine.stats().step_s
    engine.close(wait=True)
    engine = Engine(Planted(decode_fault=wait_a_while))
    engine.start()
    assert engine.submit(job(), unheard).result(PATIENCE_S).gpu_s >= 0.2
    engine.close(wait=True)


def test_what_is_left_is_told_by_the_steps_since_the_first() -> None:
    ticket = Ticket[Any](job(), BatchKey(8, 8, "fake"), unheard, submitted_s=0.0)
    told = [ticket.progress(step, 10, now_s, None).eta_s for step, now_s in ((1, 100.0), (2, 101.0), (4, 106.0))]
    assert told == [None, 8.0, 12.0]


def test_preparing_is_being_busy() -> None:
    assert Stats(up_s=10, step_s=2, prepare_s=3).busy_share == 0.5


def test_closing_finishes_what_is_in_flight_when_asked_to() -> None:
    runner = Planted()
    engine: Engine[Any, Any] = Engine(runner)
    engine.start()
    futures = [engine.submit(job(id=str(k)), unheard) for k in range(40)]
    engine.close(wait=True)
    assert all(len(future.result(0).pictures) == 1 for future in futures)
    assert runner.closed
    assert isinstance(engine.submit(job(), unheard).exception(0), Unavailable)


def test_closing_at_once_fails_what_is_in_flight_as_worth_another_try() -> None:
    gate = threading.Event()
    engine: Engine[Any, Any] = Engine(FakeRunner(pace=lambda: gate.wait(PATIENCE_S)))
    engine.start()
    stepping = engine.submit(job(steps=1000), unheard)
    closer = threading.Thread(target=lambda: engine.close(wait=False))
    closer.start()
    gate.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    assert isinstance(stepping.exception(0), Stopped)


def test_a_caller_that_raises_harms_only_its_own_job() -> None:
    def rude(_: Progress) -> None:
        raise ValueError("never raise here")

    with running(FakeRunner()) as engine:
        bad, good = engine.submit(job(), rude), engine.submit(job(), unheard)
        assert isinstance(bad.exception(PATIENCE_S), InternalFault)
        assert len(good.result(PATIENCE_S).pictures) == 1


def test_many_threads_may_submit() -> None:
    futures: list[Future[Painting]] = []
    with running(FakeRunner()) as engine:

        def submit_some() -> None:
            futures.extend(engine.submit(job(id=str(k), images=1 + k % 8), unheard) for k in range(50))

        threads = [threading.Thread(target=submit_some) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not wait(futures, PATIENCE_S).not_done
    assert sum(len(future.result().pictures) for future in futures) == 8 * sum(1 + k % 8 for k in range(50))
