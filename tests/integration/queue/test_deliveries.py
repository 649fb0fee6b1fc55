"""Promises of deliver and settle, of the agreed store, and of the files that expire."""

from dataclasses import replace

import pytest

from shared.queue import commands, keys
from shared.queue.records import Delivery, Outcome
from shared.queue.scripts import UNTOLD_TTL_S
from shared.queue.states import State
from tests.integration.queue.line import RETENTION_S, SUCCESS, Line

SOON_MS = 60_000
FILE = "results/a/c/result.json"
LARGE = replace(SUCCESS, body="", body_key=FILE)


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


@pytest.mark.parametrize("verdict", [{"delivered": True}, {}], ids=["delivered", "given up"])
def test_a_result_that_is_a_file_stays_until_its_webhook_is_settled(line: Line, verdict: dict[str, bool]) -> None:
    line.submit("a", webhook_url="http://hook")
    began_ms = line.view("a").now_ms
    line.do(commands.expect_files([FILE], began_ms + RETENTION_S * 1000))
    line.finish(line.take(), LARGE)
    until_settled = pytest.approx(began_ms + UNTOLD_TTL_S * 1000, abs=5000)
    assert line.due_ms(FILE) == until_settled
    take(line)
    settle(line, 1, retry_in_ms=SOON_MS)
    assert line.due_ms(FILE) == until_settled
    pass_time(line, "a")
    take(line)
    settle(line, 2, **verdict)
    assert line.due_ms(FILE) == pytest.approx(began_ms + RETENTION_S * 1000, abs=5000)


def test_a_result_that_is_a_file_lives_as_long_as_was_said_where_nobody_is_to_be_told(line: Line) -> None:
    line.submit("a")
    line.do(commands.expect_files([FILE], 5))
    line.finish(line.take(), LARGE)
    assert line.due_ms(FILE) == 5


def test_a_file_that_is_gone_is_not_expected_again(line: Line) -> None:
    line.submit("a", webhook_url="http://hook")
    line.finish(line.take(), LARGE)
    take(line)
    settle(line, 1, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.FILES) == 0


@pytest.mark.parametrize("outcome", [SUCCESS, LARGE], ids=["inside", "a file"])
def test_one_past_its_own_life_is_kept_for_its_webhook_only(line: Line, outcome: Outcome) -> None:
    line.submit("a", webhook_url="http://hook")
    line.finish(line.take(), outcome)
    assert line.do(commands.result("a")) is not None
    line.redis.execute_command("HSET", keys.request("a"), "expires", line.view("a").now_ms)
    assert line.do(commands.result("a")) is None
    [delivery] = take(line)
    assert (delivery.body, delivery.body_key) == (outcome.body, outcome.body_key)


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


def test_what_a_receiver_has_taken_is_done_whichever_attempt_says_so(line: Line, due: Delivery) -> None:
    pass_time(line, "a")
    take(line)
    settle(line, 1, delivered=True)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0
    assert line.ttl_s(keys.request("a")) == pytest.approx(RETENTION_S, abs=1)


@pytest.mark.parametrize("retry_in_ms", [SOON_MS, None], ids=["failed", "given up"])
def test_what_another_attempt_says_after_that_is_ignored(line: Line, due: Delivery, retry_in_ms: int | None) -> None:
    pass_time(line, "a")
    take(line)
    settle(line, 1, delivered=True)
    settle(line, 2, retry_in_ms=retry_in_ms)
    assert line.redis.execute_command("EXISTS", keys.WEBHOOKS) == 0
    assert line.field("a", "webhook_delivered") == "1"


def test_one_that_was_given_up_stays_so(line: Line, due: Delivery) -> None:
    pass_time(line, "a")
    take(line)
    settle(line, 2)
    settle(line, 1, delivered=True)
    assert line.field("a", "webhook_delivered") == "0"


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


def test_a_file_that_is_not_due_is_forgotten_only_on_purpose(line: Line) -> None:
    line.do(commands.expect_files(["old"], 1000))
    line.do(commands.expect_files(["new"], 10**15))
    files = ["old", "new", "never/there"]
    assert line.do(commands.forget_files(files, only_due=True)) == 1
    assert line.due_ms("new") == 10**15
    assert line.do(commands.forget_files(files)) == 1
    assert line.redis.execute_command("EXISTS", keys.FILES) == 0
