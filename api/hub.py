"""Tells the streams and synchronous runs of this process that something happened to their request.

One pub/sub connection for all of them: a poke says "look again", never what happened. What happened is read from the
request's own event stream, so a poke that comes twice or not at all does no harm.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from shared.errors import ServiceUnavailable
from shared.queue.pokes import Pokes


class Bell:
    """Rung when its request may have changed. One waiter."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """True when rung, at once if that was since the last wait; False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Hub:
    def __init__(self, pokes: Pokes) -> None:
        self._pokes = pokes
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)
        self.closing = False
        """The server is going down: whoever waits should end."""

    @asynccontextmanager
    async def listen(self, id: str) -> AsyncGenerator[Bell]:
        """A bell for request `id`. What happens after entering rings it; look once before the first wait.

        Where Redis is slow to say that it listens, it may have missed something: wait no longer than for a second look.
        """
        bell = Bell()
        self._bells[id].add(bell)
        try:
            with suppress(ServiceUnavailable):
                await self._pokes.add(id)
            yield bell
        finally:
            bells = self._bells[id]
            bells.discard(bell)
            if not bells:
                del self._bells[id]
                await self._pokes.remove(id)

    async def run(self) -> None:
        """Passes pokes on until it is cancelled. After an error it may be run again: bells ring as after a lost
        connection. In between streams and runs go on, at the pace of their second looks."""
        async for id_ in self._pokes:
            if id_ is None:
                self.ring_all()
                continue
            for bell in self._bells.get(id_, ()):
                bell.ring()

    def ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.ring()

    def close(self) -> None:
        self.closing = True
        self.ring_all()
