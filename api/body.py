"""Reads a call's body without ever holding more of it than allowed: each by itself, and all of them together.

A body that hardly comes on is given up, so that nobody holds the room of others by sending nothing. And no tenant gets
more than half of the room that the others leave it, so nobody closes the door to everybody by sending much.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import ClientDisconnect, Request

from shared.errors import ServiceUnavailable, TooLarge, TooSlow

_PATIENCE_S = 30.0
_SLOWEST_BYTES_PER_S = 8 * 1024


class Room:
    """How many bytes of bodies this process may hold at once, in memory or on its disk. Belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._held: Counter[str] = Counter()
        """By each tenant."""

    @contextmanager
    def share(self, tenant: str) -> Generator["Share"]:
        """One body's, given back after the block."""
        share = Share(self, tenant)
        try:
            yield share
        finally:
            self.give(tenant, share.bytes)

    def take(self, tenant: str, count: int) -> None:
        """Raises `ServiceUnavailable` where so much is not left, or not for this tenant."""
        held = self._held[tenant] + count
        if held > (self._held[tenant] + self._left) // 2:
            raise ServiceUnavailable("Too much is being sent to this server at once. Try again shortly.")
        self._left -= count
        self._held[tenant] = held

    def give(self, tenant: str, count: int) -> None:
        self._left += count
        self._held[tenant] -= count
        if not self._held[tenant]:
            del self._held[tenant]


class Share:
    def __init__(self, room: Room, tenant: str) -> None:
        self._room, self._tenant = room, tenant
        self.bytes = 0

    def take(self, count: int) -> None:
        """Raises as `Room.take`."""
        self._room.take(self._tenant, count)
        self.bytes += count


@asynccontextmanager
async def received(request: Request, room: Room, tenant: str, max_bytes: int) -> AsyncGenerator[bytearray]:
    """All bytes, and their room until the end of the block.

    Raises `TooLarge` as soon as that is known, mostly from Content-Length, `TooSlow`, `ServiceUnavailable` where there
    is no room left for this tenant, and `starlette`'s `ClientDisconnect` where the caller went away in the middle.
    """
    check_length(request, max_bytes)
    body = bytearray()
    with room.share(tenant) as share:
        async for chunk in arriving(request):
            if len(body) + len(chunk) > max_bytes:
                raise too_large(max_bytes)
            share.take(len(chunk))
            body += chunk
        yield body


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `TooSlow` once it is half a minute behind a slow line's pace, and `ClientDisconnect`
    where the caller goes away.

    Waiting for it uses patience up, and what comes gives it back, but never more than half a minute: having been fast
    is no credit for silence. What the reader does in between costs the caller nothing.
    """
    clock = asyncio.get_running_loop().time
    patience_s, more = _PATIENCE_S, True
    while more:
        asked_s = clock()
        try:
            async with asyncio.timeout(patience_s):
                message = await request.receive()
        except TimeoutError:
            raise TooSlow from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        patience_s = min(_PATIENCE_S, patience_s - (clock() - asked_s) + len(chunk) / _SLOWEST_BYTES_PER_S)
        yield chunk


def check_length(request: Request, max_bytes: int) -> None:
    """Raises `TooLarge` where Content-Length says so already."""
    length = request.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) > max_bytes:
        raise too_large(max_bytes)


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {max_bytes} bytes")
