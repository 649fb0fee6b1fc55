"""One connection for all commands of an event loop: what is asked in the same moment is written together, and the
answers come in the same order.

A pool lends a connection per command, which costs three times the CPU of the command itself; that is what a status
poll mostly consists of. Nothing here blocks a connection, as pub/sub does, so sharing one costs nobody any time.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from hiredis import pack_command as _untyped_pack  # pyright: ignore[reportUnknownVariableType]
from redis.exceptions import ConnectionError as _ConnectionLost
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as _TooSlow

from shared.queue.connect import AsyncRedis, Reply, Word

_pack = cast("Callable[[tuple[Word, ...]], bytes]", _untyped_pack)
_TRIES = 2
"""One immediate retry covers a connection that died while idle, as after a restart of Redis."""


class _Line(Protocol):
    socket_timeout: float | None

    async def connect(self) -> None: ...
    async def send_packed_command(self, command: bytes, check_health: bool = ...) -> None: ...
    async def read_response(self, *, timeout: float) -> Reply: ...  # noqa: ASYNC109 - redis-py's own
    async def disconnect(self, nowait: bool = ...) -> None: ...


@dataclass(slots=True, eq=False)
class _Traffic:
    """What is on its way over one connection."""

    line: _Line
    unsent: list[bytes] = field(default_factory=list[bytes])
    awaited: deque[tuple[asyncio.Future[Reply], float]] = field(
        default_factory=deque[tuple[asyncio.Future[Reply], float]]
    )
    """The answer's future and the time of asking, in the order of the answers."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    broken: bool = False


class Pipe:
    """An `AsyncRedis` for commands. Pub/sub still takes its own connections, from the pool that this one is of.

    Raises redis-py's errors. An answer takes at most `timeout_s` to come or to fail; then everything on the
    connection fails with it, because an answer that is late has every later one behind it.
    """

    def __init__(self, redis: AsyncRedis, *, timeout_s: float = 5.0) -> None:
        self._redis = redis
        self._open = cast("Callable[[], _Line]", redis.connection_pool.make_connection)
        self._timeout_s = timeout_s
        self._traffic: _Traffic | None = None
        self._connecting: asyncio.Task[_Traffic] | None = None

    @property
    def connection_pool(self) -> Any:
        return self._redis.connection_pool

    async def execute_command(self, *words: Word) -> Reply:
        packed = _pack(words)
        for left in reversed(range(_TRIES)):
            try:
                traffic = self._traffic
                if traffic is None or traffic.broken:
                    traffic = await self._connect()
                return await self._ask(traffic, packed)
            except _ConnectionLost:
                if not left:
                    raise
        raise AssertionError

    async def aclose(self) -> None:
        if self._traffic is not None:
            await self._break(self._traffic, _ConnectionLost("closed"), wait=True)
        await self._redis.aclose()

    async def _connect(self) -> _Traffic:
        """Whoever comes first connects; the others wait for that."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connected())
        return await asyncio.shield(self._connecting)

    async def _connected(self) -> _Traffic:
        line = self._open()
        line.socket_timeout = None  # `_watch` has the clock; redis-py would make a task of every write
        try:
            async with asyncio.timeout(self._timeout_s):
                await line.connect()
        except TimeoutError:
            raise _TooSlow("no connection in time") from None
        traffic = _Traffic(line)
        traffic.tasks += [
            asyncio.create_task(self._guard(traffic, work(traffic))) for work in (_write, _read, self._watch)
        ]
        self._traffic = traffic
        return traffic

    def _ask(self, traffic: _Traffic, packed: bytes) -> asyncio.Future[Reply]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()
        traffic.awaited.append((answer, loop.time()))
        traffic.unsent.append(packed)
        traffic.wanted.set()
        return answer

    async def _guard(self, traffic: _Traffic, work: Any) -> None:
        """The first of the connection's tasks to fail takes everything on it down."""
        try:
            await work
        except RedisError as error:
            await self._break(traffic, error)

    async def _watch(self, traffic: _Traffic) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            oldest = traffic.awaited[0][1] if traffic.awaited else clock()
            left_s = oldest + self._timeout_s - clock()
            if left_s <= 0:
                raise _TooSlow("no answer in time")
            await asyncio.sleep(left_s)

    async def _break(self, traffic: _Traffic, error: RedisError, *, wait: bool = False) -> None:
        traffic.broken = True
        for answer, _ in traffic.awaited:
            if not answer.done():
                answer.set_exception(error)
        traffic.awaited.clear()
        others = [task for task in traffic.tasks if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await traffic.line.disconnect(nowait=not wait)


async def _write(traffic: _Traffic) -> None:
    while True:
        await traffic.wanted.wait()
        traffic.wanted.clear()
        packed = b"".join(traffic.unsent)
        traffic.unsent.clear()
        await traffic.line.send_packed_command(packed, check_health=False)


async def _read(traffic: _Traffic) -> None:
    while True:
        try:
            reply: Reply | ResponseError = await traffic.line.read_response(timeout=math.inf)
        except ResponseError as error:
            reply = error
        answer, _ = traffic.awaited.popleft()
        if answer.done():  # its asker was cancelled
            continue
        if isinstance(reply, ResponseError):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
