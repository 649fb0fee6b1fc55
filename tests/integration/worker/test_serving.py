"""One request through a worker, from its submission to its result: real queue, real store, no model."""

import base64
import io
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, cast

import pytest
from PIL import Image

from shared.errors import DeviceLost, OutOfMemory
from shared.queue import commands, keys
from shared.queue.records import Finish, Held, Outcome
from shared.queue.states import State
from tests.conftest import Valkey
from tests.integration.queue.line import Line
from tests.integration.worker.floor import DEADLINE_S, Floor, Workplace, noise, open_workplace, png, silent_server
from worker.engine.fake import FakeRunner, FakeState
from worker.engine.job import Job
from worker.engine.protocol import BatchKey


@pytest.fixture
def workplace(floor: Floor) -> Iterator[Workplace]:
    with open_workplace(floor) as workplace:
        yield workplace


def served(floor: Floor, workplace: Workplace, *args: Any, **more: Any) -> str:
    id = floor.submit(*args, **more)
    assert workplace.station.answer() == 1
    return id


class TestSuccess:
    def test_the_result_says_what_the_endpoint_promises(self, floor: Floor, workplace: Workplace) -> None:
        output = floor.output(served(floor, workplace, prompt="一只猫", num_images=2))
        assert output["prompt"] == "一只猫"
        assert output["seed"] == 7
        assert output["has_nsfw_concepts"] == [False, False]
        assert output["timings"]["inference"] >= 0
        for k, image in enumerate(output["images"]):
            content = floor.file(image["url"])
            assert image["url"].startswith("http://here/files/results/")
            assert image["file_name"] == image["url"].rpartition("/")[2]
            assert image["file_name"].endswith(f"-{k}.png")
            assert image["file_size"] == len(content)
            assert (image["content_type"], image["width"], image["height"]) == ("image/png", 64, 64)
            picture = Image.open(io.BytesIO(content))
            assert picture.size == (64, 64)
            assert picture.info == {}, "a picture's link must not tell its prompt"

    def test_every_file_has_its_end_in_the_store_and_in_the_queue(self, floor: Floor, workplace: Workplace) -> None:
        [image] = floor.output(served(floor, workplace, file_ttl_s=100))["images"]
        key = image["url"].removeprefix("http://here/files/")
        expires_at = floor.store.stat(key).expires_at
        due_ms = floor.redis.execute_command("ZSCORE", keys.FILES, key)
        assert expires_at is not None
        assert isinstance(due_ms, float)
        assert expires_at.timestamp() * 1000 == pytest.approx(due_ms, abs=1)
        assert expires_at.timestamp() - time.time() == pytest.approx(100, abs=10)

    @pytest.mark.parametrize("more", [{}, {"sync_mode": True, "num_images": 2}])
    def test_what_should_not_be_kept_ends_after_an_hour(self, floor: Floor, more: dict[str, Any]) -> None:
        with open_workplace(floor, retention_s=86_400) as workplace:
            id = served(floor, workplace, noise((256, 256)), keep_io=False, **more)
            floor.finished(id)
        [key] = cast("list[str]", floor.redis.execute_command("ZRANGE", keys.FILES, 0, -1))
        assert id in key
        expires_at = floor.store.stat(key).expires_at
        assert expires_at is not None
        assert expires_at.timestamp() - time.time() == pytest.approx(3600, abs=10)

    @pytest.mark.parametrize("output_format", ["png", "jpeg"])
    def test_the_same_request_is_the_same_bytes_inside_the_result_and_as_a_file(
        self, floor: Floor, workplace: Workplace, output_format: str
    ) -> None:
        ids = [served(floor, workplace, sync_mode=sync, output_format=output_format) for sync in (True, False, False)]
        inline, first, second = (floor.output(id)["images"][0] for id in ids)
        head, _, coded = inline["url"].partition(",")
        assert head == f"data:image/{output_format};base64"
        assert base64.b64decode(coded) == floor.file(first["url"]) == floor.file(second["url"])
        assert first["url"] != second["url"]

    def test_a_large_result_lies_in_the_store(self, floor: Floor, workplace: Workplace) -> None:
        id = served(floor, workplace, noise((256, 256)), sync_mode=True)
        output = floor.output(id)
        result = floor.finished(id)
        assert result.body == ""
        assert result.body_key is not None
        assert len(output["images"][0]["url"]) > 64 * 1024
        stored = b"".join(floor.store.read(result.body_key)).decode()
        assert stored == json.dumps(output, sort_keys=True), "as a webhook has it"

    def test_its_history_tells_what_happened(self, floor: Floor, workplace: Workplace) -> None:
        id = served(floor, workplace, strength=1.0)
        floor.finished(id)
        events = floor.events(id)
        assert [event.state for event in events[:2]] == [State.QUEUED, State.RUNNING]
        assert events[-1].state is State.SUCCEEDED
        told = [event for event in events if event.message]
        assert (told[-1].step, told[-1].steps) == (4, 4)
        assert "100%|██████████| 4/4 [" in str(told[-1].message)
        view = floor.view(id)
        assert view.inference_s is not None
        assert view.attempts == 1

    @pytest.mark.parametrize(
        ("given", "image_size", "size"),
        [
            ((300, 200), None, (296, 200)),
            ((64, 64), "landscape_4_3", (1024, 768)),
            ((90, 64), {"width": 50}, (48, 512)),
        ],
    )
    def test_the_result_has_the_size_that_was_asked_for(
        self, floor: Floor, workplace: Workplace, given: tuple[int, int], image_size: object, size: tuple[int, int]
    ) -> None:
        [image] = floor.output(served(floor, workplace, png(given), image_size=image_size))["images"]
        assert (image["width"], image["height"]) == size

    def test_flagged_pictures_are_told(self, floor: Floor) -> None:
        with open_workplace(floor, FakeRunner(flags=lambda _, k: k == 1)) as workplace:
            output = floor.output(served(floor, workplace, num_images=2))
        assert output["has_nsfw_concepts"] == [False, True]

    def test_one_answer_serves_all_that_is_queued(self, floor: Floor, workplace: Workplace) -> None:
        ids = [floor.submit() for _ in range(5)]
        assert workplace.station.answer() == 5
        assert workplace.station.answer() == 0
        assert all(floor.finished(id).status == 200 for id in ids)


class TestBadPictures:
    @pytest.mark.parametrize(
        ("picture", "more", "kind"),
        [
            (b"<html>", {}, "image_load_error"),
            (png()[:60], {}, "image_load_error"),
            (png((8, 64)), {}, "image_too_small"),
            (png((640, 16)), {}, "image_too_large"),
            (png(), {"image_size": {"width": 9000, "height": 9000}}, "image_too_large"),
        ],
    )
    def test_are_the_callers_problem_and_the_worker_lives_on(
        self, floor: Floor, workplace: Workplace, picture: bytes, more: dict[str, Any], kind: str
    ) -> None:
        item = floor.problem(served(floor, workplace, picture, **more))
        assert item["type"] == kind
        assert item["loc"] == ["body", "image_size" if more else "image_url"]
        assert item["msg"]
        floor.output(served(floor, workplace))

    def test_too_many_pixels(self, floor: Floor) -> None:
        with open_workplace(floor, max_input_px=4096) as workplace:
            assert floor.problem(served(floor, workplace, png((65, 64))))["type"] == "image_too_large"
            floor.output(served(floor, workplace, png((64, 64))))

    def test_a_file_that_is_gone(self, floor: Floor, workplace: Workplace) -> None:
        item = floor.problem(served(floor, workplace, image_key="inputs/nothing/here"))
        assert item["type"] == "file_download_error"

    def test_a_stored_file_that_is_too_large(self, floor: Floor) -> None:
        with open_workplace(floor, max_download_bytes=2048) as workplace:
            item = floor.problem(served(floor, workplace, noise((256, 256))))
        assert (item["type"], item["ctx"]) == ("file_too_large", {"max_size": 2048})


class FailingRunner(FakeRunner):
    """Raises what it is given, one after the other, and works normally afterwards."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self._errors = list(errors)

    def prepare(self, job: Job, key: BatchKey) -> FakeState:
        if self._errors:
            raise self._errors.pop(0)
        return super().prepare(job, key)


class TestFaults:
    def test_what_nobody_expected_is_told_as_an_internal_error_only(self, floor: Floor) -> None:
        with open_workplace(floor, FailingRunner(ValueError("secret path"))) as workplace:
            result = floor.finished(served(floor, workplace))
        assert (result.state, result.status, result.error_type) == (State.FAILED, 500, "runner_server_error")
        assert "secret" not in result.body

    def test_input_that_cannot_be_read_is_an_internal_error(self, floor: Floor, workplace: Workplace) -> None:
        """The API has validated it, so it is our fault."""
        assert floor.finished(served(floor, workplace, num_images=99)).status == 500
        floor.output(served(floor, workplace))

    def test_a_passing_fault_is_tried_again(self, floor: Floor) -> None:
        with open_workplace(floor, FailingRunner(OutOfMemory(), OutOfMemory())) as workplace:
            id = served(floor, workplace)
            floor.until(id, lambda view: view.state is State.QUEUED)
            floor.until(id, lambda _: ring_for_due_retries(floor, workplace))
            assert floor.output(id)["seed"] == 7
        assert floor.view(id).attempts == 2

    def test_a_store_that_is_away_is_a_passing_fault(self, floor: Floor, workplace: Workplace) -> None:
        """A file stands where the folder of the results would be."""
        in_the_way = floor.folder / "files" / "results"
        in_the_way.write_text("")
        id = served(floor, workplace)
        assert floor.view(id).state is State.QUEUED
        in_the_way.unlink()
        floor.until(id, lambda _: ring_for_due_retries(floor, workplace))
        assert floor.output(id)["seed"] == 7


class Poisoned(FakeRunner):
    """Loses the device in a step with what is called poison, once as many as shall be have come."""

    def __init__(self, company: int) -> None:
        super().__init__()
        self._company = company
        self._prepared = 0

    def prepare(self, job: Job, key: BatchKey) -> FakeState:
        self._prepared += 1
        return super().prepare(job, key)

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        if self._prepared < self._company:
            time.sleep(0.05)
        elif any(state.job.prompt == "poison" for state in states):
            raise DeviceLost
        return super().predict(states, slots=slots)


def test_what_breaks_the_device_costs_three_workers_and_takes_nobody_with_it(floor: Floor) -> None:
    """The process lives on to say so, but the device does not: that is a crash."""
    poison = floor.submit(prompt="poison", num_inference_steps=150)
    others = [floor.submit(tenant=f"another {number}", num_inference_steps=150) for number in range(9)]
    for company in (10, 8, 1):
        assert not floor.view(poison).state.is_final
        with open_workplace(floor, Poisoned(company), concurrency=10) as workplace:
            answers = [workplace.answer() for _ in range(10)]
            assert all(answer.result(DEADLINE_S) >= 0 for answer in answers)
            assert not workplace.engine.takes_jobs
    result = floor.finished(poison)
    assert (result.state, result.status, floor.crashes(poison)) == (State.FAILED, 503, 3)
    assert [case.id for case in floor.do(commands.quarantined())] == [poison]
    with open_workplace(floor, concurrency=10) as workplace:
        for _ in others:
            workplace.answer()
        assert {floor.output(id)["seed"] for id in others} == {7}


def ring_for_due_retries(floor: Floor, workplace: Workplace) -> bool:
    """The rescuer of the workplace brings them back; a doorbell is then answered."""
    deadline_s = time.monotonic() + DEADLINE_S
    while workplace.station.answer() == 0:
        assert time.monotonic() < deadline_s
        floor.redis.execute_command("BRPOP", keys.DOORBELL, 5)
    return True


def slow_steps() -> FakeRunner:
    """As on a real device."""
    return FakeRunner(pace=lambda: time.sleep(0.02))


LONG: dict[str, Any] = {"num_inference_steps": 150, "strength": 1.0}
"""Three seconds of slow steps."""


def test_a_worker_empties_itself_for_a_suspect_and_then_goes_on(floor: Floor) -> None:
    """Nobody rings again: whoever ends the last request takes the suspect."""
    gate, line = threading.Event(), Line(floor.redis_url)
    with open_workplace(floor, FakeRunner(pace=lambda: gate.wait(DEADLINE_S))) as workplace:
        first = [floor.submit() for _ in range(2)]
        answers = [workplace.answer() for _ in first]
        for id in first:
            floor.running(id)
        suspect, last = floor.submit(), floor.submit()
        for worker in ("dead", "dead, too"):
            assert line.take(worker).id == suspect
            line.lapse(suspect)
            line.rescue()
        gate.set()
        assert {floor.output(id)["seed"] for id in (*first, suspect, last)} == {7}
        assert sum(answer.result(DEADLINE_S) for answer in answers) == 4
    line.redis.close()


class TestTime:
    def test_a_total_timeout_ends_what_is_running(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            result = floor.finished(id := served(floor, workplace, total_timeout_ms=400, **LONG))
        assert (result.status, result.error_type) == (504, "request_timeout")
        assert floor.view(id).step < 150

    def test_progress_comes_at_most_five_times_a_second(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            floor.finished(id := served(floor, workplace, num_inference_steps=50, strength=1.0))
        told = [event for event in floor.events(id) if event.step]
        assert 3 <= len(told) <= 8
        assert told[-1].step == 50
        assert [event.step for event in told] == sorted(event.step or 0 for event in told)
        assert all(later.at_ms - earlier.at_ms >= 190 for earlier, later in pairwise(told[:-1]))


class TestCancel:
    def test_a_running_request_stops_soon(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            id = floor.submit(**LONG)
            answering = workplace.answer()
            floor.until(id, lambda view: view.step > 0)
            floor.cancel(id)
            result = floor.finished(id)
            assert answering.result(DEADLINE_S) == 1
        assert (result.state, result.status, result.error_type) == (State.CANCELLED, 499, "client_cancelled")
        assert floor.view(id).step < 150

    def test_it_is_heard_without_any_renewal_or_report(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps(), lease_ms=60_000, fence_ms=59_000, renew_ms=29_000) as workplace:
            id = floor.submit(**LONG)
            workplace.answer()
            floor.until(id, lambda view: view.step > 0)
            workplace.station.reports.stop()
            floor.cancel(id)
            assert floor.finished(id).status == 499

    def test_without_its_poke_it_comes_with_the_next_renewal(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps(), renew_ms=100) as workplace:
            id = floor.submit(**LONG)
            workplace.answer()
            floor.until(id, lambda view: view.step > 0)
            workplace.station.reports.stop()
            floor.redis.execute_command("HSET", keys.request(id), "cancel_requested", 1)
            assert floor.finished(id).status == 499

    def test_a_download_is_left_behind(self, floor: Floor) -> None:
        with silent_server() as url, open_workplace(floor, egress_allow="127.0.0.1") as workplace:
            id = floor.submit(image_url=url)
            workplace.answer()
            floor.running(id)
            floor.cancel(id)
            assert floor.finished(id).status == 499


class FullRunner(FakeRunner):
    """On a device without any memory left: nothing but a new process helps."""

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        raise OutOfMemory


class TooLarge(FakeRunner):
    """A device that has no memory for larger pictures."""

    def predict(self, states: Sequence[FakeState], *, slots: int) -> Sequence[None]:
        if states[0].job.image.width > 64:
            raise OutOfMemory
        return super().predict(states, slots=slots)


class TestDrain:
    def test_what_is_not_done_in_time_goes_back_without_an_attempt(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            id = floor.submit(**LONG)
            answering = workplace.answer()
            floor.until(id, lambda view: view.step > 0)
            assert workplace.station.drain(0)
            assert answering.result(DEADLINE_S) == 1
            assert workplace.station.answer() == 0, "it claims nothing any more"
        view = floor.view(id)
        assert (view.state, view.attempts) == (State.QUEUED, 0)
        with open_workplace(floor) as another:
            another.answer()
            assert floor.output(id)["seed"] == 7

    def test_what_was_being_claimed_when_the_time_was_up_goes_back_too(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            id = floor.submit(**LONG)
            claimed, on = threading.Event(), threading.Event()
            hold = workplace.station.leases.hold

            def late(held: Held, claimed_s: float, left_s: float = 0) -> Any:
                claimed.set()
                assert on.wait(DEADLINE_S)
                return hold(held, claimed_s, left_s)

            workplace.station.leases.hold = late
            workplace.answer()
            assert claimed.wait(DEADLINE_S)
            workplace.station.admission.close()
            workplace.station.leases.release()
            on.set()
            assert workplace.station.drain(DEADLINE_S)
            view = floor.view(id)
            assert (view.state, view.attempts) == (State.QUEUED, 0)

    def test_what_is_done_in_time_is_finished(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            id = floor.submit(**LONG)
            workplace.answer()
            floor.running(id)
            assert workplace.station.drain(DEADLINE_S)
            assert floor.finished(id).status == 200

    def test_a_broken_engine_ends_the_process_when_its_requests_are_back(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps()) as workplace:
            id = floor.submit(**LONG)
            workplace.answer()
            floor.until(id, lambda view: view.step > 0)
            workplace.station.restart(0, 70)
            assert workplace.exits.get(timeout=DEADLINE_S) == 70
        view = floor.view(id)
        assert (view.state, view.attempts) == (State.QUEUED, 0)

    def test_a_broken_engine_takes_nothing_down_that_it_did_not_have(self, floor: Floor) -> None:
        with open_workplace(floor, FullRunner(), concurrency=1) as workplace:
            guilty, *others = [floor.submit(retry=False) for _ in range(5)]
            assert workplace.station.answer() == 1
            assert floor.finished(guilty).status == 503
        assert [floor.view(id).attempts for id in others] == [0] * 4

    def test_what_a_broken_engine_had_besides_goes_back_without_an_attempt(self, floor: Floor) -> None:
        with open_workplace(floor, TooLarge(pace=lambda: time.sleep(0.02))) as workplace:
            innocent = floor.submit(retry=False, **LONG)
            workplace.answer()
            floor.until(innocent, lambda view: view.step > 0)
            guilty = floor.submit(png((128, 128)), retry=False)
            workplace.answer()
            assert floor.finished(guilty).status == 503
            floor.until(innocent, lambda view: view.state is State.QUEUED)
        assert floor.view(innocent).attempts == 0

    def test_the_fleet_sees_it(self, floor: Floor, workplace: Workplace) -> None:
        workplace.station.drain(0)
        workplace.station.leases.renew()
        [presence] = floor.do(commands.fleet()).workers
        assert (presence.draining, presence.ready, presence.free_px) == (True, False, 0)
        assert presence.worker == workplace.context.worker


class TestFence:
    def test_what_cannot_be_renewed_is_dropped_before_its_lease_ends(self, floor: Floor, valkey: Valkey) -> None:
        """Redis stands still, as behind a broken network."""
        with open_workplace(floor, slow_steps(), lease_ms=2000, fence_ms=500, renew_ms=100) as workplace:
            id = floor.submit(**LONG)
            answering = workplace.answer()
            held = floor.running(id)
            os.kill(valkey.pid, signal.SIGSTOP)
            try:
                assert answering.result(DEADLINE_S) == 1
                assert workplace.engine.running_px() == 0
            finally:
                os.kill(valkey.pid, signal.SIGCONT)
            floor.until(id, lambda view: view.state is State.QUEUED)
            assert floor.do(commands.finish(held, SUCCESS, retention_s=60)) is Finish.LOST
            workplace.answer()
            assert floor.output(id)["seed"] == 7
        assert (floor.view(id).attempts, floor.crashes(id)) == (1, 0)

    def test_a_request_that_somebody_else_has_is_dropped(self, floor: Floor) -> None:
        with open_workplace(floor, slow_steps(), renew_ms=100) as workplace:
            id = floor.submit(**LONG)
            answering = workplace.answer()
            floor.until(id, lambda view: view.step > 0)
            floor.redis.execute_command("HSET", keys.request(id), "number", 2, "claim", "somebody else's")
            assert answering.result(DEADLINE_S) == 1
            assert floor.view(id).state is State.RUNNING


SUCCESS = Outcome(State.SUCCEEDED, 200, "{}")
