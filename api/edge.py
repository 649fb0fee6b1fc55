"""The outermost layer: what every answer has in common, whatever it says.

A request id, wildcard CORS, a measured duration, and never an exception that reaches the server. Pure ASGI, because
each layer of another kind costs a status poll a tenth of its time.
"""

import logging
import uuid
from time import perf_counter
from typing import cast

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import answer
from shared.metrics import HttpMetrics
from shared.wire.headers import REQUEST_ID

_log = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = REQUEST_ID.encode()
_NAMED = "kolors.request_id"
_EXPOSED = (
    "x-fal-request-id, x-fal-error-type, x-fal-retryable, x-fal-needs-retry, x-fal-request-timeout-type, "
    "x-fal-billable-units, retry-after, etag, accept-ranges, content-range, content-length, location"
)
_CORS: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", _EXPOSED.encode()),
]
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"


class Edge:
    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = 0

        async def finish_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = cast("int", message["status"])
                complete(cast("Headers", message["headers"]), scope.get(_NAMED))
            await send(message)

        try:
            await self._respond(scope, receive, finish_headers)
        except Exception as error:
            if status:
                _log.exception("an answer broke off", exc_info=error)
                raise
            await answer(error)(scope, receive, finish_headers)
        finally:
            self._metrics.observe(scope, status, perf_counter() - began)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await _preflight(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def name(call: HTTPConnection, request_id: str) -> None:
    """Whatever this call is answered, a fault too, has this request id, unless the answer names another."""
    call.scope[_NAMED] = request_id


def complete(headers: Headers, request_id: str | None = None) -> None:
    """Adds what every answer has, whoever writes it."""
    headers.extend(_CORS)
    if not any(name == _REQUEST_ID for name, _ in headers):
        headers.append((_REQUEST_ID, (request_id or str(uuid.uuid4())).encode()))


def _preflight(scope: Scope) -> Response:
    """Allows what is asked for: `*` would leave out Authorization."""
    asked = next((value for name, value in scope["headers"] if name == b"access-control-request-headers"), b"*")
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": cast("bytes", asked).decode("latin-1"),
            "access-control-max-age": "86400",
            "vary": "access-control-request-headers",
        },
    )
