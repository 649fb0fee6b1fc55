"""Promises about tenants with limits: they wait for themselves, and nobody else waits for them."""

import pytest

from shared.errors import QueueFull, TooManyQueued
from shared.queue import commands, keys
from shared.queue.records import Outcome
from shared.queue.states import Lane, State
from tests.integration.queue.line import PASSING, Line


def submit(line: Line, *ids: str, tenant: str = "ann", most: int = 2) -> None:
    for id in ids:
        line.submit(id, tenant, max_running=most)


def test_no_more_run_than_may_and_the_next_waits_without_being_in_the_way(line: Line) -> None:
    submit(line, "a", "b", "c", "d")
    line.submit("other", "bob")
    assert sorted(line.take().id for _ in range(3)) == ["a", "b", "other"]
    assert line.claim() is None
    assert [line.view(id).position for id in ("c", "d")] == [0, 1]
    fleet = line.do(commands.fleet())
    assert (fleet.queued, fleet.parked, fleet.running) == (2, 2, 3)


def test_when_one_ends_the_next_goes_on_in_order(line: Line) -> None:
    submit(line, "a", "b", "c", "d")
    first, second = line.take(), line.take()
    assert line.claim() is None
    line.lose_rings()
    line.finish(second)
    assert line.rings() > 0
    third = line.take()
    assert (third.id, line.claim()) == ("c", None)
    line.finish(first)
    assert line.take().id == "d"


def test_a_rescuer_lets_nobody_out_for_room_that_is_promised(line: Line) -> None:
    submit(line, *"abcdefgh")
    first, second = line.take(), line.take()
    assert line.claim() is None
    line.finish(first)
    line.finish(second)
    ready = line.do(commands.fleet()).queued - line.do(commands.fleet()).parked
    for _ in range(5):
        line.rescue()
    fleet = line.do(commands.fleet())
    assert fleet.queued - fleet.parked == ready


@pytest.mark.parametrize("how", ["finish", "release", "rescue", "retry later"])
def test_whatever_ends_an_attempt_makes_room(line: Line, how: str) -> None:
    submit(line, "a", "b", most=1)
    held = line.take()
    assert line.claim() is None
    match how:
        case "finish":
            line.finish(held)
        case "release":
            line.release(held)
        case "rescue":
            line.lapse("a")
            line.rescue()
        case _:
            line.finish(held, PASSING, retry_delay_ms=60_000)
    assert line.take().id == ("b" if how in ("finish", "retry later") else "a")
    assert line.claim() is None


@pytest.mark.parametrize("how", ["is cancelled", "times out", "times out at its turn"])
def test_one_that_ends_in_the_queue_lets_the_next_out_of_its_place(line: Line, how: str) -> None:
    for id in ("a", "b", "c"):
        line.submit(id, max_running=1, start_timeout_ms=60_000)
    held = line.take()
    assert line.claim() is None
    line.finish(held)  # room for "b", and no more
    if how == "is cancelled":
        line.cancel("b")
    else:
        line.run_out("b", "start_by")
    if how == "times out":
        line.expire()
    assert line.take().id == "c"


def test_what_returns_goes_before_what_was_parked_behind_it(line: Line) -> None:
    submit(line, "a", "b", "c", most=1)
    for expected in ("a", "a", "a"):
        held = line.take()
        assert (held.id, line.claim()) == (expected, None)
        line.release(held)
    assert [line.view(id).position for id in ("a", "b", "c")] == [0, 1, 2]


def test_a_tenants_normal_request_goes_before_its_parked_low_ones(line: Line) -> None:
    submit(line, "a", most=1)
    held = line.take()
    line.submit("low", max_running=1, lane=Lane.LOW)
    assert line.claim() is None
    line.submit("normal", max_running=1)
    line.finish(held)
    assert line.take().id == "normal"


def test_a_parked_request_can_be_cancelled_and_can_time_out(line: Line) -> None:
    submit(line, "a", "b", most=1)
    line.submit("c", max_running=1, start_timeout_ms=60_000)
    line.take()
    assert line.claim() is None
    line.cancel("b")
    line.run_out("c", "start_by")
    assert line.expire() == 1
    assert [line.view(id).state for id in ("b", "c")] == [State.CANCELLED, State.FAILED]
    assert line.redis.execute_command("EXISTS", keys.PARKED + "ann") == 0
    line.rescue()
    assert line.redis.execute_command("EXISTS", keys.PARKING) == 0


def test_a_long_row_of_parked_ones_is_passed_in_turns(line: Line) -> None:
    for number in range(150):
        submit(line, f"r{number:03}", most=1)
    line.take()
    line.submit("other", "bob", lane=Lane.LOW)
    line.submit("avoided", "cid")
    line.lose_rings()
    assert line.claim(avoided=["cid"]) is None
    assert line.rings() == 1
    attempt = line.claim(avoided=["cid"])
    assert attempt is not None
    assert attempt.held.id == "other"


def test_what_another_version_did_not_count_is_found_by_the_rescuer(line: Line) -> None:
    """An older worker ends requests without telling the count; and one that was deleted ends nothing."""
    submit(line, "a", "b", "c", most=1)
    line.take()
    assert line.claim() is None
    line.redis.execute_command("HSET", keys.request("a"), "state", "succeeded")
    line.redis.execute_command("ZREM", keys.LEASES, "a")
    line.redis.execute_command("DEL", keys.request("b"), keys.events("b"))
    assert line.claim() is None
    line.rescue()
    assert line.take().id == "c"
    line.redis.execute_command("DEL", keys.request("a"), keys.events("a"))


def test_what_another_version_queued_or_took_is_found(line: Line) -> None:
    """It knows no rows: what it queues is in none, and what it takes stays in one."""
    for id in ("a", "b"):
        line.submit(id)
    line.redis.execute_command("DEL", keys.HEADS, keys.ROW + "0:0:ann")
    assert line.claim() is None
    line.rescue()
    line.redis.execute_command("ZREM", keys.QUEUE, "a")
    line.redis.execute_command("HSET", keys.request("a"), "state", "running")
    assert line.take().id == "b"
    assert line.redis.execute_command("EXISTS", keys.HEADS, keys.ROW + "0:0:ann") == 0
    line.redis.execute_command("DEL", keys.request("a"), keys.events("a"))


def test_beyond_its_limit_a_tenants_submit_is_refused_and_nothing_is_written(line: Line) -> None:
    for id in ("a", "b", "c"):
        line.submit(id, max_queued=3, max_running=1, lane=Lane.LOW if id == "b" else Lane.NORMAL)
    with pytest.raises(TooManyQueued):
        line.submit("d", max_queued=3)
    assert line.do(commands.view("d")) is None
    line.submit("other", "bob", max_queued=3)
    line.take()
    line.submit("d", max_queued=3)
    with pytest.raises(TooManyQueued):
        line.submit("e", max_queued=3)


def delete(line: Line, id: str) -> None:
    line.redis.execute_command("DEL", keys.request(id), keys.events(id))


def test_what_somebody_deleted_leaves_the_counts_at_its_turn(line: Line) -> None:
    line.submit("gone", steps=5)
    line.submit("a", steps=2)
    delete(line, "gone")
    held = line.take()
    assert line.redis.execute_command("EXISTS", keys.TENANT + "0:ann") == 0
    line.rescue()
    assert line.do(commands.fleet()).queued_cost == 0
    line.finish(held)


@pytest.mark.parametrize("how", ["ready", "parked", "delayed"])
def test_what_somebody_deleted_keeps_nobody_out(line: Line, how: str) -> None:
    line.submit("first", max_running=1)
    held = line.take()
    line.submit("gone", max_running=1)
    if how == "parked":
        assert line.claim() is None
    if how == "delayed":
        line.finish(held)
        line.finish(line.take(), PASSING, retry_delay_ms=60_000)
        line.come_due("gone")
    delete(line, "gone")
    line.submit("a", max_queued=1)
    with pytest.raises(TooManyQueued):
        line.submit("b", max_queued=1)
    line.rescue()
    assert line.take().id == "a"


def test_a_refusal_that_is_born_failed_waits_nowhere(line: Line) -> None:
    line.submit("a", max_queued=1)
    line.submit("b", max_queued=1, rejection=Outcome(State.FAILED, 422, "{}"))
    assert line.result("b").status == 422


def test_a_repeated_submit_is_answered_although_the_limit_is_reached(line: Line) -> None:
    line.submit("a", max_queued=1, idempotency_key="k", body_sha256="1")
    assert line.submit("b", max_queued=1, idempotency_key="k", body_sha256="1").id == "a"
    assert line.submit("a", max_queued=1).id == "a"


def test_what_is_parked_counts_for_a_call_that_wants_a_short_queue(line: Line) -> None:
    submit(line, "a", "b", "c", most=1)
    line.take()
    assert line.claim() is None
    with pytest.raises(QueueFull):
        line.submit("d", "bob", max_queue_length=1)
