"""Promises of the pokes: whoever watches hears of every change, across the loss of the connection, too."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue

import pytest

from shared.errors import ServiceUnavailable
from shared.queue.connect import AsyncRedis, open_async, open_sync
from shared.queue.pokes import Pokes, cancels
from tests.integration.queue.line import Line

Next = Callable[[], "asyncio.Future[str | None]"]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[AsyncRedis]:
    client = open_async(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def pokes(redis: AsyncRedis) -> Pokes:
    return Pokes(redis)


@pytest.fixture
async def heard(pokes: Pokes) -> AsyncIterator["asyncio.Queue[str | None]"]:
    """What the iteration yields, as it comes."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def listen() -> None:
        async for id in pokes:
            queue.put_nowait(id)

    task = asyncio.create_task(listen())
    yield queue
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def soon(heard: "asyncio.Queue[str | None]") -> str | None:
    async with asyncio.timeout(10):
        return await heard.get()


async def test_every_transition_pokes(line: Line, pokes: Pokes, heard: "asyncio.Queue[str | None]") -> None:
    await pokes.add("a")
    line.submit("a")
    held = line.take()
    line.report(held, step=1, steps=2)
    line.finish(held)
    assert [await soon(heard) for _ in range(4)] == ["a"] * 4


async def test_only_the_watched_are_heard(line: Line, pokes: Pokes, heard: "asyncio.Queue[str | None]") -> None:
    await pokes.add("a")
    await pokes.add("b")
    await pokes.remove("a")
    line.submit("a")
    line.submit("b")
    assert await soon(heard) == "b"


async def test_a_removed_one_can_be_added_again(line: Line, pokes: Pokes, heard: "asyncio.Queue[str | None]") -> None:
    await pokes.add("a")
    await pokes.remove("a")
    await pokes.remove("a")
    await pokes.add("a")
    line.submit("a")
    assert await soon(heard) == "a"


async def test_many_are_watched_on_one_connection(line: Line, pokes: Pokes, heard: "asyncio.Queue[str | None]") -> None:
    ids = [f"r{number}" for number in range(300)]
    await asyncio.gather(*(pokes.add(id) for id in ids))
    listeners = str(line.redis.execute_command("CLIENT", "LIST", "TYPE", "PUBSUB")).strip().split("\n")
    assert len(listeners) == 1
    for id in ids:
        line.submit(id)
    assert [await soon(heard) for _ in ids] == ids


async def test_after_a_lost_connection_everything_is_to_be_read_again(
    line: Line, pokes: Pokes, heard: "asyncio.Queue[str | None]"
) -> None:
    for id in ("a", "b", "c"):
        await pokes.add(id)
        line.redis.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB")
        assert await soon(heard) is None
        line.submit(id)
        assert await soon(heard) == id


async def test_watching_while_redis_is_away_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.queue.pokes._CONFIRM_S", 0.05)
    redis = open_async("redis://127.0.0.1:1/0")
    pokes = Pokes(redis)

    async def listen() -> None:
        async for _ in pokes:
            pass

    task = asyncio.create_task(listen())
    with pytest.raises(ServiceUnavailable):
        await pokes.add("a")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await redis.aclose()


async def test_a_silent_line_is_given_up(
    line: Line, redis: AsyncRedis, pokes: Pokes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the connection, but nothing comes through: as behind a dead router."""
    monkeypatch.setattr("shared.queue.pokes._HEARTBEAT_S", 0.05)
    heard: asyncio.Queue[str | None] = asyncio.Queue()

    async def listen() -> None:
        async for id in pokes:
            heard.put_nowait(id)

    task = asyncio.create_task(listen())
    await pokes.add("a")
    line.redis.execute_command("CLIENT", "PAUSE", 400, "ALL")
    assert await soon(heard) is None
    line.submit("a")
    assert await soon(heard) == "a"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def asked(redis_url: str, line: Line) -> Iterator["SimpleQueue[str]"]:
    """What `cancels` yields for worker w, once it listens."""
    redis = open_sync(redis_url)
    queue: SimpleQueue[str] = SimpleQueue()
    stop = threading.Event()

    def listen() -> None:
        for id in cancels(redis, "w", stop=stop):
            queue.put(id)

    thread = threading.Thread(target=listen)
    thread.start()
    until_listening(line)
    yield queue
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    redis.close()


def until_listening(line: Line) -> None:
    """A publication that somebody receives is the sign."""
    deadline = threading.Event()
    timer = threading.Timer(10, deadline.set)
    timer.start()
    while line.redis.execute_command("PUBSUB", "NUMSUB", "kolors:cancel:w") != ["kolors:cancel:w", 1]:
        assert not deadline.is_set(), "nobody listens"
    timer.cancel()


def test_the_worker_that_runs_it_is_told_of_a_cancel(line: Line, asked: "SimpleQueue[str]") -> None:
    for id in ("a", "b", "c"):
        line.submit(id)
    line.take("w")
    line.take("other")
    for id in ("c", "b", "a"):
        line.cancel(id)
    assert asked.get(timeout=10) == "a"


def test_the_ear_for_cancels_survives_a_lost_connection(line: Line, asked: "SimpleQueue[str]") -> None:
    line.redis.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB")
    until_listening(line)
    line.submit("a")
    line.take("w")
    line.cancel("a")
    assert asked.get(timeout=10) == "a"
