"""Reads a call's body without ever holding more of it than allowed."""

from starlette.requests import Request

from shared.errors import TooLarge


async def read_body(request: Request, max_bytes: int) -> bytes:
    """All bytes. Raises `TooLarge` as soon as that is known, mostly from Content-Length, and `starlette`'s
    `ClientDisconnect` where the caller went away in the middle."""
    length = request.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    left = max_bytes
    async for chunk in request.stream():
        left -= len(chunk)
        if left < 0:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {max_bytes} bytes")
