"""A body of any size as a file, without holding it in memory and without blocking the event loop.

Small bodies stay in memory, larger ones go to a file without a name in `DATA_DIR`: nothing is left of it after a crash.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from shared.errors import BadRequest, TooLarge
from shared.files.base import StoreUnavailable

_IN_MEMORY_BYTES = 1024 * 1024
_AT_ONCE_BYTES = 512 * 1024


@asynccontextmanager
async def spooled(request: Request, max_bytes: int, folder: Path) -> AsyncGenerator[BinaryIO]:
    """The body, standing at its first byte. Raises `TooLarge`, as soon as it is known, and `StoreUnavailable` where
    the disk is full."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequest("Content-Length is no number")
    if int(length) > max_bytes:
        raise _too_large(max_bytes)
    await run_in_threadpool(folder.mkdir, parents=True, exist_ok=True)
    with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(folder)) as spool:
        file = cast("BinaryIO", spool)
        try:
            await _receive(request, max_bytes, file)
        except OSError as error:
            raise StoreUnavailable(f"The upload cannot be kept: {error.strerror}") from error
        yield file


async def _receive(request: Request, max_bytes: int, file: BinaryIO) -> None:
    read, waiting = 0, bytearray()
    async for chunk in request.stream():
        read += len(chunk)
        if read > max_bytes:
            raise _too_large(max_bytes)
        waiting += chunk
        if len(waiting) >= _AT_ONCE_BYTES:
            await run_in_threadpool(file.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(file.write, bytes(waiting))
    file.seek(0)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {max_bytes} bytes")
