"""Promises of renew and rescue: what a dead worker held runs again, poison does not, and no doorbell is missed."""

from typing import cast

import pytest

from shared.queue import commands, doorbell, keys
from shared.queue.records import Cancellation, Finish, Held, Lease, Rescue
from shared.queue.scripts import MAX_ATTEMPTS, SILENCE_MS, UNTOLD_TTL_S
from shared.queue.states import State
from tests.integration.queue.line import LEASE_MS, PASSING, RETENTION_S, Line

NOTHING = Rescue(requeued=0, failed=0, cancelled=0, rung=0)


@pytest.fixture
def held(line: Line) -> Held:
    line.submit("a", webhook_url="http://hook")
    return line.take()


def test_a_kept_lease_is_left_alone(line: Line, held: Held) -> None:
    assert line.renew(held) == {"a": Lease.KEPT}
    line.lose_rings()
    assert line.rescue() == NOTHING


def test_renewing_extends_the_lease_and_the_presence(line: Line, held: Held) -> None:
    line.lapse("a")
    assert line.renew(held) == {"a": Lease.KEPT}
    assert line.rescue().requeued == 0
    left_ms = line.redis.execute_command("PTTL", keys.WORKER + "w")
    assert isinstance(left_ms, int)
    assert 0 < left_ms <= LEASE_MS


def test_an_expired_lease_returns_the_request_to_its_old_place(line: Line, held: Held) -> None:
    line.submit("b")
    line.lose_rings()
    line.lapse("a")
    assert line.rescue().requeued == 1
    assert (line.view("a").state, line.view("a").position, line.view("b").position) == (State.QUEUED, 0, 1)
    assert line.rings() > 0
    assert line.take("other").number == 2


def test_the_woken_zombie_is_refused(line: Line, held: Held) -> None:
    line.lapse("a")
    line.rescue()
    assert line.finish(held) is Finish.LOST
    heir = line.take("other")
    assert (line.finish(held), line.release(held)) == (Finish.LOST, Finish.LOST)
    assert line.renew(held) == {"a": Lease.LOST}
    assert line.report(held, step=1, steps=2) is Lease.LOST
    assert line.finish(heir) is Finish.ACCEPTED


def test_three_crashes_are_poison_and_the_input_stays_for_the_operator(line: Line, held: Held) -> None:
    for _ in range(2):
        line.lapse("a")
        assert line.rescue().requeued == 1
        held = line.take()
    line.lapse("a")
    assert line.rescue().failed == 1
    result = line.result("a")
    assert (result.state, result.status, result.error_type) == (State.FAILED, 503, "runner_disconnected")
    assert line.field("a", "input") is not None
    assert line.finish(held) is Finish.LOST
    assert line.ttl_s(keys.request("a")) == UNTOLD_TTL_S
    assert [d.id for d in line.do(commands.deliver(limit=9, lease_ms=1000))] == ["a"]


def test_what_a_living_worker_dropped_is_no_crash(line: Line) -> None:
    """It would have renewed what it holds: Redis was away for longer than its fence, or the claim's answer was lost."""
    line.submit("a", retry=False)
    for _ in range(MAX_ATTEMPTS + 2):
        held = line.take()
        line.renew(worker="w")
        line.lapse("a")
        assert line.rescue().requeued == 1
        assert (line.field("a", "crashes"), line.view("a").attempts) == ("0", 0)
        assert line.finish(held) is Finish.LOST


def lease_ends_in_ms(line: Line, id: str) -> float:
    return ends_in_ms(line, keys.LEASES, id)


def ends_in_ms(line: Line, index: str, id: str) -> float:
    seconds, microseconds = map(int, cast("list[str]", line.redis.execute_command("TIME")))
    return float(str(line.redis.execute_command("ZSCORE", index, id))) - seconds * 1000 - microseconds / 1000


def away(line: Line, ms: int) -> None:
    """Redis was away from everybody, or its clock was set, by so much: what it remembers is that much older."""
    line.redis.execute_command("INCRBY", keys.WATCHED, -ms)
    line.redis.execute_command("ZINCRBY", keys.LEASES, -ms, "a")
    line.redis.execute_command("ZADD", keys.WORKERS, "XX", "INCR", -ms, "w")


@pytest.mark.parametrize("by_ms", [60 * LEASE_MS, -60 * LEASE_MS], ids=["away, or set forward", "set back"])
def test_time_in_which_nobody_looked_does_not_count(line: Line, held: Held, by_ms: int) -> None:
    line.rescue()
    away(line, by_ms)
    assert line.rescue().requeued == 0
    assert LEASE_MS / 2 < lease_ends_in_ms(line, "a") <= LEASE_MS
    assert line.finish(held) is Finish.ACCEPTED


@pytest.mark.parametrize("by_ms", [60 * LEASE_MS, -60 * LEASE_MS], ids=["away, or set forward", "set back"])
def test_what_speaks_before_a_rescuer_looks_is_not_taken_for_older(line: Line, held: Held, by_ms: int) -> None:
    line.renew(held)
    line.submit("b")
    line.submit("c")
    line.take()
    line.rescue()
    away(line, by_ms)
    line.redis.execute_command("ZINCRBY", keys.LEASES, -by_ms, "b")
    line.renew(held)
    line.take()
    assert line.rescue().requeued == 0
    for id in ("a", "b", "c"):
        assert LEASE_MS / 2 < lease_ends_in_ms(line, id) <= LEASE_MS


def test_a_clock_that_is_set_back_puts_nothing_off(line: Line, held: Held) -> None:
    line.finish(held)
    line.submit("b")
    line.finish(line.take(), PASSING, retry_delay_ms=LEASE_MS)
    line.rescue()
    hour_ms = 60 * LEASE_MS
    line.redis.execute_command("INCRBY", keys.WATCHED, hour_ms)
    for index, id in ((keys.WEBHOOKS, "a"), (keys.DELAYED, "b")):
        line.redis.execute_command("ZINCRBY", index, hour_ms, id)
    line.rescue()
    assert ends_in_ms(line, keys.WEBHOOKS, "a") <= 0
    assert LEASE_MS / 2 < ends_in_ms(line, keys.DELAYED, "b") <= LEASE_MS


def test_rescuers_that_are_always_late_still_see_leases_end(line: Line, held: Held) -> None:
    line.rescue()
    for _ in range(10):
        line.redis.execute_command("INCRBY", keys.WATCHED, -LEASE_MS)
        line.redis.execute_command("ZINCRBY", keys.LEASES, -LEASE_MS, "a")
        line.rescue()
    assert lease_ends_in_ms(line, "a") <= LEASE_MS - 10 * SILENCE_MS


@pytest.mark.parametrize("by_ms", [60 * LEASE_MS, -60 * LEASE_MS], ids=["away, or set forward", "set back"])
def test_a_worker_that_died_about_then_still_dies_with_its_leases(line: Line, held: Held, by_ms: int) -> None:
    line.renew(held)
    line.rescue()
    away(line, by_ms)
    line.rescue()
    for index in (keys.LEASES, keys.WORKERS):  # the time that both had left passes
        member = "a" if index == keys.LEASES else "w"
        line.redis.execute_command("ZINCRBY", index, -LEASE_MS, member)
    assert line.rescue().requeued == 1
    assert line.field("a", "crashes") == "1"


def test_the_lease_of_a_dead_worker_ends_all_the_same_after_redis_was_away(line: Line, held: Held) -> None:
    line.rescue()
    away(line, 60 * LEASE_MS)
    line.rescue()
    line.lapse("a")
    assert line.rescue().requeued == 1
    assert line.field("a", "crashes") == "1"


def test_a_request_that_may_not_be_retried_fails_with_its_worker(line: Line) -> None:
    line.submit("b", retry=False)
    line.take()
    line.lapse("b")
    assert line.rescue().failed == 1


def test_a_cancelled_request_ends_with_its_lease(line: Line, held: Held) -> None:
    assert line.cancel("a") is Cancellation.REQUESTED
    line.lapse("a")
    assert line.rescue().cancelled == 1
    assert line.result("a").state is State.CANCELLED
    assert line.finish(held) is Finish.LOST


def test_lost_doorbells_are_rung_again(line: Line) -> None:
    for id in ("a", "b", "c"):
        line.submit(id)
    line.lose_rings()
    assert line.rescue().rung == 3
    assert line.rescue().rung == 0
    assert line.rings() == 3


def test_a_long_queue_is_rung_for_up_to_the_cap(line: Line) -> None:
    for number in range(doorbell.CAP + 9):
        line.submit(f"r{number:03}")
    line.lose_rings()
    assert line.rescue().rung == doorbell.CAP


def test_a_rescue_has_a_bound_and_the_next_goes_on(line: Line) -> None:
    for number in range(5):
        line.submit(f"r{number}")
        line.lapse(line.take().id)
    rounds = [line.do(commands.rescue(retention_s=RETENTION_S, limit=2)).requeued for _ in range(4)]
    assert rounds == [2, 2, 1, 0]


def test_a_deleted_request_leaves_the_indexes(line: Line, held: Held) -> None:
    line.submit("b", start_timeout_ms=60_000)
    line.lapse("a")
    line.run_out("b", "start_by")
    for id in ("a", "b"):
        line.redis.execute_command("DEL", keys.request(id), keys.events(id))
    assert (line.expire(), line.rescue().requeued) == (1, 0)
    assert line.redis.execute_command("EXISTS", keys.LEASES, keys.DEADLINES) == 0
    assert line.claim() is None
