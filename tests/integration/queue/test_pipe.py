"""One connection for many askers: order, errors, cancelled askers, and the loss of the connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError, ResponseError

from shared.queue.connect import open_async
from shared.queue.pipe import Pipe
from tests.conftest import Valkey


@pytest.fixture
async def pipe(redis_url: str) -> AsyncIterator[Pipe]:
    pipe = Pipe(open_async(redis_url), timeout_s=2)
    yield pipe
    await pipe.aclose()


async def test_everybody_gets_the_own_answer(pipe: Pipe) -> None:
    asked = [str(number) * (number % 50) for number in range(2000)]
    assert await asyncio.gather(*(pipe.execute_command("ECHO", text) for text in asked)) == asked
    clients = await pipe.execute_command("CLIENT", "LIST", "TYPE", "normal")
    assert str(clients).count("cmd=client|list") == 1


async def test_an_error_is_its_askers_alone(pipe: Pipe) -> None:
    wrong, right = await asyncio.gather(
        pipe.execute_command("NONSENSE"), pipe.execute_command("ECHO", "a"), return_exceptions=True
    )
    assert isinstance(wrong, ResponseError)
    assert right == "a"


async def test_who_stops_waiting_takes_nobodys_answer(pipe: Pipe) -> None:
    await pipe.execute_command("PING")
    tasks = [asyncio.create_task(pipe.execute_command("ECHO", str(number))) for number in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.wait(tasks)
    assert [task.result() for task in tasks[1::2]] == [str(number) for number in range(1, 100, 2)]
    assert await pipe.execute_command("ECHO", "after") == "after"


async def test_a_connection_that_died_is_replaced_unnoticed(pipe: Pipe, redis_url: str) -> None:
    await pipe.execute_command("PING")
    other = open_async(redis_url)
    await other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await other.aclose()
    answers = await asyncio.gather(*(pipe.execute_command("ECHO", str(number)) for number in range(20)))
    assert answers == [str(number) for number in range(20)]


@pytest.mark.timeout(60)
async def test_a_server_that_is_away_is_an_error_and_its_return_is_enough(pipe: Pipe, valkey: Valkey) -> None:
    await pipe.execute_command("PING")
    valkey.kill()
    try:
        for _ in range(3):
            with pytest.raises(RedisError):
                await pipe.execute_command("PING")
    finally:
        valkey.start()
    assert await pipe.execute_command("ECHO", "back") == "back"


@pytest.mark.timeout(60)
async def test_an_answer_that_does_not_come_is_not_waited_for(pipe: Pipe, redis_url: str) -> None:
    await pipe.execute_command("PING")
    began = asyncio.get_running_loop().time()
    blocked = asyncio.create_task(pipe.execute_command("BLPOP", "kolors:nothing", 30))
    await asyncio.sleep(0)
    with pytest.raises(RedisError):
        await pipe.execute_command("ECHO", "behind it")
    with pytest.raises(RedisError):
        await blocked
    assert asyncio.get_running_loop().time() - began < 10
    assert await pipe.execute_command("ECHO", "new line") == "new line"
