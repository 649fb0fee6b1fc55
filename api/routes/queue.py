"""The queue origin: submit, status, stream, result, cancel. Each is a question or a transition of the queue, answered
in fal's shapes."""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api import results, sse, status
from api.context import Context, context_of
from api.errors import json_response
from api.origins import base_of
from api.submissions import submit as enqueue
from shared.errors import UnknownRequest
from shared.queue import commands
from shared.queue.records import Cancellation, Event, View
from shared.wire import queue as wire
from shared.wire.headers import LAST_EVENT_ID, REQUEST_ID, is_set

_PATH = f"/{wire.APP}/requests/{{id}}"
_IN_PROGRESS = b'{"detail":"Request is still in progress"}'
_MOST_LOG_PAGES = 20


def routes() -> list[BaseRoute]:
    return [
        Route(f"{_PATH}/status", poll, methods=["GET"]),
        Route(f"/{wire.ENDPOINT}", submit, methods=["POST"]),
        Route(_PATH, result, methods=["GET"]),
        Route(f"{_PATH}/status/stream", stream, methods=["GET"]),
        Route(f"{_PATH}/cancel", cancel, methods=["PUT"]),
    ]


async def submit(request: Request) -> Response:
    context = context_of(request)
    receipt = await enqueue(context, request, invalid_is_refused=context.settings.reject_invalid_at_submit)
    # the links of a replayed submission are made from this call's base: the same request under the name used now
    body = wire.submitted(base_of(request), receipt.id, receipt.position)
    return json_response(200, json.dumps(body).encode(), {REQUEST_ID: receipt.id})


async def poll(request: Request) -> Response:
    context = context_of(request)
    view = await _view(context, request)
    wanted = is_set(request.query_params.get("logs"))
    logs = status.logs_of(await _history(context, view.id)) if wanted else None
    said = status.of_view(view, logs)
    if is_set(request.query_params.get("previews")):
        said = status.with_preview(said, await context.run(commands.preview(view.id)))
    return json_response(status.http_code(view.state), status.dump(said), {REQUEST_ID: view.id})


async def stream(request: Request) -> Response:
    context = context_of(request)
    view = await _view(context, request)
    after = request.headers.get(LAST_EVENT_ID, "0")
    if view.state.is_final and after != "0" and not await context.run(commands.events(view.id, after=after, limit=1)):
        return Response(status_code=204, headers={REQUEST_ID: view.id})  # tells an EventSource to stop reconnecting
    if request.method == "HEAD":
        return Response(headers={REQUEST_ID: view.id}, media_type=sse.EventStream.media_type)
    logs, previews = (is_set(request.query_params.get(name)) for name in ("logs", "previews"))
    frames = sse.statuses(context, request, view, after, logs=logs, previews=previews)
    return sse.EventStream(frames, {REQUEST_ID: view.id})


async def result(request: Request) -> Response:
    context = context_of(request)
    tenant, id_ = context.tenant(request), _id(request)
    found = await context.run(commands.result(id_))
    if found is None or found.tenant != tenant:
        raise UnknownRequest
    if not found.state.is_final:
        return json_response(400, _IN_PROGRESS, {REQUEST_ID: id_})
    return await results.answer(context, id_, found)


async def cancel(request: Request) -> Response:
    context = context_of(request)
    tenant, id_ = context.tenant(request), _id(request)
    match await context.run(commands.cancel(id_, tenant, retention_s=context.settings.retention_s)):
        case Cancellation.CANCELLED | Cancellation.REQUESTED:
            code, word = 202, "CANCELLATION_REQUESTED"
        case Cancellation.COMPLETED:
            code, word = 400, "ALREADY_COMPLETED"
        case Cancellation.UNKNOWN:
            raise UnknownRequest
    return json_response(code, json.dumps({"status": word}).encode(), {REQUEST_ID: id_})


def _id(request: Request) -> str:
    """The id in the path; what cannot be one is not asked for."""
    id_: str = request.path_params["id"]
    if not wire.is_request_id(id_):
        raise UnknownRequest
    return id_


async def _view(context: Context, request: Request) -> View:
    tenant = context.tenant(request)
    view = await context.run(commands.view(_id(request)))
    if view is None or view.tenant != tenant:
        raise UnknownRequest
    return view


async def _history(context: Context, id: str) -> list[Event]:
    """Everything that was recorded, up to a bound that no request reaches."""
    events: list[Event] = []
    for _ in range(_MOST_LOG_PAGES):
        page = await context.run(
            commands.events(id, after=events[-1].id if events else "0", limit=status.EVENTS_AT_ONCE)
        )
        events += page
        if len(page) < status.EVENTS_AT_ONCE:
            break
    return events
