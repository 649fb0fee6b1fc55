"""A body of any size as a file, without holding it in memory and without blocking the event loop."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.body import Room, Share, arriving, check_length, too_large
from shared.files.spool import IN_MEMORY_BYTES, spool


@asynccontextmanager
async def spooled(
    request: Request, room: Room, tenant: str, max_bytes: int, data_dir: Path
) -> AsyncGenerator[BinaryIO]:
    """The body, standing at its first byte, and its room until the end of the block. Raises `TooLarge`, as soon as it
    is known, `TooSlow`, `ServiceUnavailable` where there is no room left for this tenant, and `StoreUnavailable` where
    the disk is full."""
    check_length(request, max_bytes)
    with spool(data_dir) as file, room.share(tenant) as share:
        await _receive(request, max_bytes, share, file)
        yield file


async def _receive(request: Request, max_bytes: int, share: Share, file: BinaryIO) -> None:
    waiting = bytearray()  # no more than the file itself may hold
    async for chunk in arriving(request):
        if share.bytes + len(chunk) > max_bytes:
            raise too_large(max_bytes)
        share.take(len(chunk))
        waiting += chunk
        if len(waiting) >= IN_MEMORY_BYTES:
            await run_in_threadpool(file.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(file.write, bytes(waiting))
    file.seek(0)
