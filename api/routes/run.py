"""The synchronous origin: one call that waits for its result.

The same queue and the same lane as any other request; only the waiting is done here, on the request's bell. Who hangs
up takes the request back, as on fal. With an Idempotency-Key it goes on: the key says that the call may come again, and
that one then finds this request instead of one that was taken back.
"""

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api import results
from api.callers import CallerGone, unless_gone
from api.context import Context, context_of
from api.errors import answer
from api.origins import RUN
from api.submissions import submit
from shared.errors import Error, ServiceUnavailable, TotalTimeout, UnknownRequest
from shared.queue import commands
from shared.queue.records import Result
from shared.wire.headers import IDEMPOTENCY_KEY, REQUEST_ID
from shared.wire.queue import ENDPOINT

_LOOK_AGAIN_S = 15.0
"""Although nothing rang: a poke may be lost with its connection."""
_RETRY_S = 1.0


def routes() -> list[BaseRoute]:
    return [Route(f"{RUN}/{ENDPOINT}", run, methods=["POST"])]


async def run(request: Request) -> Response:
    context = context_of(request)
    tenant = context.tenant(request)
    receipt = await submit(context, request, invalid_is_refused=True)
    id_ = receipt.id
    result: Result | None = None
    try:
        result = await unless_gone(request.receive, _wait(context, request, id_))
        return await results.answer(context, id_, result)
    except CallerGone:
        return Response(status_code=499)  # nobody is there to read it
    except Error as error:
        response = answer(error)
        response.headers[REQUEST_ID] = id_
        return response
    finally:
        if result is None and IDEMPOTENCY_KEY not in request.headers:
            with suppress(ServiceUnavailable):
                await context.run(commands.cancel(id_, tenant, retention_s=context.settings.retention_s))


async def _wait(context: Context, request: Request, id: str) -> Result:
    """The final result. Raises `TotalTimeout` after `SYNC_TIMEOUT_S`, `ServiceUnavailable` if the server closes, and
    `BadCredentials` once the caller's key is not accepted any more."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + context.settings.sync_timeout_s
    closing = False
    async with context.hub.listen(id) as bell:
        while True:
            context.caller(request)
            result, pause_s = await _look(context, id)
            if result is not None:
                return result
            if context.hub.closing and not closing:
                closing, deadline = True, min(deadline, clock() + context.settings.shutdown_grace_s)
            left_s = deadline - clock()
            if left_s <= 0:
                raise _too_late(context, closing=closing)
            await bell.wait(min(left_s, pause_s))


async def _look(context: Context, id: str) -> tuple[Result | None, float]:
    """(the result if it is final, how long to wait for a ring before looking again)."""
    try:
        result = await context.run(commands.result(id))
    except ServiceUnavailable:
        return None, _RETRY_S
    if result is None:
        raise UnknownRequest
    return (result if result.state.is_final else None), _LOOK_AGAIN_S


def _too_late(context: Context, *, closing: bool) -> Error:
    if closing:
        return ServiceUnavailable("This server is restarting. Try again shortly.")
    return TotalTimeout(f"The result was not ready within {context.settings.sync_timeout_s:g} seconds")
