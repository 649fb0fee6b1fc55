"""Painted pictures as files and as the result that the caller reads.

Owns names, links and lives of result files. Knows nothing of leases: what a lost attempt wrote lies under its own
claim's key and is swept like any other file.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from shared.files import keys
from shared.queue import commands
from shared.queue.records import Attempt, Outcome
from shared.queue.states import State
from shared.wire import image as wire
from worker import pictures
from worker.context import Context
from worker.engine.job import Painting

A = TypeVar("A")
B = TypeVar("B")

_LARGEST_IN_QUEUE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for; until when (milliseconds of Redis' clock) its files live, and a result that is a file."""

    attempt: Attempt
    wanted: wire.Input
    files_until_ms: int
    result_until_ms: int

    @property
    def seed(self) -> int:
        """Of picture 0. The API draws one where none is given; 0 is what a seedless submission of a test gets."""
        return self.wanted.seed or 0


def publish(context: Context, order: Order, painting: Painting) -> Outcome:
    """Stores the pictures, unless they are to come inside the result, and says where they are.

    The same pictures are the same bytes however they are asked for. Raises `StoreUnavailable`, `ServiceUnavailable`.
    """
    files = _side_by_side(
        context, lambda picture: pictures.encode(picture, order.wanted.output_format), painting.pictures
    )
    urls = [_data_uri(file) for file in files] if order.wanted.sync_mode else _links(context, order, files)
    images = [
        wire.Image(
            url=url,
            content_type=file.content_type,
            file_name=None if order.wanted.sync_mode else url.rpartition("/")[2],
            file_size=len(file.content),
            width=picture.width,
            height=picture.height,
        )
        for picture, file, url in zip(painting.pictures, files, urls, strict=True)
    ]
    output = wire.Output(
        images=images,
        timings={stage: round(seconds, 6) for stage, seconds in painting.seconds.items()},
        seed=order.seed,
        has_nsfw_concepts=list(painting.flagged),
        prompt=order.wanted.prompt,
    )
    return _outcome(context, order, painting, output)


def _outcome(context: Context, order: Order, painting: Painting, output: wire.Output) -> Outcome:
    """A large body goes into the store: in Redis it would make everybody else wait. It is kept as a webhook has it, so
    that the courier can post it in pieces."""
    key, body = None, output.to_json()
    if len(body.encode()) > _LARGEST_IN_QUEUE_BYTES:
        key, body = keys.result_body(order.attempt.held.id, order.attempt.held.claim), ""
        content = output.to_webhook_json().encode()
        _put_all(context, {key: pictures.Encoded(content, "application/json", "json")}, order.result_until_ms)
    return Outcome(
        state=State.SUCCEEDED,
        status=200,
        body=body,
        body_key=key,
        inference_s=painting.seconds.get("inference"),
        gpu_s=painting.gpu_s,
    )


def _links(context: Context, order: Order, files: list[pictures.Encoded]) -> list[str]:
    held = order.attempt.held
    named = {keys.result(held.id, held.claim, k, file.extension): file for k, file in enumerate(files)}
    _put_all(context, named, order.files_until_ms)
    return [keys.link(order.attempt.base, key, cdn=context.settings.s3_public_base_url) for key in named]


def _put_all(context: Context, named: dict[str, pictures.Encoded], until_ms: int) -> None:
    # First: what nobody expects would stay for ever.
    context.run(commands.expect_files(list(named), until_ms, though_full=True))
    expires_at = datetime.fromtimestamp(until_ms / 1000, UTC)

    def put(key: str) -> None:
        context.store.put(key, named[key].content, content_type=named[key].content_type, expires_at=expires_at)

    _side_by_side(context, put, list(named))


def _data_uri(file: pictures.Encoded) -> str:
    return f"data:{file.content_type};base64,{base64.b64encode(file.content).decode()}"


def _side_by_side(context: Context, work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    return [work(items[0])] if len(items) == 1 else list(context.encoders.map(work, items))
