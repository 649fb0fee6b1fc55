"""From an HTTP call to a request in the queue: validated once, complete, and never looked at again.

The same for the queue's origin and for a synchronous run; they differ in what they do with the receipt.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api import edge, pictures
from api.body import received
from api.context import Context, header
from api.lifting import LARGE_BYTES, Lifted, lift
from api.origins import base_of
from shared.errors import BadRequest, IdempotencyConflict, InvalidInput, QueueFull, TooManyQueued
from shared.queue import commands
from shared.queue.faults import outcome_of
from shared.queue.records import Receipt, Submission
from shared.queue.states import Lane
from shared.wire import headers as names
from shared.wire.image import Input, NotAnObject, most_px, read_input
from shared.wire.queue import new_request_id

_LONGEST_WEBHOOK = 2048
_VISIBLE = re.compile(r"[\x21-\x7e]+")


async def submit(context: Context, request: Request, *, invalid_is_refused: bool) -> Receipt:
    """Puts the call into the queue, or finds it there under its Idempotency-Key.

    A body that breaks the schema becomes a request that has failed already, unless `invalid_is_refused`; a body that
    is no JSON object is always refused. Raises `InvalidInput` and every `Refused`. After `ServiceUnavailable` it may be
    there nevertheless, so any answer names the id that it would be there under.
    """
    order = _order(context, request)
    edge.name(request, order.keywords["id"])
    async with received(request, context.room, order.keywords["tenant"], context.settings.max_body_bytes) as body:
        return await _submit(context, order, body, invalid_is_refused=invalid_is_refused)


async def _submit(
    context: Context, order: partial[Submission], body: bytearray, *, invalid_is_refused: bool
) -> Receipt:
    sha256, lifted = _read(body) if len(body) < LARGE_BYTES else await run_in_threadpool(_read, body)
    order = partial(order, body_sha256=sha256)
    try:
        given = read_input(lifted.text) if lifted.text is body else await run_in_threadpool(read_input, lifted.text)
        return await _enqueue(context, order, given, lifted)
    except NotAnObject:
        raise
    except InvalidInput as error:
        if invalid_is_refused:
            raise
        return await _run(context, order(input="{}", cost_px=0, steps=0, rejection=outcome_of(error)))


def _order(context: Context, request: Request) -> partial[Submission]:
    """Everything about a submission but its body: who, for how long, in which lane, and whom to tell."""
    caller = context.caller(request)
    told = partial(header, request)
    query: Mapping[str, str] = request.query_params if request.scope["query_string"] else {}
    return partial(
        Submission,
        id=new_request_id(),
        tenant=caller.tenant,
        base=base_of(request),
        lane=Lane.LOW if names.is_low_priority(told(names.QUEUE_PRIORITY)) else Lane.NORMAL,
        webhook_url=_webhook(query.get("fal_webhook")),
        start_timeout_ms=names.timeout_ms(names.REQUEST_TIMEOUT, told(names.REQUEST_TIMEOUT)),
        total_timeout_ms=names.timeout_ms(names.TOTAL_TIMEOUT, told(names.TOTAL_TIMEOUT)),
        file_ttl_s=names.lifetime_s(names.LIFECYCLE_PREFERENCE, told(names.LIFECYCLE_PREFERENCE)),
        keep_io=names.keeps_io(told(names.STORE_IO)),
        retry=not names.is_set(told(names.NO_RETRY)),
        max_queue_length=_queue_length(query.get("fal_max_queue_length")),
        max_running=caller.max_running,
        max_queued=caller.max_queued,
        idempotency_key=names.idempotency_key(told(names.IDEMPOTENCY_KEY)),
    )


async def _enqueue(context: Context, order: partial[Submission], given: Input, lifted: Lifted) -> Receipt:
    cost_px = most_px(given, context.settings.max_pixels) * given.num_images
    picture = await pictures.place(context, given.image_url, lifted, order.keywords["id"])
    submission = order(
        input=given.to_queue(image_url=picture.url),
        cost_px=cost_px,
        steps=given.num_inference_steps,
        image_key=picture.key,
    )
    try:
        receipt = await _run(context, submission)
    except (QueueFull, TooManyQueued, IdempotencyConflict):  # after other faults it may be needed: who knows what ran
        await pictures.discard(context, picture)
        raise
    if receipt.replayed:
        await pictures.discard(context, picture)
    return receipt


async def _run(context: Context, submission: Submission) -> Receipt:
    return await context.run(commands.submit(submission, retention_s=context.settings.retention_s))


def _read(body: bytearray) -> tuple[str, Lifted]:
    return hashlib.sha256(body).hexdigest(), lift(body)


def _webhook(url: str | None) -> str | None:
    """An address that can be posted to; whether it may be is decided when it is."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0 and not {"@", "\\"} & set(parts.netloc)
        usable = parts.scheme in {"http", "https"} and named
    except ValueError:
        usable = False
    if not usable or len(url) > _LONGEST_WEBHOOK or not _VISIBLE.fullmatch(url):
        raise BadRequest("fal_webhook must be an http:// or https:// address, without a user name")
    return url


def _queue_length(value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 9):
        raise BadRequest("fal_max_queue_length must be a whole number")
    return int(value)
