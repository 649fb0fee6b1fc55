"""Reads a call's body without ever holding more of it than allowed: each by itself, and all of them together.

A body that hardly comes on is given up, so that nobody holds the room of others by sending nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from shared.errors import ServiceUnavailable, TooLarge, TooSlow

_PATIENCE_S = 30.0
_SLOWEST_BYTES_PER_S = 8 * 1024


class Room:
    """How many bytes of bodies this process may hold at once. Belongs to one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def take(self, count: int) -> None:
        """Raises `ServiceUnavailable` where so much is not left."""
        if count > self._left:
            raise ServiceUnavailable("Too much is being sent to this server at once. Try again shortly.")
        self._left -= count

    def give(self, count: int) -> None:
        self._left += count


@asynccontextmanager
async def received(request: Request, room: Room, max_bytes: int) -> AsyncGenerator[bytearray]:
    """All bytes, and their room until the end of the block.

    Raises `TooLarge` as soon as that is known, mostly from Content-Length, `TooSlow`, `ServiceUnavailable` where other
    bodies take all the room, and `starlette`'s `ClientDisconnect` where the caller went away in the middle.
    """
    check_length(request, max_bytes)
    body = bytearray()
    try:
        async for chunk in arriving(request):
            if len(body) + len(chunk) > max_bytes:
                raise too_large(max_bytes)
            room.take(len(chunk))
            body += chunk
        yield body
    finally:
        room.give(len(body))


async def arriving(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `TooSlow` once it is behind a slow line's pace for half a minute, and
    `ClientDisconnect` where the caller goes away."""
    clock = asyncio.get_running_loop().time
    began, count, more = clock(), 0, True
    while more:
        try:
            async with asyncio.timeout_at(began + _PATIENCE_S + count / _SLOWEST_BYTES_PER_S):
                message = await request.receive()
        except TimeoutError:
            raise TooSlow from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        count += len(chunk)
        yield chunk


def check_length(request: Request, max_bytes: int) -> None:
    """Raises `TooLarge` where Content-Length says so already."""
    length = request.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) > max_bytes:
        raise too_large(max_bytes)


def too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {max_bytes} bytes")
