"""Pokes: "something happened to this request, look again". They may come twice, late or never; they carry no content.

`Pokes` is one pub/sub connection for all the requests that a process of the API watches. `cancels` is a worker's ear
for the requests it should stop. Both survive the loss of their connection.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Final

from redis.exceptions import RedisError

from shared.errors import ServiceUnavailable
from shared.queue import keys
from shared.queue.connect import AsyncRedis, Line, SyncRedis, open_line

_HEARTBEAT_S: Final = 5.0
_CONFIRM_S: Final = 5.0
_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0)


class Pokes:
    """Iterate it in one task, which does the reading; add and remove from any other.

    Yields the id of each poked request, and None once after every reconnect: then pokes may have been missed, and
    whatever is watched must be looked at again. The iteration ends only by being cancelled, or by an error that no
    lost connection explains; then another one may be begun.
    """

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis
        self._line: Line | None = None
        self._watched: dict[str, asyncio.Event] = {}
        self._missed = False

    async def add(self, id: str) -> None:
        """Returns when every later poke of `id` will be heard.

        Raises ServiceUnavailable if that takes too long; `id` is watched all the same, until it is removed.
        """
        confirmed = self._watched.setdefault(id, asyncio.Event())
        await self._send("SUBSCRIBE", keys.poke(id))
        try:
            async with asyncio.timeout(_CONFIRM_S):
                await confirmed.wait()
        except TimeoutError:
            raise ServiceUnavailable from None

    async def remove(self, id: str) -> None:
        """Idempotent. Never raises for a connection that is away."""
        if self._watched.pop(id, None) is not None:
            await self._send("UNSUBSCRIBE", keys.poke(id))

    async def __aiter__(self) -> AsyncIterator[str | None]:
        failures = 0
        while True:
            line = open_line(self._redis)
            try:
                await self._subscribe(line)
                async for kind, content in _messages(line):
                    if kind == "message":
                        yield content
                    elif kind == "subscribe":
                        self._confirm(content)
                    elif kind == "pong":
                        failures = 0
                        if self._missed:
                            self._missed = False
                            yield None
            except RedisError:
                failures += 1
            finally:
                self._line, self._missed = None, True
                with contextlib.suppress(RedisError):
                    await line.disconnect(nowait=True)
            await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])

    async def _subscribe(self, line: Line) -> None:
        """Everything watched, and then a ping whose answer says that the server has seen all of it."""
        await line.connect()
        for confirmed in self._watched.values():
            confirmed.clear()
        await line.send_command("SUBSCRIBE", keys.POKE, *(keys.poke(id) for id in self._watched))
        await line.send_command("PING")
        self._line = line

    async def _send(self, verb: str, channel: str) -> None:
        """Best effort: where the line is broken, reading it says so, and the next one subscribes to all."""
        if self._line is not None:
            with contextlib.suppress(RedisError):
                await self._line.send_command(verb, channel)

    def _confirm(self, id: str) -> None:
        if id in self._watched:
            self._watched[id].set()


async def _messages(line: Line) -> AsyncIterator[tuple[str, str]]:
    """(kind, request id) of each message. Ends when the line has been silent for two heartbeats in spite of a ping."""
    pinged = False
    while True:
        message = await line.read_response(timeout=_HEARTBEAT_S)
        if message is not None:
            pinged = False
            yield message[0], message[1].removeprefix(keys.POKE)
        elif pinged:
            return
        else:
            await line.send_command("PING")
            pinged = True


def cancels(redis: SyncRedis, worker: str, *, stop: threading.Event | None = None) -> Iterator[str]:
    """Ids of requests that `worker` runs and whose owner wants them stopped, as it is asked. Blocks between them.

    Ends a fifth of a second after `stop` is set. What is missed while the connection is away comes with the next
    `renew` as `Lease.CANCEL`.
    """
    stop = stop or threading.Event()
    while not stop.is_set():
        subscription = redis.pubsub()
        try:
            subscription.subscribe(keys.cancel(worker))
            while not stop.is_set():
                message = subscription.get_message(ignore_subscribe_messages=True, timeout=0.2)
                if message is not None:
                    yield str(message["data"])
        except RedisError:
            stop.wait(_PAUSES_S[-1])
        finally:
            subscription.close()
