"""The check that every test's keys go through after it: it must find what it is there for."""

import pytest

from shared.queue import keys
from tests.conftest import leaks
from tests.integration.queue.line import Line


@pytest.mark.parametrize("key", ["kolors:new", "kolors:request:a", "kolors:events:a", "kolors:idempotency:0"])
def test_a_key_for_ever_is_found(line: Line, key: str) -> None:
    line.redis.execute_command("HSET", key, "state", "failed") if "request" in key else line.redis.execute_command(
        "SET", key, "a 0"
    )
    assert leaks(line.redis) == [key]
    line.redis.execute_command("EXPIRE", key, 100)
    assert leaks(line.redis) == []


@pytest.mark.parametrize("index", [keys.QUEUE, keys.HEADS, keys.DELAYED, keys.DEADLINES, keys.WEBHOOKS])
def test_a_member_astray_is_found(line: Line, index: str) -> None:
    line.submit("a")
    line.take()
    line.redis.execute_command("ZADD", index, 1, "a")
    assert leaks(line.redis) == [f"{index}: a is running"]
    line.redis.execute_command("ZREM", index, "a")


def test_what_is_under_way_is_no_leak(line: Line) -> None:
    line.submit("a", idempotency_key="k", start_timeout_ms=60_000)
    line.submit("b")
    line.take()
    assert leaks(line.redis) == []
