"""Promises of deliver and settle, of the agreed store, and of the files that expire."""

import pytest

from shared.queue import commands, keys
from shared.queue.records import Delivery
from shared.queue.scripts import UNTOLD_TTL_S
from shared.queue.states import State
from tests.integration.queue.line import RETENTION_S, SUCCESS, Line

SOON_MS = 60_000


@pytest.fixture
def due(line: Line) -> Delivery:
    line.submit("a", webhook_url="http://hook")
    line.finish(line.take())
    [delivery] = take(line)
    return delivery


def take(line: Line) -> list[Delivery]:
    return line.do(commands.deliver(limit=10, lease_ms=SOON_MS))


def pass_time(line: Line, id: str) -> None:
    line.redis.execute_command("ZADD", keys.WEBHOOKS, "XX", 1, id)


def settle(line: Line, attempt: int, *, retry_in_ms: int | None = None, delivered: bool = False) -> None:
    line.do(commands.settle("a", attempt, retry_in_ms=retry_in_ms, delivered=delivered))


def test_a_delivery_has_what_the_body_is_made_from(due: Delivery) -> None:
    assert due == Delivery("a", "ann", "http://hook", 1, State.SUCCEEDED, 200, SUCCESS.body, None, None)


def test_one_that_is_being_delivered_is_nobody_elses(line: Line, due: Delivery) -> None:
    assert take(line) == []


def test_one_whose_courier_died_is_taken_again(line: Line, due: Delivery) -> None:
    pass_time(line, "a")
    assert [d.attempt for d in take(line)] == [2]


def test_a_delivered_one_is_done(line: Line, due: Delivery) -> None:
    settle(line, 1, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0


def test_a_failed_one_comes_again_after_its_delay_with_the_next_number(line: Line, due: Delivery) -> None:
    settle(line, 1, retry_in_ms=SOON_MS)
    assert take(line) == []
    pass_time(line, "a")
    assert [d.attempt for d in take(line)] == [2]


def test_one_that_is_given_up_is_done(line: Line, due: Delivery) -> None:
    settle(line, 1)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0
    assert line.field("a", "webhook_delivered") == "0"


def test_a_request_outlives_its_webhook_however_short_its_life_is(line: Line) -> None:
    line.submit("a", webhook_url="http://hook", keep_io=False)
    line.finish(line.take())
    assert line.ttl_s(keys.request("a")) == UNTOLD_TTL_S
    take(line)
    settle(line, 1, retry_in_ms=SOON_MS)
    assert line.ttl_s(keys.request("a")) == UNTOLD_TTL_S
    pass_time(line, "a")
    take(line)
    settle(line, 2, delivered=True)
    for key in (keys.request("a"), keys.events("a")):
        assert line.ttl_s(key) == pytest.approx(RETENTION_S, abs=1)


def test_one_that_has_outlived_its_own_life_goes_with_its_webhook(line: Line, due: Delivery) -> None:
    line.redis.execute_command("HSET", keys.request("a"), "expires", 1)
    settle(line, 1, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.request("a"), keys.WEBHOOKS) == 0


def test_a_late_answer_of_an_earlier_attempt_is_ignored(line: Line, due: Delivery) -> None:
    pass_time(line, "a")
    take(line)
    settle(line, 1)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 1
    settle(line, 2, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0


def test_one_that_was_taken_but_not_tried_does_not_count(line: Line, due: Delivery) -> None:
    line.do(commands.postpone("a", 1, by_ms=SOON_MS))
    assert take(line) == []
    pass_time(line, "a")
    assert [d.attempt for d in take(line)] == [1]
    line.do(commands.postpone("a", 7, by_ms=SOON_MS))
    settle(line, 1, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0


def test_settling_writes_nothing_for_a_request_that_has_expired(line: Line, due: Delivery) -> None:
    line.redis.execute_command("DEL", keys.request("a"))
    settle(line, 1, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.request("a")) == 0
    pass_time(line, "a")
    assert take(line) == []
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0


def test_the_first_store_stays_in_force(line: Line) -> None:
    assert [line.do(commands.bind_store(id)) for id in ("one", "two", "one")] == ["one", "one", "one"]


def test_files_are_due_at_their_time_and_until_forgotten(line: Line) -> None:
    line.do(commands.expect_files(["old/a", "old/b"], 1000))
    line.do(commands.expect_files(["new"], 10**15))
    assert line.do(commands.due_files(10)) == ["old/a", "old/b"]
    assert line.do(commands.due_files(1)) == ["old/a"]
    line.do(commands.forget_files(["old/a"]))
    assert line.do(commands.due_files(10)) == ["old/b"]
    line.do(commands.expect_files(["old/b"], 10**15))
    assert line.do(commands.due_files(10)) == []
