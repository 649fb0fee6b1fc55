"""Promises of the shared connection: answers find their askers, and a broken one takes nobody with it for long."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.errors import ServiceUnavailable
from shared.queue import commands
from shared.queue.connect import open_async
from shared.queue.execute import run
from shared.queue.pipe import Pipe
from tests.conftest import Valkey
from tests.integration.queue.line import Line


@pytest.fixture
async def pipe(redis_url: str) -> AsyncIterator[Pipe]:
    pipe = Pipe(open_async(redis_url))
    yield pipe
    await pipe.aclose()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A server that a test may mistreat."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.kill()


async def test_every_answer_finds_its_asker(line: Line, pipe: Pipe) -> None:
    ids = [f"r{number:03}" for number in range(200)]
    for id in ids:
        line.submit(id)
    views = await asyncio.gather(*(run(pipe, commands.view(id)) for id in ids))
    assert [(view and view.id, view and view.position) for view in views] == [(id, n) for n, id in enumerate(ids)]


async def test_all_of_it_is_one_connection(own: Valkey) -> None:
    pipe, line = Pipe(open_async(own.url)), Line(own.url)
    await asyncio.gather(*(run(pipe, commands.view("a")) for _ in range(50)))
    clients = str(line.redis.execute_command("CLIENT", "LIST")).strip().split("\n")
    assert len(clients) == 2  # the pipe and the one that asks
    await pipe.aclose()
    line.redis.close()


async def test_an_error_is_for_whoever_caused_it(line: Line, pipe: Pipe) -> None:
    line.redis.execute_command("SCRIPT", "FLUSH")
    line.submit("a")
    asked = [run(pipe, commands.view("a")), run(pipe, commands.result("a")), run(pipe, commands.events("a"))]
    view, result, events = await asyncio.gather(*asked)
    assert view
    assert result
    assert events


async def test_one_who_gives_up_does_not_disturb_the_others(line: Line, pipe: Pipe) -> None:
    line.submit("a")
    line.submit("b")
    impatient = [asyncio.create_task(run(pipe, commands.view("a"))) for _ in range(20)]
    patient = [asyncio.create_task(run(pipe, commands.view("b"))) for _ in range(20)]
    await asyncio.sleep(0)
    for task in impatient:
        task.cancel()
    views = await asyncio.gather(*patient)
    assert {view and view.id for view in views} == {"b"}
    await asyncio.gather(*impatient, return_exceptions=True)


async def test_a_connection_that_was_cut_is_replaced_unseen(line: Line, pipe: Pipe) -> None:
    line.submit("a")
    for _ in range(5):
        assert await run(pipe, commands.view("a"))
        line.redis.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
        views = await asyncio.gather(*(run(pipe, commands.view("a")) for _ in range(10)))
        assert all(views)


async def test_nobody_there() -> None:
    pipe = Pipe(open_async("redis://127.0.0.1:1/0"))
    answers = await asyncio.gather(*(run(pipe, commands.view("a")) for _ in range(5)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {ServiceUnavailable}
    await pipe.aclose()


async def test_a_frozen_redis_costs_no_more_than_the_timeout_and_is_forgiven(own: Valkey) -> None:
    pipe = Pipe(open_async(own.url), timeout_s=0.3)
    await run(pipe, commands.view("a"))
    os.kill(own.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*(run(pipe, commands.fleet()) for _ in range(5)), return_exceptions=True)
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert {type(answer) for answer in answers} == {ServiceUnavailable}
    assert (await run(pipe, commands.fleet())).queued == 0
    await pipe.aclose()


async def test_a_restarted_redis_is_found_again(own: Valkey) -> None:
    pipe = Pipe(open_async(own.url))
    await run(pipe, commands.bind_store("one"))
    own.kill()
    with pytest.raises(ServiceUnavailable):
        await run(pipe, commands.fleet())
    own.start()
    assert await run(pipe, commands.bind_store("two")) == "one"
    await pipe.aclose()
