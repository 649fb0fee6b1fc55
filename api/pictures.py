"""Where the picture of a submission comes from: inside the call, from our own store, or from elsewhere.

What came inside is moved into the store, so that nothing large gets into the queue. A link to one of our own files is
known by its path alone, under whatever name of this server it was made: its key cannot be guessed, so whoever knows it
has been given it. Anything else is left to the worker to fetch. Knows nothing about pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from starlette.concurrency import run_in_threadpool

from api.context import Context
from api.data_uri import decode
from api.lifting import Lifted
from shared.errors import InvalidInput, Problem
from shared.files import keys
from shared.files.base import FileMissing
from shared.files.spool import spool
from shared.queue import commands

_LONGEST_URL = 8192
_LOCATION = ("body", "image_url")


@dataclass(frozen=True, slots=True)
class Picture:
    """`key` names it in our store, then `url` is for reading only; without a key the worker fetches `url`.

    `stored` says that it was put there for this submission and for nothing else.
    """

    url: str
    key: str | None = None
    stored: bool = False


async def place(context: Context, url: str, lifted: Lifted, request_id: str) -> Picture:
    """`url` is as it was read from what is left in `lifted`.

    Raises `InvalidInput` for an address of no use, `StoreUnavailable`, `ServiceUnavailable`.
    """
    if url[:5].lower() == "data:":
        return await _store(context, lifted.pieces(url), request_id)
    if len(url) > _LONGEST_URL:
        raise _problem("The address is too long", "sequence_too_long", {"max_length": _LONGEST_URL})
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise _problem("File download error: expected an http(s) address or a data URI", "file_download_error")
    key = _own_key(context, url)
    return Picture(url, key if key is not None and await run_in_threadpool(_is_there, context, key) else None)


async def discard(context: Context, picture: Picture) -> None:
    """Takes back what `place` stored for a submission that did not come about."""
    if picture.stored and picture.key is not None:
        await run_in_threadpool(context.store.delete, picture.key)
        await context.run(commands.forget_files([picture.key]))


async def _store(context: Context, pieces: Iterator[str], request_id: str) -> Picture:
    settings = context.settings
    key = keys.input_picture(request_id)
    with spool(settings.data_dir) as file:
        content_type = await run_in_threadpool(decode, pieces, settings.max_download_bytes, file)
        file.seek(0)
        await context.run(commands.hold_picture(key))
        await run_in_threadpool(context.store.put, key, file, content_type=content_type, expires_at=None)
    return Picture(f"data:{content_type};base64,", key, stored=True)


def _own_key(context: Context, url: str) -> str | None:
    cdn = context.settings.s3_public_base_url
    if cdn and url.startswith(f"{cdn.rstrip('/')}/"):
        key = urlsplit(url[len(cdn.rstrip("/")) + 1 :]).path
        return key if keys.is_public(key) else None
    return keys.of_path(unquote(urlsplit(url).path))


def _is_there(context: Context, key: str) -> bool:
    try:
        expires_at = context.store.stat(key).expires_at
    except FileMissing:
        return False
    return expires_at is None or expires_at > datetime.now(UTC)


def _problem(message: str, kind: str, context: dict[str, object] | None = None) -> InvalidInput:
    return InvalidInput(Problem(_LOCATION, message, kind, context))
