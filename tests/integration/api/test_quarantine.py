"""What crashed its workers is listed, tried again and discarded by one command."""

from functools import partial
from typing import Any

import pytest

from shared.queue import commands, keys
from shared.queue.states import State
from tests.integration.api.terminal import command
from tests.integration.queue.line import RETENTION_S, Line


@pytest.fixture
def line(redis_url: str) -> Line:
    return Line(redis_url)


quarantine = partial(command, "api.quarantine")


def crash(line: Line, id: str, **more: Any) -> None:
    line.submit(id, image_key=f"inputs/{id}/picture", **more)
    line.do(commands.expect_files([f"inputs/{id}/picture"], 10**15))
    for _ in range(3):
        assert line.take("doomed").id == id
        line.lapse(id)
        line.rescue()
    assert line.view(id).state is State.FAILED


def due_ms(line: Line, id: str) -> float:
    return float(str(line.redis.execute_command("ZSCORE", keys.FILES, f"inputs/{id}/picture")))


def test_what_crashed_its_workers_is_listed(redis_url: str, line: Line) -> None:
    crash(line, "a")
    crash(line, "b", keep_io=False)
    line.submit("c", "bob", retry=False)
    line.take()
    line.lapse("c")
    assert line.rescue().failed == 1, "one crash of a request that may not be tried again proves nothing"
    status, said = quarantine(redis_url, "list")
    heads, *rows = said.splitlines()
    assert (status, heads.split()[:3]) == (0, ["ID", "TENANT", "CRASHES"])
    assert [row.split()[:3] for row in rows] == [["b", "ann", "3"], ["a", "ann", "3"]]
    assert [row.split()[-2:] for row in rows] == [["no", "doomed"], ["kept", "doomed"]]


def test_a_retry_is_a_new_request_with_the_same_input(redis_url: str, line: Line) -> None:
    crash(line, "a", webhook_url="http://hook", total_timeout_ms=10**9)
    before = (line.result("a"), line.events("a"))
    status, said = quarantine(redis_url, "retry", "a")
    id = said.strip()
    assert status == 0
    attempt = line.claim()
    assert attempt is not None
    assert (attempt.held.id, attempt.held.number) == (id, 1)
    assert (attempt.tenant, attempt.input, attempt.image_key) == ("ann", '{"prompt": "狗"}', "inputs/a/picture")
    assert (line.result("a"), line.events("a")) == before, "what is final stays as it is"
    assert line.do(commands.quarantined()) == []
    line.finish(attempt.held)
    told = [delivery.id for delivery in line.do(commands.deliver(limit=9, lease_ms=1000))]
    assert told == ["a"], "nobody is told of an id that they do not know"


def test_a_discarded_one_is_struck_off_and_its_input_goes(redis_url: str, line: Line) -> None:
    crash(line, "a")
    assert quarantine(redis_url, "discard", "a") == (0, "")
    assert line.do(commands.quarantined()) == []
    assert line.field("a", "input") is None
    assert line.do(commands.due_files(9)) == ["inputs/a/picture"]
    assert line.result("a").status == 503


def test_the_picture_lives_on_for_a_retry(redis_url: str, line: Line) -> None:
    crash(line, "a")
    line.do(commands.expect_files(["inputs/a/picture"], 1))
    assert quarantine(redis_url, "retry", "a")[0] == 0
    assert line.do(commands.due_files(9)) == []
    line.finish(line.take())


def test_a_retry_shortens_no_files_life(redis_url: str, line: Line) -> None:
    crash(line, "a")
    line.do(commands.expect_files(["inputs/a/picture"], 10**15))
    assert quarantine(redis_url, "retry", "a")[0] == 0
    assert due_ms(line, "a") == 10**15
    line.finish(line.take())


def test_what_is_past_its_life_is_not_kept_in_mind(line: Line) -> None:
    crash(line, "a")
    line.redis.execute_command("ZADD", keys.QUARANTINE, "INCR", -1000 * RETENTION_S - 1, "a")
    line.rescue()
    assert line.redis.execute_command("EXISTS", keys.QUARANTINE) == 0


def test_more_than_are_listed_can_be_reached(redis_url: str, line: Line) -> None:
    crash(line, "a")
    later = [word for number in range(1000) for word in (10**15 + number, f"gone-{number}")]
    line.redis.execute_command("ZADD", keys.QUARANTINE, *later)
    assert quarantine(redis_url, "discard", "a") == (0, "")


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_what_is_not_there_is_said(redis_url: str, line: Line, verb: str) -> None:
    line.submit("a")
    assert quarantine(redis_url, verb, "a") == (1, "a is not in quarantine\n")
    line.finish(line.take())


def test_without_its_input_nothing_can_be_tried_again(redis_url: str, line: Line) -> None:
    crash(line, "a", keep_io=False)
    status, said = quarantine(redis_url, "retry", "a")
    assert (status, "was not kept" in said) == (1, True)


def test_one_that_is_past_its_retention_is_listed_no_more(line: Line) -> None:
    crash(line, "a")
    line.redis.execute_command("DEL", keys.request("a"), keys.events("a"))
    assert line.do(commands.quarantined()) == []
    assert line.redis.execute_command("EXISTS", keys.QUARANTINE) == 0


def test_without_redis_it_says_so() -> None:
    assert quarantine("redis://127.0.0.1:1/0", "list")[0] == 1
