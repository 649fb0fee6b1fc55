"""A body of any size as a file, without holding it in memory and without blocking the event loop.

Small bodies stay in memory, larger ones go to a file without a name in `DATA_DIR`: nothing is left of it after a crash.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.body import Room, Share, arriving, check_length, too_large
from shared.files.base import StoreUnavailable

_IN_MEMORY_BYTES = 256 * 1024
"""Of each file, and as much again of what is on its way there."""


@contextmanager
def spool(folder: Path) -> Generator[BinaryIO]:
    """A file that is gone after the block; `folder` is for when it grows. A full disk is `StoreUnavailable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(folder)) as file:
            yield cast("BinaryIO", file)
    except OSError as error:
        raise StoreUnavailable(f"The file cannot be kept: {error.strerror}") from error


@asynccontextmanager
async def spooled(request: Request, room: Room, tenant: str, max_bytes: int, folder: Path) -> AsyncGenerator[BinaryIO]:
    """The body, standing at its first byte, and its room until the end of the block. Raises `TooLarge`, as soon as it
    is known, `TooSlow`, `ServiceUnavailable` where there is no room left for this tenant, and `StoreUnavailable` where
    the disk is full."""
    check_length(request, max_bytes)
    with spool(folder) as file, room.share(tenant) as share:
        await _receive(request, max_bytes, share, file)
        yield file


async def _receive(request: Request, max_bytes: int, share: Share, file: BinaryIO) -> None:
    waiting = bytearray()
    async for chunk in arriving(request):
        if share.bytes + len(chunk) > max_bytes:
            raise too_large(max_bytes)
        share.take(len(chunk))
        waiting += chunk
        if len(waiting) >= _IN_MEMORY_BYTES:
            await run_in_threadpool(file.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(file.write, bytes(waiting))
    file.seek(0)
