"""Server-sent events: the framing, and the stream of one request's statuses.

A stream reads the request's own event log at the pace of its client, one page at a time, so a slow client costs one
page of memory and a reconnecting one (`Last-Event-ID`) misses nothing on whichever replica it lands.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import status
from api.callers import CallerGone, unless_gone
from api.context import Context
from shared.errors import ServiceUnavailable
from shared.queue import commands
from shared.queue.records import Event, Preview, View

KEEP_ALIVE = b": keep-alive\n\n"
_RETRY_S = 1.0
_PAGE = 32
"""Entries that a stream holds at once: thousands of them may wait for callers who do not read."""


def frame(payload: bytes, event_id: str | None = None) -> bytes:
    """One unnamed event. JSON has no line breaks, so it is one `data:` line."""
    head = f"id: {event_id}\n".encode() if event_id is not None else b""
    return head + b"data: " + payload + b"\n\n"


class EventStream(Response):
    """Sends frames as they come, as fast as the client takes them, and closes their generator whatever happens."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers={**headers, "cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await unless_gone(receive, self._pump(send))
        except CallerGone:
            return

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._frames) as frames:
            async for part in frames:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def statuses(
    context: Context, call: Request, view: View, after: str, *, logs: bool, previews: bool = False
) -> AsyncGenerator[bytes]:
    """Frames until the request is complete, gone, or the server closes, or the caller's key is not accepted any more.

    One per entry of the request's history after `after`, and one without an id whenever its place in the queue has
    changed in between. With `previews` the newest preview goes with the newest entry. Silence is broken by comments,
    and so is a time in which Redis cannot answer.
    """
    pause_s = context.settings.sse_keepalive_s
    told_position = view.position
    async with context.hub.listen(view.id) as bell:
        while not context.hub.closing and context.admits(call):
            try:
                events, now = await _look(context, view.id, after)
            except ServiceUnavailable:
                yield KEEP_ALIVE
                await bell.wait(min(pause_s, _RETRY_S))
                continue
            if now is None:
                return
            shown = await _preview(context, view.id) if previews and events else None
            for event in events:
                after = event.id
                yield _entry(now, event, logs=logs, preview=shown if event is events[-1] else None)
            if events:
                told_position = now.position
                if events[-1].state.is_final:
                    return
                continue
            if now.state.is_final:  # its history was cut short: nothing more will come
                yield frame(status.dump(status.of_view(now, [] if logs else None)))
                return
            # Without a position it was claimed just now, which is an entry that is yet to come.
            if now.position is not None and now.position != told_position:
                told_position = now.position
                yield frame(status.dump(status.of_view(now, None)))
            if not await bell.wait(pause_s):
                yield KEEP_ALIVE


def _entry(now: View, event: Event, *, logs: bool, preview: Preview | None) -> bytes:
    return frame(status.dump(status.with_preview(status.of_event(now, event, logs=logs), preview)), event.id)


async def _preview(context: Context, id: str) -> Preview | None:
    """One that cannot be had now is none: the next entry brings another."""
    try:
        return await context.run(commands.preview(id))
    except ServiceUnavailable:
        return None


async def _look(context: Context, id: str, after: str) -> tuple[list[Event], View | None]:
    """What is new, and the state after that. The end of a request is never seen before the events that led to it."""
    news = commands.events(id, after=after, limit=_PAGE)
    events, now = await context.run(news), await context.run(commands.view(id))
    if not events and now is not None and now.state.is_final:
        events = await context.run(news)  # it may have ended between the two questions
    return events, now
