"""Clients of Redis: how they are opened, and what the product asks of them. The typed seam of redis-py.

One immediate retry covers a pooled connection that died while idle, as after a restart of Redis. A timeout is never
retried: every command has a bound on what it may cost its caller.
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from redis import Redis as _SyncClient
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as _AsyncClient
from redis.asyncio.retry import Retry as _AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as _ConnectionLost
from redis.retry import Retry as _SyncRetry

Word = str | int | float
Reply = str | int | None | list["Reply"]
"""Replies are text: the clients decode UTF-8, and what is none becomes U+FFFD. One odd value would otherwise break the
connection, with everything that others asked on it."""


class Line(Protocol):
    """One connection of its own, outside the pool: what pub/sub needs. Raises redis' ConnectionError, TimeoutError."""

    async def connect(self) -> None: ...
    async def send_command(self, *words: Word) -> None: ...
    async def read_response(self, *, timeout: float) -> Sequence[str] | None:  # noqa: ASYNC109 - redis-py's own
        """None where nothing came in `timeout` seconds."""
        ...

    async def disconnect(self, nowait: bool = ...) -> None: ...


class Subscription(Protocol):
    """redis-py's PubSub of a synchronous client."""

    def subscribe(self, *channels: str) -> None: ...
    def get_message(self, *, ignore_subscribe_messages: bool, timeout: float) -> dict[str, Any] | None: ...
    def close(self) -> None: ...


class AsyncRedis(Protocol):
    @property
    def connection_pool(self) -> Any: ...
    async def execute_command(self, *words: Word) -> Reply: ...
    async def aclose(self) -> None: ...


class SyncRedis(Protocol):
    def execute_command(self, *words: Word) -> Reply: ...
    def pubsub(self) -> Subscription: ...
    def close(self) -> None: ...


def open_line(redis: AsyncRedis) -> Line:
    """A connection with the client's own settings. Not connected yet."""
    return redis.connection_pool.make_connection()


def open_async(url: str, *, timeout_s: float = 5.0, connections: int = 64) -> AsyncRedis:
    """A pool for one event loop. Opens no connection yet; a caller waits for a free one up to `timeout_s`."""
    pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
        url,
        decode_responses=True,
        encoding_errors="replace",
        protocol=2,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=_AsyncRetry(NoBackoff(), 1, (_ConnectionLost,)),
    )
    return _AsyncClient.from_pool(pool)  # pyright: ignore[reportReturnType]


class _PerThread:
    """Implements `SyncRedis` with a connection for each thread: to lend one from a pool costs as much as the command.

    A thread's connection is closed when the thread has ended.
    """

    def __init__(self, connect: Callable[..., _SyncClient]) -> None:
        self._connect = connect
        self._mine = threading.local()
        self._clients = weakref.WeakSet[_SyncClient]()

    def execute_command(self, *words: Word) -> Reply:
        return self._client().execute_command(*words)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def pubsub(self) -> Subscription:
        return self._client().pubsub()  # pyright: ignore[reportUnknownMemberType, reportReturnType]

    def close(self) -> None:
        for client in list(self._clients):
            client.close()

    def _client(self) -> _SyncClient:
        client: _SyncClient | None = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = self._connect()
            self._clients.add(client)
        return client


def open_sync(url: str, *, timeout_s: float = 2.0) -> SyncRedis:
    """A thread-safe client. Opens no connection yet. An answer takes at most `timeout_s` to come or to fail."""
    return _PerThread(
        partial(
            _SyncClient.from_url,  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            url,
            single_connection_client=True,
            decode_responses=True,
            encoding_errors="replace",
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=_SyncRetry(NoBackoff(), 1, (_ConnectionLost,)),
        )
    )
