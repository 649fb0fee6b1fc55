"""The stored result as an answer: bytes that pass through unparsed, from the queue or, if large, from the store."""

from collections.abc import Iterator
from itertools import chain

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from api.context import Context
from api.errors import outcome, outcome_headers
from shared.errors import UnknownRequest
from shared.files.base import FileMissing
from shared.queue.records import Result
from shared.wire.headers import REQUEST_ID


async def answer(context: Context, id: str, result: Result) -> Response:
    """The model's own answer, or the fault in its place. `result` is final. Raises `StoreUnavailable`."""
    status = result.status or 500
    if result.body_key is None:
        response = outcome(status, result.body.encode(), result.error_type)
    else:
        response = await _from_store(context, result.body_key, status, result.error_type)
    response.headers[REQUEST_ID] = id
    return response


async def _from_store(context: Context, key: str, status: int, error_type: str | None) -> Response:
    try:
        size, chunks = await run_in_threadpool(_open, context, key)
    except FileMissing:
        raise UnknownRequest from None
    headers = {"content-length": str(size), **outcome_headers(status, error_type)}
    return StreamingResponse(iterate_in_threadpool(chunks), status, headers, media_type="application/json")


def _open(context: Context, key: str) -> tuple[int, Iterator[bytes]]:
    """The first chunk is read here, while an error can still be answered."""
    size = context.store.stat(key).size_bytes
    chunks = iter(context.store.read(key))
    first = next(chunks, b"")
    return size, chain((first,), chunks)
