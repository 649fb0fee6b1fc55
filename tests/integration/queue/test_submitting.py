"""Promises of submit: everything or nothing, once per Idempotency-Key, and a rejection is born failed."""

import pytest

from shared.errors import IdempotencyConflict, QueueFull
from shared.queue import commands, doorbell, keys
from shared.queue.records import Outcome
from shared.queue.scripts import HELD_TTL_S, UNKEPT_TTL_S, UNTOLD_TTL_S, WAITING_TTL_S
from shared.queue.states import Lane, State
from tests.integration.queue.line import MEGAPIXEL, RETENTION_S, SUCCESS, Line

REJECTION = Outcome(State.FAILED, 422, '{"detail": []}', error="Field required", error_type=None)


def test_a_receipt_says_how_many_are_ahead(line: Line) -> None:
    assert [line.submit(id).position for id in ("a", "b", "c")] == [0, 1, 2]


def test_a_queued_request_has_everything_that_it_came_with(line: Line) -> None:
    line.submit("a", image_key="inputs/a/1", file_ttl_s=77, total_timeout_ms=90_000)
    attempt = line.claim()
    assert attempt is not None
    assert (attempt.tenant, attempt.input, attempt.image_key) == ("ann", '{"prompt": "狗"}', "inputs/a/1")
    assert (attempt.base, attempt.cost_px, attempt.file_ttl_s) == ("http://here", MEGAPIXEL, 77)
    assert attempt.total_timeout_ms is not None
    assert 0 < attempt.total_timeout_ms <= 90_000


def test_work_and_doorbell_appear_together(line: Line) -> None:
    line.submit("a")
    assert line.rings() == 1


def test_no_more_rings_wait_than_could_be_answered(line: Line) -> None:
    for number in range(doorbell.CAP + 5):
        line.submit(f"r{number:03}")
    assert line.rings() == doorbell.CAP


def test_submitting_the_same_id_again_changes_nothing(line: Line) -> None:
    line.submit("a")
    line.submit("b")
    assert line.submit("b").position == 1
    assert line.states("b") == ["queued"]
    assert line.do(commands.fleet()).queued == 2


def test_one_key_and_body_make_one_request(line: Line) -> None:
    first = line.submit("a", idempotency_key="k", body_sha256="1")
    again = line.submit("b", idempotency_key="k", body_sha256="1")
    assert (first.replayed, again.replayed, again.id) == (False, True, "a")
    assert line.do(commands.view("b")) is None


def test_one_key_with_another_body_is_a_conflict_and_writes_nothing(line: Line) -> None:
    line.submit("a", idempotency_key="k", body_sha256="1")
    with pytest.raises(IdempotencyConflict):
        line.submit("b", idempotency_key="k", body_sha256="2")
    assert line.do(commands.view("b")) is None


def test_another_tenants_key_is_another_key(line: Line) -> None:
    line.submit("a", idempotency_key="k", body_sha256="1")
    assert line.submit("b", "bob", idempotency_key="k", body_sha256="2").id == "b"


def test_a_key_answers_after_completion_and_lives_as_long_as_the_result(line: Line) -> None:
    line.submit("a", idempotency_key="k", body_sha256="1")
    key = keys.idempotency("ann", "k")
    assert line.ttl_s(key) == RETENTION_S + WAITING_TTL_S
    line.finish(line.take())
    assert line.submit("b", idempotency_key="k", body_sha256="1").id == "a"
    assert line.ttl_s(key) == line.ttl_s(keys.request("a")) == RETENTION_S


@pytest.mark.parametrize("webhook", [None, "http://hook"])
def test_a_key_outlives_a_request_whose_owner_wants_nothing_kept(line: Line, webhook: str | None) -> None:
    line.submit("a", keep_io=False, webhook_url=webhook, idempotency_key="k", body_sha256="1")
    line.do(commands.finish(line.take(), SUCCESS, retention_s=2 * UNTOLD_TTL_S))
    for delivery in line.do(commands.deliver(limit=9, lease_ms=1000)):
        line.do(commands.settle("a", delivery.attempt, retry_in_ms=None, delivered=True))
    assert line.ttl_s(keys.request("a")) == UNKEPT_TTL_S
    assert line.ttl_s(keys.idempotency("ann", "k")) == 2 * UNTOLD_TTL_S


def test_a_key_whose_request_is_gone_does_not_run_it_again(line: Line) -> None:
    line.submit("a", idempotency_key="k", body_sha256="1")
    line.finish(line.take())
    line.redis.execute_command("DEL", keys.request("a"))
    again = line.submit("b", idempotency_key="k", body_sha256="1")
    assert (again.id, again.replayed, again.position) == ("a", True, 0)
    with pytest.raises(IdempotencyConflict):
        line.submit("b", idempotency_key="k", body_sha256="2")
    assert line.claim() is None


def test_a_queue_longer_than_the_call_allows_refuses_it_and_writes_nothing(line: Line) -> None:
    line.submit("a")
    line.submit("b", max_queue_length=1)
    with pytest.raises(QueueFull):
        line.submit("c", max_queue_length=1)
    assert line.do(commands.view("c")) is None
    assert line.rings() == 2


def test_a_rejection_is_complete_at_once_with_webhook_and_ttl(line: Line) -> None:
    line.submit("a", rejection=REJECTION, webhook_url="http://hook", max_queue_length=0, idempotency_key="k")
    assert line.result("a").status == 422
    assert line.states("a") == ["failed"]
    assert [d.id for d in line.do(commands.deliver(limit=9, lease_ms=1000))] == ["a"]
    assert (line.claim(), line.rings(), line.do(commands.fleet()).queued) == (None, 0, 0)
    assert line.ttl_s(keys.request("a")) == line.ttl_s(keys.events("a")) == UNTOLD_TTL_S


def test_low_goes_behind_every_normal_request(line: Line) -> None:
    line.submit("low", lane=Lane.LOW)
    line.submit("normal")
    assert line.view("low").position == 1
    assert [line.take().id, line.take().id] == ["normal", "low"]


def test_a_picture_waits_for_its_request_only_for_a_while_and_then_as_long_as_that(line: Line) -> None:
    own, anothers = "inputs/some-id/0123", "uploads/4567/cat.png"
    for picture in (own, anothers):
        line.do(commands.hold_picture(picture))
    held_until_ms = line.due_ms(own)
    line.submit("some-id", image_key=own)
    line.submit("other-id", image_key=anothers)
    created_ms = line.view("some-id").created_ms
    assert abs(created_ms + HELD_TTL_S * 1000 - held_until_ms) < 60_000
    assert line.due_ms(own) == created_ms + (RETENTION_S + WAITING_TTL_S) * 1000
    assert abs(line.due_ms(anothers) - held_until_ms) < 60_000
