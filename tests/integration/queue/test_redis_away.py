"""When Redis is away, starting, full, read-only, slow or new: ServiceUnavailable, and no half state."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ServiceUnavailable
from shared.queue import commands
from shared.queue.commands import Command
from shared.queue.connect import open_async, open_sync
from shared.queue.execute import run, run_sync
from shared.queue.records import Receipt, Submission
from tests.conftest import Valkey
from tests.integration.queue.line import MEGAPIXEL, RETENTION_S, Line


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A server that a test may mistreat."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.kill()


def submission(id: str) -> Command[Receipt]:
    return commands.submit(
        Submission(id=id, tenant="ann", input="{}" + " " * 1000, cost_px=MEGAPIXEL, steps=1, base="http://here"),
        retention_s=RETENTION_S,
    )


def test_nobody_there() -> None:
    redis = open_sync("redis://127.0.0.1:1/0")
    with pytest.raises(ServiceUnavailable):
        run_sync(redis, commands.view("a"))


async def test_nobody_there_for_the_event_loop() -> None:
    redis = open_async("redis://127.0.0.1:1/0")
    with pytest.raises(ServiceUnavailable):
        await run(redis, commands.view("a"))
    await redis.aclose()


@pytest.mark.parametrize(
    "setting",
    [("maxmemory", "1"), ("min-replicas-to-write", "1")],
    ids=["full", "without its replicas"],
)
def test_a_write_that_redis_refuses_leaves_nothing(own: Valkey, setting: tuple[str, str]) -> None:
    redis = open_sync(own.url)
    run_sync(redis, submission("a"))
    redis.execute_command("CONFIG", "SET", *setting)
    with pytest.raises(ServiceUnavailable):
        run_sync(redis, submission("b"))
    redis.execute_command("CONFIG", "SET", setting[0], "0")
    assert run_sync(redis, commands.view("b")) is None
    assert run_sync(redis, commands.fleet()).queued == 1
    redis.close()


def test_a_full_redis_still_lets_work_end(own: Valkey) -> None:
    line = Line(own.url)
    line.submit("a")
    held = line.take()
    line.redis.execute_command("CONFIG", "SET", "maxmemory", "1")
    line.finish(held)
    assert line.result("a").status == 200
    line.redis.close()


def test_a_replica_takes_no_writes(own: Valkey) -> None:
    redis = open_sync(own.url)
    redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ServiceUnavailable):
        run_sync(redis, submission("a"))
    redis.close()


def test_a_frozen_redis_costs_no_more_than_the_timeout(own: Valkey) -> None:
    redis = open_sync(own.url, timeout_s=0.2)
    run_sync(redis, submission("a"))
    os.kill(own.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ServiceUnavailable):
            run_sync(redis, commands.view("a"))
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert run_sync(redis, commands.view("a")) is not None
    redis.close()


def test_a_killed_redis_comes_back_with_all_that_was_acknowledged(own: Valkey) -> None:
    line = Line(own.url)
    for number in range(200):
        line.submit(f"r{number:03}")
    held = line.take()
    own.kill()
    with pytest.raises(ServiceUnavailable):
        line.view("r001")
    own.start()
    assert line.finish(held) == "accepted"  # the scripts are gone from its memory, too
    assert line.do(commands.fleet()).queued == 199
    assert line.take().id == "r001"
    line.redis.close()


async def test_connections_that_died_while_idle_are_replaced_unseen(own: Valkey) -> None:
    redis = open_async(own.url)
    await asyncio.gather(*(run(redis, submission(f"r{number}")) for number in range(20)))
    own.stop()
    own.start()
    views = await asyncio.gather(*(run(redis, commands.view(f"r{number}")) for number in range(20)))
    assert all(views)
    await redis.aclose()


async def test_more_callers_than_connections_wait_their_turn(redis_url: str) -> None:
    redis = open_async(redis_url, connections=2)
    receipts = await asyncio.gather(*(run(redis, submission(f"r{number:02}")) for number in range(40)))
    assert sorted(receipt.position for receipt in receipts) == list(range(40))
    await redis.aclose()
