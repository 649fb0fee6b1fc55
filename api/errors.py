"""THE table: which error is answered with which status, body and headers. Nobody else in the API knows a code.

A worker's faults arrive here as stored outcomes and pass through unparsed; what is converted here is what the API
itself raises.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from shared.errors import (
    BadCredentials,
    BadRequest,
    Error,
    Fault,
    IdempotencyConflict,
    InvalidInput,
    QueueFull,
    ServiceUnavailable,
    TooLarge,
    TooManyQueued,
    TooSlow,
    UnknownPath,
    UnknownRequest,
)
from shared.files.base import FileMissing, StoreUnavailable
from shared.wire import errors as wire
from shared.wire import headers as names

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    status: int
    error_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


_FULL = {"retry-after": "1", names.NEEDS_RETRY: "1"}
_RETRY = {"retry-after": "1", names.RETRYABLE: "true"}

TABLE: Mapping[type[Error], Row] = {
    BadCredentials: Row(401, headers={"www-authenticate": "Key"}),
    BadRequest: Row(400, "bad_request"),
    UnknownRequest: Row(404),
    UnknownPath: Row(404),
    FileMissing: Row(404),
    TooLarge: Row(413, "bad_request"),
    TooSlow: Row(408, "bad_request", {"connection": "close"}),
    IdempotencyConflict: Row(422, "bad_request"),  # fal's Python client retries a 409 for 50 s
    QueueFull: Row(429, headers=_FULL),
    TooManyQueued: Row(429, "concurrent_requests_limit", _FULL),
    ServiceUnavailable: Row(503, "runner_scheduling_failure", _RETRY),
    StoreUnavailable: Row(503, "runner_scheduling_failure", _RETRY),
    Error: Row(500, "internal_error"),
}

_GONE = "client_disconnected"
NOT_FOUND = b'{"status":"NOT_FOUND"}'


def answer(error: Exception) -> Response:
    """The answer to a call that ended with `error`; anything that is not ours is our bug and is logged."""
    match error:
        case InvalidInput():
            return outcome(422, wire.body(error.problems).encode(), None)
        case Fault():
            return outcome(error.status, wire.fault_body(error).encode(), error.error_type)
        case UnknownRequest():
            return json_response(404, NOT_FOUND)
        case StoreUnavailable():  # its own words name addresses and folders of ours
            _log.warning("the file store: %s", error.message)
            return _by_table(StoreUnavailable())
        case Error():
            return _by_table(error)
        case HTTPException():
            return json_response(error.status_code, _detail(error.detail), error.headers)
        case ClientDisconnect():  # in the middle of its body: nobody is there to read this, but metrics count it
            return outcome(499, wire.text_body("The client hung up", _GONE).encode(), _GONE)
        case _:
            _log.exception("unhandled error", exc_info=error)
            return json_response(500, _detail("Internal Server Error"), {names.RETRYABLE: "false"})


def outcome(status: int, body: bytes, error_type: str | None) -> Response:
    """A stored outcome, or one that could have been stored, with the headers that belong to its status."""
    return json_response(status, body, outcome_headers(status, error_type))


def outcome_headers(status: int, error_type: str | None) -> dict[str, str]:
    """`X-Fal-Retryable` and, on request errors, their type. A start timeout is the user's, so no client retries it."""
    if status < 400:
        return {}
    headers = {names.RETRYABLE: "true" if status == 503 else "false", names.BILLABLE_UNITS: "0"}
    if error_type is not None and status != 422:  # a model error carries its types in the body
        headers[names.ERROR_TYPE] = error_type
    if status == 504 and error_type == "request_timeout":
        headers[names.REQUEST_TIMEOUT_TYPE] = "user"
    return headers


def json_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _by_table(error: Error) -> Response:
    row = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    headers = dict(row.headers)
    if row.error_type is not None:
        headers[names.ERROR_TYPE] = row.error_type
    if row.status == 500:
        _log.error("no answer is known for this error", exc_info=error)
    return json_response(row.status, wire.text_body(error.message, row.error_type).encode(), headers)


def _detail(text: str) -> bytes:
    return json.dumps({"detail": text}).encode()
