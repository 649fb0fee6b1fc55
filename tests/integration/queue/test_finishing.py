"""Promises of finish, release and cancel: one effective completion, and a cancelled request never succeeds."""

from dataclasses import replace

import pytest

from shared.errors import Cancelled
from shared.queue import commands, keys
from shared.queue.faults import outcome_of
from shared.queue.records import Cancellation, Finish, Held, Lease, Note, Outcome
from shared.queue.scripts import MAX_ATTEMPTS, UNKEPT_TTL_S, UNTOLD_TTL_S
from shared.queue.states import State
from tests.integration.queue.line import PASSING, SUCCESS, Line


@pytest.fixture
def held(line: Line) -> Held:
    line.submit("a", webhook_url="http://hook", start_timeout_ms=600_000)
    return line.take()


def test_a_success_writes_result_event_webhook_and_ttls_at_once(line: Line, held: Held) -> None:
    assert line.finish(held) is Finish.ACCEPTED
    result, view = line.result("a"), line.view("a")
    assert (result.state, result.status, result.body) == (State.SUCCEEDED, 200, SUCCESS.body)
    assert (view.inference_s, view.gpu_s, view.error, view.error_type) == (2.5, 1.25, None, None)
    assert view.finished_ms is not None
    assert line.states("a") == ["queued", "running", "succeeded"]
    assert line.ttl_s(keys.request("a")) == line.ttl_s(keys.events("a")) == UNTOLD_TTL_S
    assert [d.id for d in line.do(commands.deliver(limit=9, lease_ms=1000))] == ["a"]


def test_a_large_result_is_named_and_not_kept(line: Line, held: Held) -> None:
    line.finish(held, replace(SUCCESS, body="", body_key="results/a/c/result.json"))
    assert (line.result("a").body, line.result("a").body_key) == ("", "results/a/c/result.json")


def test_any_text_comes_back_as_it_was(line: Line, held: Held) -> None:
    body = '{"prompt": "一张\\u0000 \\" \\\\ 🐶\t]]", "n": 17454220438242315174}'
    line.finish(held, replace(SUCCESS, body=body))
    assert line.result("a").body == body


@pytest.mark.parametrize("stranger", [Held("a", 1, "other"), Held("a", 2, "claim-1"), Held("b", 1, "claim-1")], ids=str)
def test_only_the_holder_can_write(line: Line, held: Held, stranger: Held) -> None:
    assert line.finish(stranger) is Finish.LOST
    assert line.release(stranger) is Finish.LOST
    assert line.report(stranger, step=1, steps=2) is Lease.LOST
    assert line.renew(stranger)[stranger.id] is Lease.LOST
    assert line.view("a").state is State.RUNNING
    assert line.states("a") == ["queued", "running"]


def test_offering_an_outcome_again_is_answered_the_same_and_changes_nothing(line: Line, held: Held) -> None:
    line.finish(held)
    before = (line.result("a"), line.events("a"))
    assert line.finish(held, replace(SUCCESS, body="other")) is Finish.ACCEPTED
    assert (line.result("a"), line.events("a")) == before


def test_a_final_request_never_changes_again(line: Line, held: Held) -> None:
    line.finish(held)
    before = (line.result("a"), line.events("a"))
    assert line.cancel("a") is Cancellation.COMPLETED
    assert line.release(held) is Finish.LOST
    assert line.report(held, message="late") is Lease.LOST
    assert (line.rescue().requeued, line.expire(), line.claim()) == (0, 0, None)
    assert (line.result("a"), line.events("a")) == before


def test_a_passing_fault_starts_another_attempt_at_the_old_place(line: Line, held: Held) -> None:
    line.submit("b")
    line.lose_rings()
    assert line.finish(held, PASSING) is Finish.REQUEUED
    assert (line.view("a").position, line.view("b").position) == (0, 1)
    assert line.rings() == 1
    again = line.take()
    assert (again.id, again.number, line.view("a").attempts) == ("a", 2, 2)
    assert line.do(commands.deliver(limit=9, lease_ms=1000)) == []


def test_a_delayed_retry_keeps_its_place_but_waits(line: Line, held: Held) -> None:
    line.submit("b")
    assert line.finish(held, PASSING, retry_delay_ms=60_000) is Finish.REQUEUED
    assert line.view("a").state is State.QUEUED
    assert (line.view("a").position, line.view("b").position) == (0, 0)
    line.submit("c")
    assert line.take().id == "b"
    line.come_due("a")
    line.rescue()
    assert (line.view("a").position, line.view("c").position) == (0, 1)
    assert line.take().id == "a"


def test_a_delayed_retry_can_be_cancelled_and_can_time_out(line: Line, held: Held) -> None:
    line.submit("b", start_timeout_ms=60_000)
    line.finish(line.take(), PASSING, retry_delay_ms=60_000)
    line.finish(held, PASSING, retry_delay_ms=60_000)
    assert line.cancel("a") is Cancellation.CANCELLED
    line.run_out("b", "start_by")
    assert line.expire() == 1
    assert line.result("b").start_timed_out
    assert line.rescue().rung == 0


def test_attempts_end_after_ten(line: Line, held: Held) -> None:
    finishes = [line.finish(held, PASSING)]
    while finishes[-1] is Finish.REQUEUED:
        finishes.append(line.finish(line.take(), PASSING))
    assert len(finishes) == MAX_ATTEMPTS
    assert (line.result("a").state, line.result("a").status) == (State.FAILED, 503)
    assert line.view("a").error_type == PASSING.error_type


def test_no_retry_means_the_first_fault_is_final(line: Line) -> None:
    line.submit("a", retry=False)
    assert line.finish(line.take(), PASSING) is Finish.ACCEPTED
    assert line.result("a").state is State.FAILED


def test_a_release_burns_neither_counter_and_keeps_the_place(line: Line, held: Held) -> None:
    line.submit("b")
    line.lose_rings()
    for _ in range(MAX_ATTEMPTS + 2):
        assert line.release(held) is Finish.REQUEUED
        assert (line.view("a").attempts, line.field("a", "crashes"), line.view("a").position) == (0, "0", 0)
        held = line.take()
    assert held.number == MAX_ATTEMPTS + 3
    assert line.rings() > 0
    assert line.finish(held, PASSING) is Finish.REQUEUED


def test_a_released_request_can_no_longer_be_written_by_its_old_holder(line: Line, held: Held) -> None:
    line.release(held)
    assert line.finish(held) is Finish.LOST
    line.take("other")
    assert line.finish(held) is Finish.LOST


def test_a_queued_request_is_cancelled_at_once_and_never_starts(line: Line) -> None:
    line.submit("a", webhook_url="http://hook")
    line.submit("b")
    assert line.cancel("a") is Cancellation.CANCELLED
    result = line.result("a")
    assert (result.state, result.status, result.error_type) == (State.CANCELLED, 499, "client_cancelled")
    assert result.body == '{"detail": "Request was cancelled", "error_type": "client_cancelled"}'
    assert line.states("a") == ["queued", "cancelled"]
    assert line.view("b").position == 0
    assert [d.id for d in line.do(commands.deliver(limit=9, lease_ms=1000))] == ["a"]
    assert (line.take().id, line.claim()) == ("b", None)


def test_a_running_request_whose_cancel_was_asked_never_succeeds(line: Line, held: Held) -> None:
    assert line.cancel("a") is Cancellation.REQUESTED
    assert line.cancel("a") is Cancellation.REQUESTED
    view = line.view("a")
    assert (view.state, view.cancel_requested) == (State.RUNNING, True)
    assert [event.message for event in line.events("a") if event.message] == ["Cancellation requested"]
    assert line.finish(held) is Finish.CANCELLED
    assert line.finish(held) is Finish.CANCELLED
    assert (line.result("a").state, line.result("a").status) == (State.CANCELLED, 499)


@pytest.mark.parametrize("outcome", [PASSING, outcome_of(Cancelled())], ids=["fault", "cancelled"])
def test_whatever_is_offered_a_cancelled_request_is_cancelled(line: Line, held: Held, outcome: Outcome) -> None:
    line.cancel("a")
    assert line.finish(held, outcome) is Finish.CANCELLED
    assert line.result("a").state is State.CANCELLED


def test_a_cancelled_request_is_not_released_into_the_queue(line: Line, held: Held) -> None:
    line.cancel("a")
    assert line.release(held) is Finish.CANCELLED
    assert line.result("a").state is State.CANCELLED


def test_the_worker_learns_of_a_cancel_by_report_and_by_renew(line: Line, held: Held) -> None:
    assert line.report(held, step=1, steps=8) is Lease.KEPT
    assert line.renew(held)["a"] is Lease.KEPT
    line.cancel("a")
    assert line.report(held, step=2, steps=8) is Lease.CANCEL
    assert line.renew(held)["a"] is Lease.CANCEL


def test_another_tenants_request_is_unknown(line: Line, held: Held) -> None:
    assert line.cancel("a", "bob") is Cancellation.UNKNOWN
    assert line.cancel("nothing") is Cancellation.UNKNOWN
    assert not line.view("a").cancel_requested


def test_what_started_in_time_and_was_given_back_is_not_late(line: Line, held: Held) -> None:
    assert line.release(held) is Finish.REQUEUED
    assert line.field("a", "start_by") is None
    assert line.redis.execute_command("EXISTS", keys.DEADLINES) == 0
    assert line.take().id == "a"


def test_what_should_not_be_kept_goes_soon_and_its_input_at_once(line: Line, held: Held) -> None:
    line.finish(held)
    line.submit("b", keep_io=False)
    line.do(commands.finish(line.take(), SUCCESS, retention_s=86_400))
    assert line.field("a", "input") is not None
    assert line.field("b", "input") is None
    assert line.ttl_s(keys.request("b")) == line.ttl_s(keys.events("b")) == UNKEPT_TTL_S


@pytest.mark.parametrize(("keep_io", "left_s"), [(False, UNKEPT_TTL_S), (True, 86_400)])
def test_the_picture_that_came_inside_goes_with_its_request(line: Line, keep_io: bool, left_s: int) -> None:
    own, anothers = "inputs/some-id/0123", "uploads/4567/cat.png"
    line.do(commands.expect_files([own, anothers], 9_000_000_000_000))
    for id, key in (("some-id", own), ("other-id", anothers)):
        line.submit(id, keep_io=keep_io, image_key=key)
        line.do(commands.cancel(id, "ann", retention_s=86_400))
    finished_ms = line.view("some-id").finished_ms
    assert finished_ms is not None
    assert line.due_ms(own) == finished_ms + left_s * 1000
    assert line.due_ms(anothers) == 9_000_000_000_000


def test_a_picture_that_nobody_expects_is_not_expected_again(line: Line) -> None:
    line.submit("some-id", image_key="inputs/some-id/0123")
    line.cancel("some-id")
    assert line.redis.execute_command("EXISTS", keys.FILES) == 0


def test_progress_and_log_lines_are_history(line: Line, held: Held) -> None:
    line.report(held, step=3, steps=8)
    line.report(held, message="half way", level="WARN")
    line.report(held, step=4, steps=8, message="both")
    told = [(e.state, e.step, e.steps, e.message, e.level) for e in line.events("a")[2:]]
    assert told == [
        (State.RUNNING, 3, 8, None, None),
        (State.RUNNING, None, None, "half way", "WARN"),
        (State.RUNNING, 4, 8, "both", "INFO"),
    ]
    assert (line.view("a").step, line.view("a").steps) == (4, 8)
    line.release(held)
    assert line.view("a").step == 0


def test_the_last_note_comes_with_the_outcome_and_once(line: Line, held: Held) -> None:
    last = Note(step=8, steps=8, message="done")
    assert line.finish(held, last=last) is Finish.ACCEPTED
    assert line.finish(held, last=last) is Finish.ACCEPTED
    told = [(e.state, e.step, e.message) for e in line.events("a")[2:]]
    assert told == [(State.RUNNING, 8, "done"), (State.SUCCEEDED, None, None)]
    assert (line.view("a").step, line.view("a").steps) == (8, 8)


def test_a_note_with_an_outcome_that_is_refused_is_not_told(line: Line, held: Held) -> None:
    line.release(held)
    before = line.events("a")
    assert line.finish(held, last=Note(message="too late")) is Finish.LOST
    assert line.events("a") == before


def test_history_resumes_after_any_entry_without_a_gap(line: Line, held: Held) -> None:
    for step in range(1, 6):
        line.report(held, step=step, steps=5)
    history = line.events("a")
    for number, event in enumerate(history):
        assert line.events("a", after=event.id) == history[number + 1 :]
    assert line.do(commands.events("a", limit=2)) == history[:2]


@pytest.mark.parametrize("nonsense", ["", "abc", "1-2-3", "(5", "$", "9" * 30])
def test_a_last_event_id_that_is_none_reads_from_the_start(line: Line, held: Held, nonsense: str) -> None:
    assert line.events("a", after=nonsense) == line.events("a")
